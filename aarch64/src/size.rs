//! Access sizes.

/// Size of one access to memory or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// 1 byte.
    B,
    /// 2 bytes.
    H,
    /// 4 bytes.
    W,
    /// 8 bytes.
    D,
}

impl Size {
    /// All sizes, smallest first.
    pub const ALL: [Self; 4] = [Self::B, Self::H, Self::W, Self::D];

    /// Bytes of the access.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << (self as u32)
    }

    /// Bits of the access.
    #[must_use]
    pub const fn bits(self) -> u32 {
        8 << (self as u32)
    }

    /// The bits of a 64-bit value that an access of this size carries.
    #[must_use]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The size of `bytes` bytes, if it is one.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(Self::B),
            2 => Some(Self::H),
            4 => Some(Self::W),
            8 => Some(Self::D),
            _ => None,
        }
    }
}
