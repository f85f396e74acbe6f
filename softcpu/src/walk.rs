//! The stage-1 table walk of the EL1&0 regime (D8.2 and D8.3): 4K and 16K granules, hierarchical
//! permissions, no hardware management of access flags, contiguous hints ignored.
//!
//! A walk is a function of the translation registers, guest memory and an address. Its result, a
//! [`Leaf`], says what either exception level may do, so it can be kept for both.

use aarch64::cpu_model::PA_BITS;
use aarch64::{Gpa, PAGE_SIZE};

/// Where a page leads and what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Physical page number, in units of [`PAGE_SIZE`].
    pub frame: u64,
    /// Bits of this type.
    pub flags: u16,
    /// Lookup level of the descriptor, for permission faults.
    pub level: u8,
    /// log2 of the bytes that the descriptor maps.
    pub span: u8,
}

impl Leaf {
    /// EL1 may store.
    pub const EL1_WRITE: u16 = 1 << 0;
    /// EL1 may execute.
    pub const EL1_EXEC: u16 = 1 << 1;
    /// EL0 may load; with PAN, EL1 may not.
    pub const EL0_READ: u16 = 1 << 2;
    /// EL0 may store.
    pub const EL0_WRITE: u16 = 1 << 3;
    /// EL0 may execute.
    pub const EL0_EXEC: u16 = 1 << 4;
    /// Holds for every ASID.
    pub const GLOBAL: u16 = 1 << 5;
    /// Device memory type.
    pub const DEVICE: u16 = 1 << 6;

    /// A leaf that allows nothing.
    pub const NONE: Self = Self {
        frame: 0,
        flags: 0,
        level: 0,
        span: 12,
    };

    /// Whether all of these flags are set.
    pub fn has(self, flags: u16) -> bool {
        self.flags & flags == flags
    }

    /// Whether it holds for every ASID.
    pub fn is_global(self) -> bool {
        self.has(Self::GLOBAL)
    }
}

/// A fault status code as syndromes report it (`ISS.DFSC`, `ISS.IFSC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault(pub u32);

impl Fault {
    pub fn address_size(level: u32) -> Self {
        Self(level & 3)
    }
    pub fn translation(level: u32) -> Self {
        Self(0b00_0100 | level & 3)
    }
    pub fn access_flag(level: u32) -> Self {
        Self(0b00_1000 | level & 3)
    }
    pub fn permission(level: u32) -> Self {
        Self(0b00_1100 | level & 3)
    }
    pub fn external_on_walk(level: u32) -> Self {
        Self(0b01_0100 | level & 3)
    }
}

/// The translation registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Regime {
    pub tcr: u64,
    pub ttbr: [u64; 2],
    pub mair: u64,
    /// `SCTLR_EL1.WXN`
    pub write_implies_no_execute: bool,
}

impl Regime {
    /// The address without its tag, if `TCR_EL1.TBIn` says it has one.
    pub fn untagged(tcr: u64, va: u64) -> u64 {
        let high = va >> 55 & 1;
        if tcr >> (37 + high) & 1 == 0 {
            va
        } else if high == 1 {
            va | 0xff << 56
        } else {
            va & !(0xff << 56)
        }
    }

    /// log2 of the granule that addresses of the low or high half are translated by.
    pub fn granule(tcr: u64, high: bool) -> u32 {
        let is_16k = if high {
            tcr >> 30 & 3 == 1
        } else {
            tcr >> 14 & 3 == 2
        };
        // The model has no 64K granule: that and reserved values count as 4K.
        if is_16k { 14 } else { 12 }
    }

