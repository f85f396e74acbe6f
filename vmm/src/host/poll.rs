//! Waiting for several files at once.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// A file, and what to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    file: BorrowedFd<'a>,
    read: bool,
    write: bool,
}

impl<'a> Wanted<'a> {
    /// Waits for bytes, a connection or the end of it, if `read`; and for room, if `write`.
    pub fn new(file: &'a impl AsFd, read: bool, write: bool) -> Self {
        let file = file.as_fd();
        Self { file, read, write }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    /// A read gives something: bytes, an end or an error.
    pub read: bool,
    /// A write takes something, or fails.
    pub write: bool,
}

/// Waits until something is ready, or the time is up; `None` for no limit.
///
/// # Errors
/// When the host fails.
pub fn wait(wanted: &[Wanted<'_>], limit: Option<Duration>) -> std::io::Result<Vec<Ready>> {
    // A limit that is too long for the host is none.
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    let flags = |wanted: &Wanted<'_>| {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, wanted.read);
        flags.set(PollFlags::OUT, wanted.write);
        flags
    };
    let mut fds: Vec<PollFd<'_>> = wanted
        .iter()
        .map(|wanted| PollFd::from_borrowed_fd(wanted.file, flags(wanted)))
        .collect();
    match poll(&mut fds, limit.as_ref()) {
        // Time may be left, but whoever waits looks at what it waits for again.
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let over = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let ready = |fd: &PollFd<'_>| {
        let found = fd.revents();
        Ready {
            read: found.intersects(PollFlags::IN | over),
            write: found.intersects(PollFlags::OUT | over),
        }
    };
    Ok(fds.iter().map(ready).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_ready_is_told_apart() {
        let (full, mut writer) = std::io::pipe().unwrap();
        let (empty, _open) = std::io::pipe().unwrap();
        let (ended, closed) = std::io::pipe().unwrap();
        drop(closed);
        writer.write_all(b"x").unwrap();
        let wanted = [
            Wanted::new(&full, true, false),
            Wanted::new(&empty, true, false),
            Wanted::new(&ended, true, false),
            Wanted::new(&writer, false, true),
        ];
        let found = wait(&wanted, Some(Duration::from_secs(10))).unwrap();
        let reads: Vec<bool> = found.iter().map(|ready| ready.read).collect();
        assert_eq!(reads, [true, false, true, false]);
        assert!(found[3].write && !found[0].write);
        let none = wait(&wanted[1..2], Some(Duration::from_millis(5))).unwrap();
        assert_eq!(none, [Ready::default()]);
    }
}
