//! What a function says of itself, once, when the machine is made.

use super::spec::{BARS, CAP_VENDOR};

/// Who a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor of the function.
    pub vendor: u16,
    /// Which of the vendor's.
    pub device: u16,
    /// Which revision of it.
    pub revision: u8,
    /// Class, subclass and programming interface, from the highest of three bytes on.
    pub class: u32,
    /// Vendor of the card.
    pub subsystem_vendor: u16,
    /// Which of the vendor's.
    pub subsystem: u16,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Who it is.
    pub identity: Identity,
    /// What its BARs claim.
    pub bars: [Option<Bar>; BARS],
    /// What it has beyond the header, but for MSI-X.
    pub capabilities: Vec<Capability>,
    /// Its interrupts: a pin, and vectors of MSI-X. A host bridge has none.
    pub interrupts: Option<Vectors>,
}

/// What a BAR claims, in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Bytes, a power of two from 16 on.
    pub size: u64,
    /// How wide its address is.
    pub width: Width,
    /// Whether reads change nothing.
    pub prefetchable: bool,
}

/// How wide the address in a BAR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    Bits32,
    /// 64 bits, and the next BAR with it.
    Bits64,
}

/// Messages of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vectors {
    /// How many, 1 to 2048.
    pub count: u16,
    /// The BAR that their table is given. It is not among the function's own.
    pub bar: usize,
}

/// A capability: some bytes of configuration space, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Which one.
    pub(super) id: u8,
    /// What follows the ID and the place of the next one.
    pub(super) body: Vec<u8>,
    /// What of it the guest can change.
    pub(super) writable: Vec<u8>,
    /// Whether it leads to the BARs.
    pub(super) bar_window: bool,
}

impl Capability {
    /// A vendor's, which the guest reads only.
    #[must_use]
    pub fn vendor(body: Vec<u8>) -> Self {
        Self {
            id: CAP_VENDOR,
            writable: vec![0; body.len()],
            body,
            bar_window: false,
        }
    }

    /// A vendor's, by whose last four bytes guests reach BARs that they cannot map. `body` is all
    /// before these bytes. The guest writes the number of a BAR to byte 4 of the capability, and an
    /// offset and a length in bytes, four bytes each, from byte 8 on; see *Virtio* 1.2, 4.1.4.9.
    #[must_use]
    pub fn bar_window(mut body: Vec<u8>) -> Self {
        body.resize(WINDOW_END - FIRST, 0);
        let settable = |at: usize| matches!(at, WINDOW_BAR | WINDOW_OFFSET..WINDOW_END);
        let writable = (FIRST..WINDOW_END).map(|at| if settable(at) { 0xff } else { 0 });
        Self {
            id: CAP_VENDOR,
            writable: writable.collect(),
            body,
            bar_window: true,
        }
    }
}

/// Where the body of a capability begins.
pub(super) const FIRST: usize = 2;
/// The number of the BAR.
pub(super) const WINDOW_BAR: usize = 4;
/// The offset in it.
pub(super) const WINDOW_OFFSET: usize = 8;
/// Bytes of the access.
pub(super) const WINDOW_LENGTH: usize = 12;
/// What is read or written.
pub(super) const WINDOW_DATA: usize = 16;
pub(super) const WINDOW_END: usize = 20;
