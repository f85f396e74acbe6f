//! Virtio devices (Virtio 1.2): the framework, the transports and the devices.
//!
//! | part | where |
//! |---|---|
//! | what a device is: [`VirtioDevice`] | here |
//! | everything between a transport and a device | [`Core`], with `negotiation`, `queue`, `worker` |
//! | when drivers hear of what is done, for devices that many requests wait for | [`Pace`] |
//! | what the machine gives: memory, threads, bells | [`host`] |
//! | transports | [`mmio`], [`pci`] |
//! | devices | [`balloon`], [`block`], [`console`], [`entropy`] |
//! | the driver's side, for tests | `testing`, with the feature of that name |
//!
//! # A device
//!
//! It is a directory: `mod.rs` (wiring and [`VirtioDevice`]), `spec.rs` (names from its section of
//! the specification), `worker.rs` (what it does with a buffer) and `state.rs`. It never starts a
//! thread: [`Core`] has one for each worker number in its [`QueueSpec`]s, which calls
//! [`VirtioDevice::serve`] whenever the driver has kicked a queue or somebody has
//! [woken](QueueHandle::wake) it, and interrupts the driver afterwards if it wants that.
//!
//! `serve` takes buffers with [`QueueHandle::pop`] and gives each back with [`QueueHandle::push`],
//! then or later and on any thread. It does a bounded amount of work and says how it stands
//! ([`Served`]), since resets and pauses wait for it. Rings, chains and addresses are checked before
//! a device sees a buffer; what is in it is up to the device.
//!
//! # A transport
//!
//! It maps its registers onto the methods of [`Core`], implements [`Interrupt`], and binds the
//! guest's kicks to [`Core::bell`] through [`Doorbells`] where the accelerator has them. A kick that
//! arrives as a store calls [`Core::kick`], which rings the same bell.

pub mod balloon;
pub mod block;
pub mod console;
mod core;
pub mod entropy;
pub mod host;
mod limit;
pub mod mmio;
mod negotiation;
mod pace;
pub mod pci;
mod queue;
pub mod spec;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::core::{Core, Parts};
pub use host::{Bell, Doorbells, GuestRam, Interrupt, Workers};
pub use limit::{Bucket, RateLimit};
pub use negotiation::QueueConfig;
pub use pace::Pace;
pub use queue::{Chain, Head, Position, QueueHandle, RingFault};
pub use spec::DeviceKind;
pub use state::{BadVirtioState, DeviceState, QueueState, VirtioState};
pub use worker::Next;

/// A virtio device, whatever transport it sits on (Virtio 1.2, section 5).
///
/// Methods are called from any thread. `activate`, `reset`, `hold`, `save` and `restore` are never
/// called while `serve` runs, nor while one of them does.
pub trait VirtioDevice: Send + Sync {
    /// What it is.
    fn kind(&self) -> DeviceKind;
    /// The feature bits of its own section that it offers. The framework adds its own
    /// ([`spec::feature::ALL`]).
    fn features(&self) -> u64;
    /// Its queues; they never change.
    fn queues(&self) -> &[QueueSpec];
    /// Gets what announces changes of its configuration. Called once, before anything else.
    fn connect(&self, config: ConfigSignal) {
        drop(config);
    }
    /// Reads its configuration from `offset` on, into zeros; what is not there stays zero.
    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let _ = (offset, into);
    }
    /// Writes its configuration.
    fn write_config(&self, offset: u64, from: &[u8]) {
        let _ = (offset, from);
    }
    /// The driver is ready (`DRIVER_OK`), or a saved one goes on.
    fn activate(&self, activation: &Activation<'_>);
    /// Serves a queue that the driver uses, on the queue's worker: a bounded amount of work.
    fn serve(&self, queue: &QueueHandle) -> Served;
    /// Back to the state before `activate`. On return nothing that was begun touches guest memory.
    fn reset(&self);
    /// The machine is going to stand still. On return every buffer that was taken is given or put
    /// back, and nothing touches guest memory until `serve` is called again.
    fn hold(&self) {}
    /// What is to be saved beside the queues. It is held.
    fn save(&self) -> DeviceState;
    /// Takes on a saved state, after a reset. If the driver drives the device, `activate` follows.
    ///
    /// # Errors
    /// When it is of another device or impossible.
    fn restore(&self, state: &DeviceState) -> Result<(), BadVirtioState>;
}

/// A queue that a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// The most descriptors; a power of two.
    pub max_size: u16,
    /// Which of the device's workers serves it: numbers from 0, without gaps.
    pub worker: usize,
}

/// How `serve` left a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// `pop` has returned `None`: the next buffer is to wake the worker.
    Idle,
    /// There may be more to do; it has done enough for once.
    Again,
    /// `pop` has returned `None`, but it looks again after that time, without a kick; until then the
    /// driver is not interrupted for what was given back.
    Soon(Duration),
    /// It does nothing with what there is before that time is over (a limit, a failure of the host).
    After(Duration),
    /// It has nothing for what there is until somebody wakes the queue; kicks are not needed.
    Waiting,
}

/// What a driver chose.
#[derive(Clone, Copy, Debug)]
pub struct Activation<'a> {
    /// Features.
    pub features: u64,
    /// All queues, also those that are not used ([`QueueHandle::is_live`]).
    pub queues: &'a [QueueHandle],
}

/// Announces changes of a device's configuration to the driver. Clones are the same.
#[derive(Clone)]
pub struct ConfigSignal(Arc<queue::Shared>);

impl ConfigSignal {
    /// What [`VirtioDevice::read_config`] returns has changed. Any thread.
    pub fn changed(&self) {
        self.0.config_changed();
    }
}

impl fmt::Debug for ConfigSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigSignal")
    }
}
