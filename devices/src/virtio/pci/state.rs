//! What a snapshot holds of a device on the PCI transport.

use super::super::state::VirtioState;

/// The registers of a function. Its configuration space and its vectors' table are in
/// [`PciState`](crate::pci::PciState).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioPciState {
    /// `device_feature_select`
    pub device_feature_select: u32,
    /// `driver_feature_select`
    pub driver_feature_select: u32,
    /// `queue_select`
    pub queue_select: u16,
    /// `config_msix_vector`
    pub config_vector: u16,
    /// `queue_msix_vector` of each queue.
    pub queue_vectors: Vec<u16>,
    /// The interrupt status.
    pub interrupts: u8,
    /// The device behind it.
    pub virtio: VirtioState,
}
