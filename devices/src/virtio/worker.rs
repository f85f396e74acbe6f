//! The threads that serve queues.
//!
//! A worker sleeps by its bell and serves its queues in turns. A turn is what resets and pauses wait
//! for: while nobody may serve, a worker sleeps, whoever rings.
//!
//! | flag     | raised by                  | a worker then |
//! |----------|----------------------------|---------------|
//! | driven   | activation                 | serves        |
//! | broken   | a fault of the driver      | sleeps until the reset |
//! | held     | the machine stands still   | sleeps until it goes on |
//! | barred   | a transport without memory  | sleeps until it has it |
//! | over     | the device is dropped      | ends          |

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::host::Bell;
use super::queue::{QueueHandle, Shared};
use super::{Served, VirtioDevice};

/// What a worker does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next turn.
    Again,
    /// It sleeps that long, or until its bell.
    After(Duration),
    /// It sleeps until its bell.
    Sleep,
    /// It ends.
    End,
}

impl Next {
    /// What comes first of the two.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::End, _) | (_, Self::End) => Self::End,
            (Self::Again, _) | (_, Self::Again) => Self::Again,
            (Self::After(one), Self::After(two)) => Self::After(one.min(two)),
            (Self::After(one), Self::Sleep) | (Self::Sleep, Self::After(one)) => Self::After(one),
            (Self::Sleep, Self::Sleep) => Self::Sleep,
        }
    }
}

/// A worker's place, with the queues it serves.
pub(super) struct Station {
    pub device: Arc<dyn VirtioDevice>,
    pub shared: Arc<Shared>,
    pub bell: Arc<dyn Bell>,
    pub queues: Vec<QueueHandle>,
    /// Held for the time of a turn.
    pub turn: Mutex<()>,
}

impl Station {
    /// A worker's life.
    pub fn work(&self) {
        loop {
            match self.turn() {
                Next::Again => {}
                Next::After(time) => self.bell.wait(Some(time)),
                Next::Sleep => self.bell.wait(None),
                Next::End => return,
            }
        }
    }

    /// Serves each queue once, if somebody may.
    pub fn turn(&self) -> Next {
        if self.shared.over.load(Ordering::SeqCst) {
            return Next::End;
        }
        // Looked at before the lock is taken as well, so that who waits for it gets it.
        if !self.shared.may_serve() {
            return Next::Sleep;
        }
        let _turn = self.wait_for_turn();
        if !self.shared.may_serve() {
            return Next::Sleep;
        }
        let live = self.queues.iter().filter(|queue| queue.is_live());
        live.fold(Next::Sleep, |next, queue| next.or(self.serve(queue)))
    }

    /// Waits for the end of a turn; none begins while the guard is there.
    pub fn wait_for_turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, queue: &QueueHandle) -> Next {
        queue.mute();
        let served = self.device.serve(queue);
        match served {
            Served::Soon(_) => {}
            Served::Idle | Served::Again | Served::After(_) | Served::Waiting => queue.notify(),
        }
        match served {
            Served::Idle if queue.listen() => Next::Again,
            Served::Idle | Served::Waiting => Next::Sleep,
            Served::Again => Next::Again,
            Served::Soon(time) | Served::After(time) => Next::After(time),
        }
    }
}
