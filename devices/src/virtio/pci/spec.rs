//! Registers of the PCI transport (Virtio 1.2, section 4.1).

use super::super::spec::DeviceKind;

/// Vendor of every virtio device.
pub const VENDOR: u16 = 0x1af4;
/// The ID of a device that is no legacy one: this and what it is.
pub const FIRST_DEVICE: u16 = 0x1040;
/// The least revision of a device that is no legacy one.
pub const REVISION: u8 = 1;
/// The vector of who wants no interrupt.
pub const NO_VECTOR: u16 = 0xffff;
/// Interrupt status: buffers were used.
pub const USED: u8 = 1;
/// Interrupt status: the configuration changed, or the device needs a reset.
pub const CONFIG_CHANGED: u8 = 2;

/// The BAR of all registers.
pub const REGISTERS_BAR: usize = 0;
/// The BAR of the vectors' table.
pub const VECTORS_BAR: usize = 1;

/// A part of the registers' BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What the capability that leads to it is called by number.
    pub kind: u8,
    /// Where it begins.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// The registers that all devices have.
pub const COMMON: Part = Part {
    kind: 1,
    offset: 0x0000,
    length: 0x38,
};
/// The interrupt status.
pub const ISR: Part = Part {
    kind: 3,
    offset: 0x1000,
    length: 1,
};
/// The device's configuration.
pub const DEVICE: Part = Part {
    kind: 4,
    offset: 0x2000,
    length: 0x1000,
};
/// Where kicks are written: a word for each queue.
pub const NOTIFY: Part = Part {
    kind: 2,
    offset: 0x3000,
    length: 0x1000,
};
/// Number of the capability by which BARs are reached through configuration space.
pub const CONFIG_ACCESS: u8 = 5;
/// Bytes of the registers' BAR.
pub const REGISTERS_BYTES: u64 = 0x4000;
/// Bytes from where one queue is kicked to where the next one is.
pub const NOTIFY_MULTIPLIER: u32 = 4;
/// The most queues for which there is room.
pub const MOST_QUEUES: u16 = (NOTIFY.length / NOTIFY_MULTIPLIER) as u16;

/// Offsets of the registers that all devices have.
pub mod common {
    /// `device_feature_select`, 32 bits.
    pub const DEVICE_FEATURE_SELECT: u64 = 0x00;
    /// `device_feature`, 32 bits.
    pub const DEVICE_FEATURE: u64 = 0x04;
    /// `driver_feature_select`, 32 bits.
    pub const DRIVER_FEATURE_SELECT: u64 = 0x08;
    /// `driver_feature`, 32 bits.
    pub const DRIVER_FEATURE: u64 = 0x0c;
    /// `config_msix_vector`, 16 bits.
    pub const CONFIG_MSIX_VECTOR: u64 = 0x10;
    /// `num_queues`, 16 bits.
    pub const NUM_QUEUES: u64 = 0x12;
    /// `device_status`, 8 bits.
    pub const DEVICE_STATUS: u64 = 0x14;
    /// `config_generation`, 8 bits.
    pub const CONFIG_GENERATION: u64 = 0x15;
    /// `queue_select`, 16 bits.
    pub const QUEUE_SELECT: u64 = 0x16;
    /// `queue_size`, 16 bits.
    pub const QUEUE_SIZE: u64 = 0x18;
    /// `queue_msix_vector`, 16 bits.
    pub const QUEUE_MSIX_VECTOR: u64 = 0x1a;
    /// `queue_enable`, 16 bits.
    pub const QUEUE_ENABLE: u64 = 0x1c;
    /// `queue_notify_off`, 16 bits.
    pub const QUEUE_NOTIFY_OFF: u64 = 0x1e;
    /// `queue_desc`, two halves of 32 bits.
    pub const QUEUE_DESC: u64 = 0x20;
    /// The upper half.
    pub const QUEUE_DESC_HIGH: u64 = 0x24;
    /// `queue_driver`, two halves.
    pub const QUEUE_DRIVER: u64 = 0x28;
    /// The upper half.
    pub const QUEUE_DRIVER_HIGH: u64 = 0x2c;
    /// `queue_device`, two halves.
    pub const QUEUE_DEVICE: u64 = 0x30;
    /// The upper half.
    pub const QUEUE_DEVICE_HIGH: u64 = 0x34;
}

/// What kind of a PCI function a device is: class, subclass, programming interface.
pub const fn class(kind: DeviceKind) -> u32 {
    match kind {
        DeviceKind::Network => 0x02_00_00,
        DeviceKind::Block | DeviceKind::FileSystem => 0x01_80_00,
        DeviceKind::Console | DeviceKind::Vsock => 0x07_80_00,
        DeviceKind::Entropy | DeviceKind::Balloon => 0xff_00_00,
    }
}
