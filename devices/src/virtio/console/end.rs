//! What is at the host's end of a port, and how it reaches the device.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::QueueHandle;

/// How far bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// So many, at least one.
    Bytes(usize),
    /// None for now. The end [tells](PortSignal::changed) when to try again.
    Later,
    /// Nobody is connected.
    Gone,
}

/// The host's end of a port. No method waits: a reader or writer on the host that stands still
/// holds up its own port and nothing else.
pub trait PortEnd: Send + Sync {
    /// Gets what tells the device of changes. Called once, before anything else.
    fn connect(&self, signal: PortSignal);
    /// Whether somebody is connected. After it said no, and not before, the next may connect: so the
    /// guest always learns that it speaks to somebody else.
    fn is_open(&self) -> bool;
    /// Takes bytes for the guest; `into` is not empty.
    fn read(&self, into: &mut [u8]) -> Flow;
    /// Gives bytes of the guest; `from` is not empty.
    fn write(&self, from: &[u8]) -> Flow;
}

/// Tells the device that a port has bytes or room again, or was opened or closed. Clones are the
/// same; any thread uses it.
#[derive(Clone, Default)]
pub struct PortSignal(Arc<Mutex<Option<QueueHandle>>>);

impl PortSignal {
    /// Something has changed.
    pub fn changed(&self) {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = &*queue {
            queue.wake();
        }
    }

    /// Any of the device's queues: one worker serves them all.
    pub(super) fn set(&self, queue: Option<&QueueHandle>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queue.cloned();
    }
}

impl fmt::Debug for PortSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PortSignal")
    }
}
