//! Names from Virtio 1.2 that every device and both transports share.

use bitflags::bitflags;

bitflags! {
    /// Device status (section 2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The guest has noticed the device.
        const ACKNOWLEDGE = 1;
        /// It knows how to drive it.
        const DRIVER = 2;
        /// It drives it.
        const DRIVER_OK = 4;
        /// The features it chose are agreed on.
        const FEATURES_OK = 8;
        /// The device cannot go on without a reset.
        const NEEDS_RESET = 64;
        /// The guest has given up on the device.
        const FAILED = 128;
    }
}

/// Feature bits that are not any device's own (section 6).
pub mod feature {
    /// Descriptors may refer to tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Kicks and interrupts are asked for by ring index.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device is no legacy one.
    pub const VERSION_1: u64 = 1 << 32;
    /// What this framework offers for every device.
    pub const ALL: u64 = INDIRECT_DESC | EVENT_IDX | VERSION_1;
}

/// Parts of a split virtqueue (section 2.7): alignment and size.
pub mod ring {
    /// Alignment of the descriptor table.
    pub const DESCRIPTORS_ALIGN: u64 = 16;
    /// Alignment of the available ring.
    pub const AVAILABLE_ALIGN: u64 = 2;
    /// Alignment of the used ring.
    pub const USED_ALIGN: u64 = 4;
    /// The most descriptors of a queue.
    pub const MAX_SIZE: u16 = 32768;
    /// In the flags of the available ring: the driver wants no interrupt.
    pub const NO_INTERRUPT: u16 = 1;

    /// Bytes of the descriptor table.
    #[must_use]
    pub const fn descriptors_bytes(size: u16) -> u64 {
        16 * size as u64
    }

    /// Bytes of the available ring.
    #[must_use]
    pub const fn available_bytes(size: u16) -> u64 {
        6 + 2 * size as u64
    }

    /// Bytes of the used ring.
    #[must_use]
    pub const fn used_bytes(size: u16) -> u64 {
        6 + 8 * size as u64
    }
}

/// What a device is (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// Network card.
    Network,
    /// Disk.
    Block,
    /// Console.
    Console,
    /// Source of entropy.
    Entropy,
    /// Traditional memory balloon.
    Balloon,
    /// Shared directory.
    FileSystem,
    /// Sockets to the host.
    Vsock,
}

impl DeviceKind {
    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::Network => 1,
            Self::Block => 2,
            Self::Console => 3,
            Self::Entropy => 4,
            Self::Balloon => 5,
            Self::Vsock => 19,
            Self::FileSystem => 26,
        }
    }

    /// What messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "virtio network card",
            Self::Block => "virtio disk",
            Self::Console => "virtio console",
            Self::Entropy => "virtio entropy source",
            Self::Balloon => "virtio balloon",
            Self::Vsock => "virtio socket device",
            Self::FileSystem => "virtio shared directory",
        }
    }

    /// What threads call it.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::Block => "blk",
            Self::Console => "console",
            Self::Entropy => "rng",
            Self::Balloon => "balloon",
            Self::Vsock => "vsock",
            Self::FileSystem => "fs",
        }
    }
}
