//! Registers of the MMIO transport (Virtio 1.2, section 4.2.2).

/// `virt`
pub const MAGIC: u32 = 0x7472_6976;
/// The version that is no legacy one.
pub const VERSION: u32 = 2;
/// Who made the device: `ARML`.
pub const VENDOR: u32 = 0x4c4d_5241;
/// A shared memory region that is not there has this length, and lies there.
pub const NO_REGION: u32 = 0xffff_ffff;

/// Offsets of registers, each of 32 bits.
pub mod reg {
    /// `MagicValue`
    pub const MAGIC: u64 = 0x000;
    /// `Version`
    pub const VERSION: u64 = 0x004;
    /// `DeviceID`
    pub const DEVICE: u64 = 0x008;
    /// `VendorID`
    pub const VENDOR: u64 = 0x00c;
    /// `DeviceFeatures`
    pub const DEVICE_FEATURES: u64 = 0x010;
    /// `DeviceFeaturesSel`
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    /// `DriverFeatures`
    pub const DRIVER_FEATURES: u64 = 0x020;
    /// `DriverFeaturesSel`
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    /// `QueueSel`
    pub const QUEUE_SEL: u64 = 0x030;
    /// `QueueNumMax`
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    /// `QueueNum`
    pub const QUEUE_NUM: u64 = 0x038;
    /// `QueueReady`
    pub const QUEUE_READY: u64 = 0x044;
    /// `QueueNotify`
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// `InterruptStatus`
    pub const INTERRUPT_STATUS: u64 = 0x060;
    /// `InterruptACK`
    pub const INTERRUPT_ACK: u64 = 0x064;
    /// `Status`
    pub const STATUS: u64 = 0x070;
    /// `QueueDescLow`
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    /// `QueueDescHigh`
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    /// `QueueDriverLow`
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    /// `QueueDriverHigh`
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    /// `QueueDeviceLow`
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    /// `QueueDeviceHigh`
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    /// `SHMLenLow`
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    /// `SHMBaseHigh`, the last of four.
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    /// `ConfigGeneration`
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    /// The device's configuration, up to the end of the slot.
    pub const CONFIG: u64 = 0x100;
}

/// Interrupt status: buffers were used.
pub const USED: u32 = 1;
/// Interrupt status: the configuration changed, or the device needs a reset.
pub const CONFIG_CHANGED: u32 = 2;
