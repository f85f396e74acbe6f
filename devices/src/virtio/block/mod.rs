//! Disk (Virtio 1.2, section 5.2), over whatever gives a [`Disk`].
//!
//! | part | where |
//! |---|---|
//! | what is asked of the host | [`disk`](Disk) |
//! | the driver's buffers, checked | [`request`] |
//! | requests, one after another on each queue's worker | `worker` |
//! | requests, side by side | `together` |
//! | a worker's turn | `turn` |
//! | what a driver reads of it | `config` |
//! | limits, and failures of the host | `limits` |
//!
//! Reads, writes, flushes, the serial number, discards and zeroing; as many queues as wanted, each
//! with a worker of its own; a write cache that the driver may turn off (`CONFIG_WCE`), and which is
//! off for drivers that cannot flush; a size that changes at run time.
//!
//! Omitted: geometry (cylinders and heads), secure erase, lifetime and zones. None is offered, and a
//! request for one is answered as unsupported.

mod config;
mod disk;
mod limits;
pub mod request;
pub mod spec;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod together;
mod turn;
mod worker;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use disk::{Disk, Shape};
pub use limits::DiskLimits;
pub use state::BlockState;

use self::limits::{Failures, Meter};
use self::spec::feature;
use self::together::Seat;
use super::{
    Activation, BadVirtioState, ConfigSignal, DeviceKind, DeviceState, Pace, QueueHandle,
    QueueSpec, Served, VirtioDevice,
};
use crate::clock::Monotonic;

/// The most descriptors of a queue.
pub const QUEUE_SIZE: u16 = 256;

/// How a disk is presented to the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockConfig {
    /// What the guest reads as its serial number: the first 20 bytes.
    pub serial: String,
    /// How many queues; at least one is there.
    pub queues: u16,
    /// What it allows in a time.
    pub limits: DiskLimits,
}

/// The device.
pub struct Block {
    // Configuration.
    serial: String,
    queues: Vec<QueueSpec>,
    /// As [`Shape::waits`].
    waits: bool,
    // Wiring.
    disk: Box<dyn Disk>,
    clock: Arc<dyn Monotonic>,
    signal: OnceLock<ConfigSignal>,
    // State.
    limits: Meter,
    failures: Failures,
    /// By queue: when the driver hears of what is done.
    paces: Vec<Mutex<Pace>>,
    /// By queue: its ring.
    seats: Vec<Mutex<Seat>>,
    /// The features that the driver chose.
    features: AtomicU64,
    /// What the driver says of the write cache, if it may.
    writeback: AtomicBool,
}

impl Block {
    /// A device for `disk`.
    #[must_use]
    pub fn new(disk: Box<dyn Disk>, clock: Arc<dyn Monotonic>, config: BlockConfig) -> Self {
        let BlockConfig {
            serial,
            queues,
            limits,
        } = config;
        let spec = |worker| QueueSpec {
            max_size: QUEUE_SIZE,
            worker,
        };
        let queues = (0..usize::from(queues.max(1))).map(spec);
        Self {
            serial,
            paces: queues.clone().map(|_| Mutex::default()).collect(),
            seats: queues.clone().map(|_| Mutex::default()).collect(),
            queues: queues.collect(),
            waits: disk.shape().waits,
            disk,
            limits: Meter::new(limits, clock.now()),
            clock,
            signal: OnceLock::new(),
            failures: Failures::default(),
            features: AtomicU64::new(0),
            writeback: AtomicBool::new(true),
        }
    }

    /// Gives the disk another size, and tells the driver.
    ///
    /// # Errors
    /// When the disk cannot have it.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.disk.resize(bytes)?;
        if let Some(signal) = self.signal.get() {
            signal.changed();
        }
        Ok(())
    }

    fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// Whether writes last without a flush (section 5.2.6.2).
    fn is_write_through(&self) -> bool {
        let features = self.features.load(Ordering::Relaxed);
        if features & feature::CONFIG_WCE != 0 {
            !self.writeback.load(Ordering::Relaxed)
        } else {
            features & feature::FLUSH == 0
        }
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn features(&self) -> u64 {
        config::features(&self.disk.shape(), self.queue_count())
    }

    fn queues(&self) -> &[QueueSpec] {
        &self.queues
    }

    fn connect(&self, config: ConfigSignal) {
        // It is called once.
        let _ = self.signal.set(config);
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let writeback = self.writeback.load(Ordering::Relaxed);
        let (shape, sectors) = (self.disk.shape(), self.sectors());
        let bytes = config::bytes(&shape, self.queue_count(), sectors, writeback);
        let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        for (to, from) in into.iter_mut().zip(from.unwrap_or_default()) {
            *to = *from;
        }
    }

    fn write_config(&self, offset: u64, from: &[u8]) {
        if let (true, [value]) = (offset == spec::config::WRITEBACK as u64, from) {
            self.writeback.store(*value != 0, Ordering::Relaxed);
        }
    }

    fn activate(&self, activation: &Activation<'_>) {
        let features = activation.features;
        self.features.store(features, Ordering::Relaxed);
        // A driver that cannot flush has no use for a cache.
        if features & feature::FLUSH == 0 {
            self.writeback.store(false, Ordering::Relaxed);
        }
    }

    fn serve(&self, queue: &QueueHandle) -> Served {
        self.serve_queue(queue)
    }

    fn reset(&self) {
        self.features.store(0, Ordering::Relaxed);
        self.writeback.store(true, Ordering::Relaxed);
        // Another driver has other ways.
        for pace in &self.paces {
            *pace.lock().unwrap_or_else(PoisonError::into_inner) = Pace::new();
        }
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block(BlockState {
            sectors: self.sectors(),
            writeback: self.writeback.load(Ordering::Relaxed),
        })
    }

    fn restore(&self, state: &DeviceState) -> Result<(), BadVirtioState> {
        let DeviceState::Block(BlockState { sectors, writeback }) = state else {
            return Err(BadVirtioState::Kind {
                found: state.kind(),
                expected: self.kind(),
            });
        };
        let here = self.sectors();
        if *sectors != here {
            let name = self.disk.name();
            let reason = format!("{name} has {here} sectors of 512 bytes, and had {sectors}");
            let device = self.kind();
            return Err(BadVirtioState::Device { device, reason });
        }
        self.writeback.store(*writeback, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("disk", &self.disk.name())
            .field("serial", &self.serial)
            .field("queues", &self.queues.len())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod together_tests;
#[cfg(test)]
mod turn_tests;