    /// Walks the tables for an address without tag. `load` reads a descriptor, where memory is.
    pub fn walk(&self, va: u64, load: impl Fn(Gpa) -> Option<u64>) -> Result<Leaf, Fault> {
        let high = va >> 55 & 1 == 1;
        let (size_shift, disable_bit) = if high { (16, 23) } else { (0, 7) };
        let ia_bits = 64 - (self.tcr >> size_shift & 0x3f).clamp(16, 39) as u32;
        let beyond = (va as i64) >> ia_bits;
        if beyond != if high { -1 } else { 0 } || self.tcr >> disable_bit & 1 != 0 {
            return Err(Fault::translation(0));
        }
        let granule = Self::granule(self.tcr, high);
        let stride = granule - 3;
        let levels = (ia_bits - granule).div_ceil(stride);
        let pa_limit = self.pa_limit();

        let mut level = 4 - levels;
        let mut shift = granule + stride * (3 - level);
        let mut index_bits = ia_bits - shift;
        let align = 1 << (index_bits + 3);
        let mut table = self.ttbr[usize::from(high)] & 0xffff_ffff_fffe & !(align - 1);
        if table >= pa_limit {
            return Err(Fault::address_size(0));
        }
        let mut inherited = 0;
        loop {
            let index = va >> shift & ((1 << index_bits) - 1);
            let descriptor = load(Gpa(table + 8 * index)).ok_or(Fault::external_on_walk(level))?;
            match (descriptor & 3, level) {
                (3, 0..=2) => {}
                (3, _) => return self.leaf(descriptor, inherited, va, level, shift),
                (1, 1) if granule == 12 => {
                    return self.leaf(descriptor, inherited, va, level, shift);
                }
                (1, 2) => return self.leaf(descriptor, inherited, va, level, shift),
                _ => return Err(Fault::translation(level)),
            }
            inherited |= descriptor;
            table = descriptor & 0xffff_ffff_ffff & !((1 << granule) - 1);
            if table >= pa_limit {
                return Err(Fault::address_size(level));
            }
            level += 1;
            shift -= stride;
            index_bits = stride;
        }
    }

    /// The first physical address beyond what `TCR_EL1.IPS` and the model allow.
    fn pa_limit(&self) -> u64 {
        let bits = match self.tcr >> 32 & 7 {
            0 => 32,
            1 => 36,
            _ => PA_BITS,
        };
        1 << bits
    }

    /// Takes a block or page descriptor apart. `tables` is the union of the table descriptors
    /// that led to it.
    fn leaf(
        &self,
        descriptor: u64,
        tables: u64,
        va: u64,
        level: u32,
        shift: u32,
    ) -> Result<Leaf, Fault> {
        let inside = (1u64 << shift) - 1;
        let base = descriptor & 0xffff_ffff_ffff & !inside;
        if base >= self.pa_limit() {
            return Err(Fault::address_size(level));
        }
        if descriptor >> 10 & 1 == 0 {
            return Err(Fault::access_flag(level));
        }
        let bit = |value: u64, at: u32| value >> at & 1 != 0;
        let user = bit(descriptor, 6) && !bit(tables, 61);
        let writable = !bit(descriptor, 7) && !bit(tables, 62);
        let no_write_exec = self.write_implies_no_execute && writable;
        let pxn = bit(descriptor, 53) || bit(tables, 59);
        let uxn = bit(descriptor, 54) || bit(tables, 60);
        let attr = self.mair >> (8 * (descriptor >> 2 & 7)) & 0xff;
        let mut flags = 0;
        let mut set = |flag, on: bool| flags |= if on { flag } else { 0 };
        set(Leaf::EL0_READ, user);
        set(Leaf::EL0_WRITE, user && writable);
        set(Leaf::EL0_EXEC, !(uxn || no_write_exec && user));
        set(Leaf::EL1_WRITE, writable);
        // What EL0 can write, EL1 never executes.
        set(Leaf::EL1_EXEC, !(pxn || no_write_exec || user && writable));
        set(Leaf::GLOBAL, !bit(descriptor, 11));
        set(Leaf::DEVICE, attr & 0xf0 == 0);
        Ok(Leaf {
            frame: (base | va & inside) / PAGE_SIZE,
            flags,
            level: level as u8,
            span: shift as u8,
        })
    }
}
