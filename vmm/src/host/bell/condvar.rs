//! A bell for hosts without eventfd: nobody but this program rings it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use devices::virtio::host::Bell;

/// A flag and those who wait for it.
#[derive(Debug, Default)]
pub struct HostBell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl HostBell {
    #[expect(clippy::unnecessary_wraps, reason = "an eventfd can fail")]
    pub fn new() -> io::Result<Self> {
        Ok(Self::default())
    }
}

impl Bell for HostBell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    fn wait(&self, most: Option<Duration>) {
        let until = most.and_then(|most| Instant::now().checked_add(most));
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            rung = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => {
                    let wait = self.changed.wait(rung);
                    wait.unwrap_or_else(PoisonError::into_inner)
                }
                Some(Duration::ZERO) => return,
                Some(left) => {
                    let wait = self.changed.wait_timeout(rung, left);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *rung = false;
    }

    fn event(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
