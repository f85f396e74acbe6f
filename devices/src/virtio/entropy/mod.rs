//! Entropy source (Virtio 1.2, section 5.4): fills the guest's buffers with the host's random
//! numbers, as fast as a limit allows.
//!
//! It has one queue, no features and no configuration.

mod state;
mod worker;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use state::EntropyState;

use super::host::Random;
use super::limit::{Bucket, RateLimit};
use super::{
    Activation, BadVirtioState, DeviceKind, DeviceState, QueueHandle, QueueSpec, Served,
    VirtioDevice,
};
use crate::clock::Monotonic;

const QUEUES: [QueueSpec; 1] = [QueueSpec {
    max_size: 64,
    worker: 0,
}];

/// The device.
pub struct Entropy {
    // Wiring.
    source: Box<dyn Random>,
    clock: Arc<dyn Monotonic>,
    // State.
    bucket: Option<Mutex<Bucket>>,
}

impl Entropy {
    /// A device that gives out `source`, if there is a limit no faster than it has bytes a second.
    #[must_use]
    pub fn new(
        source: Box<dyn Random>,
        clock: Arc<dyn Monotonic>,
        limit: Option<RateLimit>,
    ) -> Self {
        let bucket = limit.map(|limit| Mutex::new(Bucket::new(limit, clock.now())));
        Self {
            source,
            clock,
            bucket,
        }
    }

    fn with_bucket<R: Default>(&self, work: impl FnOnce(&mut Bucket) -> R) -> R {
        self.bucket.as_ref().map_or_else(R::default, |bucket| {
            work(&mut bucket.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }
}

impl VirtioDevice for Entropy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[QueueSpec] {
        &QUEUES
    }

    fn activate(&self, _: &Activation<'_>) {}

    fn serve(&self, queue: &QueueHandle) -> Served {
        self.fill_buffers(queue)
    }

    fn reset(&self) {}

    fn save(&self) -> DeviceState {
        DeviceState::Entropy(EntropyState {})
    }

    fn restore(&self, state: &DeviceState) -> Result<(), BadVirtioState> {
        match state {
            DeviceState::Entropy(EntropyState {}) => Ok(()),
            DeviceState::Balloon(_) | DeviceState::Block(_) | DeviceState::Console(_) => {
                Err(BadVirtioState::Kind {
                    found: state.kind(),
                    expected: self.kind(),
                })
            }
        }
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entropy")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
