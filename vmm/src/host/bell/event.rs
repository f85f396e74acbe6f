//! A bell that Linux rings too: an eventfd, which KVM signals at a guest's store.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use devices::virtio::host::Bell;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{read, write};

/// An eventfd. Reading it waits, so that a worker without a deadline needs one call to sleep.
#[derive(Debug)]
pub struct HostBell(OwnedFd);

impl HostBell {
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC)?))
    }
}

impl Bell for HostBell {
    fn ring(&self) {
        // It fails only if it was rung 2^64 times unheard.
        let _ = write(&self.0, &1_u64.to_ne_bytes());
    }

    fn wait(&self, most: Option<Duration>) {
        if let Some(most) = most {
            let limit = Timespec {
                tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: most.subsec_nanos().into(),
            };
            let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
            // An interrupted wait ends early, which a worker takes for a ring.
            if !matches!(poll(&mut fds, Some(&limit)), Ok(1..)) {
                return;
            }
        }
        let _ = read(&self.0, &mut [0; 8]);
    }

    fn event(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
