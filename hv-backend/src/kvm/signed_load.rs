//! Loads that extend a sign, told from the instruction (Arm ARM C4.1.95).
//!
//! KVM completes a load from where no memory is, but for one thing: what it extends the sign of, it
//! cuts to the size of the access again before the register gets it (Linux 6.12,
//! `kvm_handle_mmio_return`). Its exit does not say whether the load is such a one. It makes no
//! difference as long as the sign is a plus; where it is a minus, the instruction has to be looked at.
//! Kernels without that fault lose nothing by it. Pure: compiled and tested on every host.
//!
//! Omitted are loads that KVM does not complete, and which the executor does right: those with
//! writeback and pairs.

use aarch64::Size;
use aarch64::trap::Access;

/// Fixed bits, as mask and value, of loads of one register: an immediate offset that is scaled, one
/// that is not (`LDUR`, `LDTR`), a register, an offset of `LDAPUR`.
const FORMS: [(u32, u32); 4] = [
    (0x3f80_0000, 0x3980_0000),
    (0x3fa0_0400, 0x3880_0000),
    (0x3fa0_0c00, 0x38a0_0800),
    (0x3fa0_0c00, 0x1980_0000),
];
/// The same, of `LDRSW` of a literal.
const LITERAL: (u32, u32) = (0xff00_0000, 0x9800_0000);
/// Of the forms: the register is W and not X.
const NARROW: u32 = 1 << 22;

/// Whether the value loaded is the same with its sign extended.
#[must_use]
pub const fn is_positive(size: Size, value: u64) -> bool {
    matches!(size, Size::D) || value >> (size.bits() - 1) & 1 == 0
}

/// What the instruction loads, if it is a load of one general register that extends the sign.
#[must_use]
pub fn signed_load(insn: u32) -> Option<Access> {
    let is = |(mask, value): (u32, u32)| insn & mask == value;
    let access = |size, is_wide| Access {
        size,
        register: (insn & 0x1f) as u8,
        sign_extends: true,
        is_wide,
    };
    if is(LITERAL) {
        return Some(access(Size::W, true));
    }
    if !FORMS.into_iter().any(is) {
        return None;
    }
    match (insn >> 30, insn & NARROW) {
        (0, narrow) => Some(access(Size::B, narrow == 0)),
        (1, narrow) => Some(access(Size::H, narrow == 0)),
        (2, 0) => Some(access(Size::W, true)),
        // Prefetches, and nothing.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_that_extend_the_sign_are_told_from_the_rest() {
        for (insn, size, is_wide, name) in [
            (0x3980_0022, Size::B, true, "ldrsb x2, [x1]"),
            (0x39c0_0422, Size::B, false, "ldrsb w2, [x1, #1]"),
            (0x7980_0422, Size::H, true, "ldrsh x2, [x1, #2]"),
            (0x79c0_0422, Size::H, false, "ldrsh w2, [x1, #2]"),
            (0xb980_0422, Size::W, true, "ldrsw x2, [x1, #4]"),
            (0x389f_f022, Size::B, true, "ldursb x2, [x1, #-1]"),
            (0xb89f_c022, Size::W, true, "ldursw x2, [x1, #-4]"),
            (0x78c0_2822, Size::H, false, "ldtrsh w2, [x1, #2]"),
            (0xb880_4822, Size::W, true, "ldtrsw x2, [x1, #4]"),
            (0xb8a3_7822, Size::W, true, "ldrsw x2, [x1, x3, lsl #2]"),
            (0x38e3_6822, Size::B, false, "ldrsb w2, [x1, x3]"),
            (0x1980_1022, Size::B, true, "ldapursb x2, [x1, #1]"),
            (0x9980_4022, Size::W, true, "ldapursw x2, [x1, #4]"),
            (0x9800_0042, Size::W, true, "ldrsw x2, .+8"),
        ] {
            let access = Access {
                size,
                register: 2,
                sign_extends: true,
                is_wide,
            };
            assert_eq!(signed_load(insn), Some(access), "{name}");
        }
        for (insn, name) in [
            (0x3940_0022, "ldrb w2, [x1]"),
            (0x3900_0022, "strb w2, [x1]"),
            (0xb940_0022, "ldr w2, [x1]"),
            (0xf940_0022, "ldr x2, [x1]"),
            (0xf980_0022, "prfm #2, [x1]"),
            (0x3dc0_0022, "ldr q2, [x1]"),
            (0x3d80_0022, "str q2, [x1]"),
            (0x5800_0042, "ldr x2, .+8"),
            (0xd800_0042, "prfm #2, .+8"),
            (0x38e3_0022, "ldaddalb w3, w2, [x1]"),
            (0x38a3_8022, "swpab w3, w2, [x1]"),
            (0x1940_0022, "ldapurb w2, [x1]"),
            (0x6940_0822, "ldpsw x2, x2, [x1]"),
        ] {
            assert_eq!(signed_load(insn), None, "{name}");
        }
    }

    #[test]
    fn signs_are_found_at_each_size() {
        for (size, negative) in [(Size::B, 0x80), (Size::H, 0x8000), (Size::W, 0x8000_0000)] {
            assert!(!is_positive(size, negative) && is_positive(size, negative - 1));
            assert!(
                is_positive(size, negative << 1),
                "what is beyond is ignored"
            );
        }
        assert!(is_positive(Size::D, u64::MAX), "there is nothing to extend");
    }
}
