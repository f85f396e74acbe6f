//! Registers and bits of configuration space, as *PCI Express Base Specification*, chapter 7, names
//! them.

/// Bytes of configuration space that a function has. It is a conventional one: without the PCI
/// Express capability, nobody looks for the extended space beyond.
pub(super) const CONFIG_BYTES: usize = 256;

pub(super) const VENDOR_ID: usize = 0x00;
pub(super) const DEVICE_ID: usize = 0x02;
pub(super) const COMMAND: usize = 0x04;
pub(super) const STATUS: usize = 0x06;
pub(super) const REVISION_ID: usize = 0x08;
/// Three bytes: programming interface, subclass, class.
pub(super) const CLASS_CODE: usize = 0x09;
pub(super) const CACHE_LINE_SIZE: usize = 0x0c;
pub(super) const BAR0: usize = 0x10;
pub(super) const SUBSYSTEM_VENDOR_ID: usize = 0x2c;
pub(super) const SUBSYSTEM_ID: usize = 0x2e;
pub(super) const CAPABILITIES: usize = 0x34;
pub(super) const INTERRUPT_LINE: usize = 0x3c;
pub(super) const INTERRUPT_PIN: usize = 0x3d;
/// Where the registers that every function has end.
pub(super) const HEADER_END: usize = 0x40;

/// Base address registers of a type 0 header.
pub const BARS: usize = 6;
/// In a BAR: the address has another 32 bits in the next BAR.
pub(super) const BAR_64: u32 = 1 << 2;
/// In a BAR: reads change nothing, and may be done ahead.
pub(super) const BAR_PREFETCHABLE: u32 = 1 << 3;
/// The least that a memory BAR claims.
pub(super) const BAR_LEAST: u64 = 16;

bitflags::bitflags! {
    /// The command register: what a guest can set of it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Command: u16 {
        /// BARs answer.
        const MEMORY = 1 << 1;
        /// The function reads and writes memory, and sends messages.
        const BUS_MASTER = 1 << 2;
        /// Parity errors are reported: there are none.
        const PARITY = 1 << 6;
        /// Errors are reported: there are none.
        const SERR = 1 << 8;
        /// INTx stays low.
        const INTX_DISABLE = 1 << 10;
    }
}

/// In the status register: the function wants its INTx high.
pub(super) const STATUS_INTERRUPT: u8 = 1 << 3;
/// In the status register: there is a list of capabilities.
pub(super) const STATUS_CAPABILITIES: u8 = 1 << 4;

/// The capability of a vendor.
pub const CAP_VENDOR: u8 = 0x09;
/// The MSI-X capability.
pub(super) const CAP_MSIX: u8 = 0x11;

/// In the message control of MSI-X: every vector is masked.
pub(super) const MSIX_FUNCTION_MASK: u16 = 1 << 14;
/// In the message control of MSI-X: messages in place of INTx.
pub(super) const MSIX_ENABLE: u16 = 1 << 15;
/// The most vectors of a function.
pub(super) const MSIX_MOST: u16 = 2048;
/// In the vector control of a vector: no message is sent.
pub(super) const VECTOR_MASKED: u32 = 1;

/// What an access reads that nobody answers.
pub(super) const NOBODY: u64 = u64::MAX;
