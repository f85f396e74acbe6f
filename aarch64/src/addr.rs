//! Guest addresses.

use std::fmt;

/// The smallest translation granule, and armlet's unit for guest RAM: 4 KiB.
pub const PAGE_SIZE: u64 = 4096;

/// A guest physical address (an IPA to the host's stage-2 translation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gpa(pub u64);

impl Gpa {
    /// This address plus `bytes`, or `None` past 2^64.
    #[must_use]
    pub fn checked_add(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// This address rounded down to a multiple of `align` (a power of two).
    #[must_use]
    pub fn align_down(self, align: u64) -> Self {
        Self(self.0 & !(align - 1))
    }
}

impl fmt::Display for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
