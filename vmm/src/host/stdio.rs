//! Waiting for file descriptors, and owned copies of the standard ones.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Standard input, unbuffered.
///
/// # Errors
/// When it is closed.
pub fn stdin() -> std::io::Result<File> {
    Ok(std::io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Standard output, unbuffered.
///
/// # Errors
/// When it is closed.
pub fn stdout() -> std::io::Result<File> {
    Ok(std::io::stdout().as_fd().try_clone_to_owned()?.into())
}

/// Waits until `file` takes bytes.
///
/// # Errors
/// When the host fails.
pub fn wait_writable(file: &File) -> std::io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(file, PollFlags::OUT)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What [`wait_readable`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// The file has bytes, or has ended.
    pub file: bool,
    /// The bell was rung.
    pub bell: bool,
}

/// Waits until `file` (if given) has bytes or has ended, or the `bell` is rung; takes the ring.
///
/// # Errors
/// When the host fails.
pub fn wait_readable(file: Option<&File>, bell: &mut PipeReader) -> std::io::Result<Readable> {
    let ready = PollFlags::IN | PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
    let found = loop {
        let mut fds = vec![PollFd::new(&*bell, PollFlags::IN)];
        fds.extend(file.map(|file| PollFd::new(file, PollFlags::IN)));
        match poll(&mut fds, None) {
            Ok(_) => {
                let is_ready = |fd: &PollFd<'_>| fd.revents().intersects(ready);
                let file = fds.get(1).is_some_and(is_ready);
                break Readable {
                    file,
                    bell: fds.first().is_some_and(is_ready),
                };
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if found.bell {
        // Whatever number of rings: one look at what they were about is enough for all.
        let _ = bell.read(&mut [0; 64])?;
    }
    Ok(found)
}
