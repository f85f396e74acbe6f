//! What a snapshot holds of the bridge and its functions.

/// Every function, by the number of its device.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PciState {
    /// The bridge is device 0.
    pub functions: Vec<FunctionState>,
}

/// One function, but for what is behind its BARs.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FunctionState {
    /// The number of the device.
    pub device: u8,
    /// Configuration space, 256 bytes. What a guest cannot change says which function it is.
    pub config: Vec<u8>,
    /// Whether the function wants its pin high.
    pub pin: bool,
    /// Its vectors, if it has any.
    pub msix: Option<MsixState>,
}

/// The vectors of MSI-X.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MsixState {
    /// For each: address, upper half of the address, data, vector control.
    pub entries: Vec<[u32; 4]>,
    /// A bit for each, 64 in a word.
    pub pending: Vec<u64>,
}

/// A saved state that cannot be of these functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPciState {
    /// Other devices.
    #[error("the PCI devices of the saved state are not those of this machine")]
    Devices,
    /// Configuration space of another function, or damaged.
    #[error("PCI device {0} of the saved state is another one than here, or damaged")]
    Config(u8),
    /// Vectors that cannot be.
    #[error("the MSI-X table of PCI device {0} of the saved state is impossible")]
    Msix(u8),
}
