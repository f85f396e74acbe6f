//! An end of a port in memory, for tests and fuzzing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Flow, PortEnd, PortSignal};

/// What a port's end holds. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct MemoryEnd(Arc<Mutex<Memory>>);

/// The bytes of a [`MemoryEnd`].
#[derive(Debug, Default)]
pub struct Memory {
    /// Somebody is connected.
    pub open: bool,
    /// For the guest.
    pub input: VecDeque<u8>,
    /// Of the guest.
    pub output: Vec<u8>,
    /// How many more bytes of the guest are taken.
    pub room: usize,
    signal: PortSignal,
}

impl MemoryEnd {
    /// Somebody is connected, who takes as many bytes.
    #[must_use]
    pub fn open(room: usize) -> Self {
        let end = Self::default();
        end.change(|memory| (memory.open, memory.room) = (true, room));
        end
    }

    /// Changes what it holds, and tells the device.
    pub fn change<R>(&self, change: impl FnOnce(&mut Memory) -> R) -> R {
        let mut memory = self.lock();
        let result = change(&mut memory);
        let signal = memory.signal.clone();
        drop(memory);
        signal.changed();
        result
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PortEnd for MemoryEnd {
    fn connect(&self, signal: PortSignal) {
        self.lock().signal = signal;
    }

    fn is_open(&self) -> bool {
        self.lock().open
    }

    fn read(&self, into: &mut [u8]) -> Flow {
        let mut memory = self.lock();
        if !memory.open {
            return Flow::Gone;
        }
        let count = into.len().min(memory.input.len());
        for (to, from) in into.iter_mut().zip(memory.input.drain(..count)) {
            *to = from;
        }
        if count == 0 {
            Flow::Later
        } else {
            Flow::Bytes(count)
        }
    }

    fn write(&self, from: &[u8]) -> Flow {
        let mut memory = self.lock();
        if !memory.open {
            return Flow::Gone;
        }
        let count = from.len().min(memory.room);
        memory.room -= count;
        memory.output.extend_from_slice(&from[..count]);
        if count == 0 {
            Flow::Later
        } else {
            Flow::Bytes(count)
        }
    }
}
