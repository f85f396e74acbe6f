//! Operand fields that many classes share.

use crate::emitter::{DISCARD, Reg, SP};

/// `len` bits of `insn` from bit `low` on.
#[inline]
#[must_use]
pub const fn bits(insn: u32, low: u32, len: u32) -> u32 {
    insn >> low & ((1 << len) - 1)
}

/// One bit.
#[inline]
#[must_use]
pub const fn bit(insn: u32, at: u32) -> bool {
    insn >> at & 1 != 0
}

/// `len` bits from `low` on, sign-extended to 64.
#[must_use]
pub const fn signed(insn: u32, low: u32, len: u32) -> u64 {
    let value = bits(insn, low, len) as i64;
    ((value << (64 - len)) >> (64 - len)) as u64
}

/// The register number at `low`.
#[must_use]
pub const fn reg(insn: u32, low: u32) -> Reg {
    bits(insn, low, 5) as Reg
}

/// Rd or Rt as a destination: the zero register swallows the result.
#[must_use]
pub const fn rd(insn: u32) -> Reg {
    dest(reg(insn, 0))
}

/// The slot that register number `r` writes to.
#[must_use]
pub const fn dest(r: Reg) -> Reg {
    if r == 31 { DISCARD } else { r }
}

/// Rd where 31 means SP.
#[must_use]
pub const fn rd_sp(insn: u32) -> Reg {
    or_sp(reg(insn, 0))
}

/// Rn as a source.
#[must_use]
pub const fn rn(insn: u32) -> Reg {
    reg(insn, 5)
}

/// Rn where 31 means SP.
#[must_use]
pub const fn rn_sp(insn: u32) -> Reg {
    or_sp(reg(insn, 5))
}

/// Rm as a source.
#[must_use]
pub const fn rm(insn: u32) -> Reg {
    reg(insn, 16)
}

const fn or_sp(r: Reg) -> Reg {
    if r == 31 { SP } else { r }
}

/// `DecodeBitMasks` of the manual (J1.1): the masks `wmask` and `tmask` that N:immr:imms mean, for
/// `width` 32 or 64 bits; `None` if reserved. `logical` excludes the all-ones element.
#[must_use]
pub fn bit_masks(n: u32, imms: u32, immr: u32, logical: bool, width: u32) -> Option<(u64, u64)> {
    let combined = n << 6 | (!imms & 0x3f);
    let len = 31u32.checked_sub(combined.leading_zeros())?;
    if len == 0 || (1 << len) > width {
        return None;
    }
    let levels = (1 << len) - 1;
    if logical && imms & levels == levels {
        return None;
    }
    let (s, r) = (imms & levels, immr & levels);
    let size = 1 << len;
    let element_mask = u64::MAX >> (64 - size);
    let ones = |count: u32| u64::MAX >> (64 - count);
    let w = ones(s + 1);
    let rotated = if r == 0 {
        w
    } else {
        (w >> r | w << (size - r)) & element_mask
    };
    let d = s.wrapping_sub(r) & levels;
    let replicate = |element: u64| {
        let mut value = element;
        let mut filled = size;
        while filled < 64 {
            value |= value << filled;
            filled *= 2;
        }
        value & (u64::MAX >> (64 - width))
    };
    Some((replicate(rotated), replicate(ones(d + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bit_masks_of_known_immediates() {
        // and x0, x1, #0xff00ff00ff00ff00: N=0, immr=8, imms=0b100111
        assert_eq!(
            bit_masks(0, 0b10_0111, 8, true, 64).unwrap().0,
            0xff00_ff00_ff00_ff00
        );
        assert_eq!(bit_masks(1, 0, 0, true, 64).unwrap().0, 1);
        assert_eq!(bit_masks(1, 0x3f, 0, true, 64), None);
        assert_eq!(bit_masks(1, 0, 0, true, 32), None);
        // ubfx w0, w1, #4, #8: immr=4, imms=11
        assert_eq!(bit_masks(0, 11, 4, false, 32).unwrap().1, 0xff);
    }
}
