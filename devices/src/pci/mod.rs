//! A PCIe host bridge and the functions behind it.
//!
//! Models a "generic" host: configuration space is mapped (ECAM), and everything else about it is
//! said in the device tree. On bus 0 there are the bridge and up to 31 functions, each the only one
//! of its device; other buses are empty. A function has a type 0 header, memory BARs of 32 or
//! 64 bits that a guest may move at any time, INTx on pin A and MSI-X. See *PCI Express Base
//! Specification* revision 5.0, chapters 6.1 and 7.5, and *PCI Firmware Specification*, 4.1 for
//! ECAM.
//!
//! Deliberately left out: port I/O BARs (the window is there, and empty), option ROMs, MSI, power
//! management, hot plug, bridges, errors, and the PCI Express capability with all that needs it: a
//! function is a conventional one to its guest.
//!
//! | part | where |
//! |---|---|
//! | what a function says of itself | `description` |
//! | configuration space, pure | `config` |
//! | vectors and their messages, pure | `msix` |
//! | pins, wires and messages | `interrupts` |
//! | one function with its configuration space | `endpoint` |
//! | which BAR answers at an address, pure | `routes` |
//! | the bridge, which is what the machine's bus knows | `host` |
//!
//! A new kind of function implements [`PciFunction`].

mod config;
mod description;
mod endpoint;
mod host;
mod interrupts;
mod msix;
mod routes;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use aarch64::{Gpa, Size};

pub use description::{Bar, Capability, Description, Identity, Vectors, Width};
pub use host::{PciError, PciHost, Slot};
pub use interrupts::{Interrupts, intx};
pub use spec::{BARS, CAP_VENDOR};
pub use state::{FunctionState, InvalidPciState, MsixState, PciState};

/// Where messages of functions go: whoever turns them into interrupts.
///
/// Functions call it from any thread while locks of theirs are held, so it must not call back into
/// one.
pub trait MsiSink: Send + Sync {
    /// A function writes `data` to `address` to raise an interrupt. The guest chose both.
    fn signal(&self, address: u64, data: u32);
}

/// A function of a device: what is behind its configuration space.
///
/// It is called by several threads at once. Its interrupts it has from [`PciHost::interrupts`].
pub trait PciFunction: Send + Sync {
    /// What it is. It is asked once.
    fn description(&self) -> Description;
    /// A load from a BAR, as with [`MmioDevice`](crate::bus::MmioDevice).
    fn read_bar(&self, bar: usize, offset: u64, size: Size) -> u64;
    /// A store to a BAR.
    fn write_bar(&self, bar: usize, offset: u64, size: Size, value: u64);
    /// The guest has enabled, disabled or moved something: how it is now. Calls come one at a time
    /// and in their order. It may be called again with what it was told last.
    fn set_decoding(&self, now: &Decoding);
    /// Back to the state at power-on.
    fn reset(&self);
}

/// How a guest has set a function up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Decoding {
    /// Where each BAR is. None that is disabled, or that is not wholly in the window and the only
    /// one there: what of it can be reached is, but there is nothing to be relied on.
    pub bars: [Option<Gpa>; BARS],
    /// Whether it may read and write memory.
    pub bus_master: bool,
}
