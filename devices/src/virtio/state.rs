//! What a snapshot holds of a virtio device, without its transport.

use super::balloon::BalloonState;
use super::block::BlockState;
use super::console::ConsoleState;
use super::entropy::EntropyState;
use super::negotiation::{Negotiation, QueueConfig};
use super::queue::{Position, RingFault};
use super::spec::{DeviceKind, Status};

/// A device behind a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioState {
    /// Status register.
    pub status: u8,
    /// Features the driver accepted.
    pub features: u64,
    /// How often the configuration changed.
    pub generation: u32,
    /// Its queues.
    pub queues: Vec<QueueState>,
    /// What is the device's own.
    pub device: DeviceState,
}

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Its setup.
    pub config: QueueConfig,
    /// Where it stands, if the driver drives the device.
    pub position: Position,
}

/// What is a device's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceState {
    /// Memory balloon.
    Balloon(BalloonState),
    /// Disk.
    Block(BlockState),
    /// Console.
    Console(ConsoleState),
    /// Entropy source.
    Entropy(EntropyState),
}

impl DeviceState {
    /// The device it is of.
    #[must_use]
    pub const fn kind(&self) -> DeviceKind {
        match self {
            Self::Balloon(_) => DeviceKind::Balloon,
            Self::Block(_) => DeviceKind::Block,
            Self::Console(_) => DeviceKind::Console,
            Self::Entropy(_) => DeviceKind::Entropy,
        }
    }
}

/// A state that no device can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVirtioState {
    /// Another number of devices.
    #[error("the saved machine has {found} virtio devices, this one {expected}")]
    Devices {
        /// In the state.
        found: usize,
        /// In this machine.
        expected: usize,
    },
    /// It is of another device.
    #[error("the saved state of a {} is not for a {}", found.name(), expected.name())]
    Kind {
        /// Its device.
        found: DeviceKind,
        /// This device.
        expected: DeviceKind,
    },
    /// The status register.
    #[error("the saved status {0:#04x} of a virtio device is impossible")]
    Status(u8),
    /// Features that this device does not have.
    #[error("the saved virtio device has features {0:#x} that this one has not")]
    Features(u64),
    /// Another number of queues.
    #[error("the saved virtio device has {found} queues, this one {expected}")]
    Queues {
        /// In the state.
        found: usize,
        /// In this device.
        expected: usize,
    },
    /// A queue that cannot be.
    #[error("the saved queue {queue} of a virtio device is impossible")]
    Queue {
        /// Which.
        queue: usize,
        /// Why.
        #[source]
        fault: RingFault,
    },
    /// It is behind another transport.
    #[error("the saved virtio device is behind another transport")]
    Transport,
    /// Interrupts that it has not.
    #[error("the saved virtio device has interrupts that this one has not")]
    Vectors,
    /// What is the device's own.
    #[error("the saved state of a {} is impossible: {reason}", device.name())]
    Device {
        /// Which device.
        device: DeviceKind,
        /// Why.
        reason: String,
    },
}

/// What of a saved device is not the device's own, checked as far as it can be without memory.
pub(super) fn check(
    saved: &VirtioState,
    fresh: &Negotiation,
    kind: DeviceKind,
) -> Result<Negotiation, BadVirtioState> {
    let VirtioState {
        status,
        features,
        generation: _,
        queues,
        device,
    } = saved;
    if device.kind() != kind {
        let (found, expected) = (device.kind(), kind);
        return Err(BadVirtioState::Kind { found, expected });
    }
    let bits = Status::from_bits(*status).ok_or(BadVirtioState::Status(*status))?;
    if bits.contains(Status::DRIVER_OK) && !bits.contains(Status::FEATURES_OK) {
        return Err(BadVirtioState::Status(*status));
    }
    // Before they are agreed on, a driver may have written anything.
    let alien = features & !fresh.offered;
    if bits.contains(Status::FEATURES_OK) && alien != 0 {
        return Err(BadVirtioState::Features(alien));
    }
    if queues.len() != fresh.queues.len() {
        let (found, expected) = (queues.len(), fresh.queues.len());
        return Err(BadVirtioState::Queues { found, expected });
    }
    Ok(Negotiation {
        accepted: *features,
        status: bits - Status::NEEDS_RESET,
        queues: queues.iter().map(|queue| queue.config).collect(),
        ..fresh.clone()
    })
}
