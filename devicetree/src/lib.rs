//! The device tree: what a guest is told of its machine.
//!
//! [`Machine`] says what differs from one guest to the next; everything else is the fixed memory
//! map of [`aarch64::machine`]. [`Machine::to_fdt`] makes the flattened tree of the *Devicetree
//! Specification* v0.4, with the nodes and names of QEMU's `virt`, which firmware and kernels
//! know. [`reader`] reads one back, for tests.
//!
//! A new kind of device gets a field in [`Machine`] and a file in `nodes/`.

#![forbid(unsafe_code)]

mod nodes;
pub mod reader;
#[cfg(test)]
mod tests;

use aarch64::Intid;
use aarch64::machine::Span;

/// What a device tree is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// vCPUs.
    pub vcpus: u16,
    /// RAM, lowest address first.
    pub memory: Vec<Span>,
    /// What the boot loader tells the kernel.
    pub chosen: Chosen,
    /// Slots of virtio-mmio that hold a device.
    pub virtio_mmio: Vec<VirtioMmio>,
    /// The PCIe host bridge, if there is one.
    pub pcie: Option<Pcie>,
}

/// What the boot loader tells the kernel, in `/chosen`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Chosen {
    /// The kernel's command line.
    pub bootargs: String,
    /// Where the initial RAM disk is.
    pub initrd: Option<Span>,
    /// Randomness from the host.
    pub seeds: Option<Seeds>,
}

/// Randomness for the guest's first moments. The kernel wipes it from the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// For the random number generator.
    pub rng: [u8; 64],
    /// For the kernel's own address.
    pub kaslr: u64,
}

/// A virtio device behind the MMIO transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtioMmio {
    /// Its registers.
    pub span: Span,
    /// Its interrupt, an SPI.
    pub intid: Intid,
}

/// A PCIe host bridge, with configuration space and windows where [`aarch64::machine`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcie {
    /// The interrupt, an SPI, of each of the pins INTA to INTD of devices 0 to 3. Device n + 4 has
    /// those of device n.
    pub intx: [[Intid; 4]; 4],
}

/// A machine that no device tree can describe.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A string holds a NUL character.
    #[error("the kernel command line must not contain a NUL character")]
    NulInBootargs,
    /// A range of addresses wraps around.
    #[error("the address range at {0:#x} is too long")]
    BadSpan(u64),
    /// The writer refused.
    #[error("cannot build the device tree: {0}")]
    Writer(vm_fdt::Error),
}

impl From<vm_fdt::Error> for Error {
    fn from(error: vm_fdt::Error) -> Self {
        Self::Writer(error)
    }
}

impl Machine {
    /// The flattened device tree.
    ///
    /// # Errors
    /// When a value has no place in one.
    pub fn to_fdt(&self) -> Result<Vec<u8>, Error> {
        if self.chosen.bootargs.contains('\0') {
            return Err(Error::NulInBootargs);
        }
        nodes::write(self)
    }
}
