//! What a snapshot holds of a device on the MMIO transport.

use super::super::state::VirtioState;

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MmioState {
    /// `DeviceFeaturesSel`
    pub device_features_sel: u32,
    /// `DriverFeaturesSel`
    pub driver_features_sel: u32,
    /// `QueueSel`
    pub queue_sel: u32,
    /// `InterruptStatus`
    pub interrupts: u32,
    /// The device behind it.
    pub virtio: VirtioState,
}
