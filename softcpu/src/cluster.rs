//! What the CPUs of one VM share: how they reach each other.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where guest time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// `CNTVCT_EL0` now.
    fn counter(&self) -> u64;
    /// `CNTFRQ_EL0`, in Hz.
    fn frequency(&self) -> u64;
}

/// The CPUs of one VM.
#[derive(Debug)]
pub struct Cluster {
    seats: Box<[Seat]>,
}

/// What others see of one CPU.
#[derive(Debug, Default)]
pub struct Seat {
    /// Something waits for the CPU; it looks between blocks.
    attention: AtomicBool,
    kicked: AtomicBool,
}

impl Cluster {
    /// A cluster of `count` CPUs.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self {
            seats: (0..count).map(|_| Seat::default()).collect(),
        }
    }

    /// How many CPUs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    /// The seat of CPU `index`.
    #[must_use]
    pub fn seat(&self, index: usize) -> Option<&Seat> {
        self.seats.get(index)
    }
}

impl Seat {
    /// Makes the CPU's current or next run return [`crate::Event::Kicked`].
    pub fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.attention.store(true, Ordering::SeqCst);
    }

    /// Whether the CPU should look up from its work.
    #[inline(always)]
    pub(crate) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed)
    }

    /// Takes the request for attention.
    pub(crate) fn attend(&self) -> bool {
        self.attention.swap(false, Ordering::SeqCst)
    }

    /// Takes the kick.
    pub(crate) fn take_kick(&self) -> bool {
        self.kicked.swap(false, Ordering::SeqCst)
    }
}
