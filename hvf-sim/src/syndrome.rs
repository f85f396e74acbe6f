//! Syndromes as `ESR_EL2` would hold them (Arm ARM D17.2.37), worked out from the instruction.
//!
//! A data abort describes its access (ISV) only for loads and stores of one general register
//! without writeback that are no exclusives and no atomics; pairs, vectors and the like leave the
//! hypervisor with an address and nothing else.

use aarch64::syndrome::{Ec, esr};

/// Fault status: translation fault, level 3.
const TRANSLATION: u32 = 0b00_0111;
/// Fault status: permission fault, level 3.
const PERMISSION: u32 = 0b00_1111;
const WNR: u32 = 1 << 6;
const S1PTW: u32 = 1 << 7;
const CM: u32 = 1 << 8;
const ISV: u32 = 1 << 24;

/// What of the access does not depend on the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nothing is mapped there.
    Translation,
    /// What is mapped there does not allow it.
    Permission,
}

impl Cause {
    const fn status(self) -> u32 {
        match self {
            Self::Translation => TRANSLATION,
            Self::Permission => PERMISSION,
        }
    }
}

const fn bits(insn: u32, low: u32, len: u32) -> u32 {
    insn >> low & ((1 << len) - 1)
}

const fn bit(insn: u32, at: u32) -> bool {
    insn >> at & 1 != 0
}

/// A data abort of `insn`.
pub(crate) fn data_abort(insn: u32, cause: Cause) -> u64 {
    let write = if writes(insn) { WNR } else { 0 };
    esr(
        Ec::DataAbortLower,
        described(insn).unwrap_or(0) | write | cause.status(),
    )
}

/// A data abort of cache maintenance.
pub(crate) fn maintenance_abort(cause: Cause) -> u64 {
    esr(Ec::DataAbortLower, CM | WNR | cause.status())
}

/// An abort of a fetch.
pub(crate) fn instruction_abort(cause: Cause) -> u64 {
    esr(Ec::InsnAbortLower, cause.status())
}

/// An abort of a walk of stage 1.
pub(crate) fn walk_abort(fetch: bool, cause: Cause) -> u64 {
    let ec = if fetch {
        Ec::InsnAbortLower
    } else {
        Ec::DataAbortLower
    };
    esr(ec, S1PTW | cause.status())
}

/// A trapped `MRS` or `MSR`.
pub(crate) fn system_register(insn: u32) -> u64 {
    let iss = bits(insn, 19, 2) << 20
        | bits(insn, 5, 3) << 17
        | bits(insn, 16, 3) << 14
        | bits(insn, 12, 4) << 10
        | bits(insn, 0, 5) << 5
        | bits(insn, 8, 4) << 1
        | bits(insn, 21, 1);
    esr(Ec::SysReg, iss)
}

/// A trapped `WFI` (0) or `WFE` (1). The condition is valid and always.
pub(crate) fn wait(kind: u32) -> u64 {
    esr(Ec::Wfx, 1 << 24 | 0xe << 20 | kind)
}

/// ISV and what comes with it.
fn described(insn: u32) -> Option<u32> {
    let single = |size: u32, sign: bool, wide: bool, ordered: bool| {
        ISV | size << 22
            | u32::from(sign) << 21
            | bits(insn, 0, 5) << 16
            | u32::from(wide) << 15
            | u32::from(ordered) << 14
    };
    let size = bits(insn, 30, 2);
    match bits(insn, 24, 6) {
        // Register, immediate without writeback or register offset.
        0b11_1001 => Some(by_opc(insn, single)),
        0b11_1000 if plain_form(insn) => Some(by_opc(insn, single)),
        // LDAPR.
        0b11_1000 if insn & 0x3fff_fc00 == 0x38bf_c000 => {
            Some(single(size, false, size == 3, true))
        }
        // Literal: LDR (W), LDR (X), LDRSW.
        0b01_1000 => Some(match size {
            0 => single(2, false, false, false),
            1 => single(3, false, true, false),
            _ => single(2, true, true, false),
        }),
        // LDAR, STLR.
        0b00_1000 if bit(insn, 23) && !bit(insn, 21) => Some(single(size, false, size == 3, true)),
        _ => None,
    }
}

/// Bits 21 and 11:10 say neither writeback nor atomic.
fn plain_form(insn: u32) -> bool {
    match (bit(insn, 21), bits(insn, 10, 2)) {
        (false, form) => form == 0b00 || form == 0b10,
        (true, form) => form == 0b10,
    }
}

/// The size, sign extension and width that size and opc of a load or store mean.
fn by_opc(insn: u32, single: impl Fn(u32, bool, bool, bool) -> u32) -> u32 {
    let size = bits(insn, 30, 2);
    match bits(insn, 22, 2) {
        0b10 => single(size, true, true, false),
        0b11 => single(size, true, false, false),
        _ => single(size, false, size == 3, false),
    }
}

/// Whether an access of `insn` that faults is a write. Atomics that may not even read are reads.
fn writes(insn: u32) -> bool {
    let vector = bit(insn, 26);
    match (bits(insn, 27, 3), bits(insn, 24, 2)) {
        // Single registers.
        (0b111, 0b00) if !vector && bit(insn, 21) && bits(insn, 10, 2) == 0 => false,
        (0b111, _) if !vector => bits(insn, 22, 2) == 0,
        (0b111, _) => !bit(insn, 22),
        (0b011, _) => false,
        // Compare and swap, single and pair.
        (0b001, 0b00) if !vector && bit(insn, 21) && (bit(insn, 23) || !bit(insn, 31)) => false,
        // Pairs, exclusives, ordered, structures.
        (0b101, _) | (0b001, _) => !bit(insn, 22),
        // DC ZVA.
        _ => insn >> 22 == 0xd500_0000 >> 22,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SAS, SSE, SRT, SF, AR, WnR.
    type Described = (u32, bool, u32, bool, bool, bool);

    /// What a data abort says of its access, if it does.
    fn fields(insn: u32) -> Option<Described> {
        let esr = data_abort(insn, Cause::Translation) as u32;
        assert_eq!((esr >> 26, esr & 0x3f), (0x24, TRANSLATION));
        bit(esr, 24).then(|| {
            let (sas, sse, srt) = (bits(esr, 22, 2), bit(esr, 21), bits(esr, 16, 5));
            (sas, sse, srt, bit(esr, 15), bit(esr, 14), bit(esr, 6))
        })
    }

    fn is_write(insn: u32) -> bool {
        bit(data_abort(insn, Cause::Permission) as u32, 6)
    }

    /// Instructions, with SAS, SSE, SRT, SF, AR and WnR of what they describe.
    #[rustfmt::skip]
    const DESCRIBED: [(&str, u32, Described); 15] = [
        ("ldr w3, [x1]", 0xb940_0023, (2, false, 3, false, false, false)),
        ("ldr x3, [x1, #8]", 0xf940_0423, (3, false, 3, true, false, false)),
        ("ldrb w4, [x1]", 0x3940_0024, (0, false, 4, false, false, false)),
        ("ldrsb w4, [x1]", 0x39c0_0024, (0, true, 4, false, false, false)),
        ("ldrsb x4, [x1]", 0x3980_0024, (0, true, 4, true, false, false)),
        ("ldrsw x4, [x1]", 0xb980_0024, (2, true, 4, true, false, false)),
        ("str wzr, [x1]", 0xb900_003f, (2, false, 31, false, false, true)),
        ("strh w2, [x1, #-1]", 0x781f_f022, (1, false, 2, false, false, true)),
        ("str x2, [x1, x3]", 0xf823_6822, (3, false, 2, true, false, true)),
        ("ldtr w2, [x1]", 0xb840_0822, (2, false, 2, false, false, false)),
        ("ldr x2, label", 0x5800_0002, (3, false, 2, true, false, false)),
        ("ldrsw x2, label", 0x9800_0002, (2, true, 2, true, false, false)),
        ("ldar w2, [x1]", 0x88df_fc22, (2, false, 2, false, true, false)),
        ("stlr x2, [x1]", 0xc89f_fc22, (3, false, 2, true, true, true)),
        ("ldapr w2, [x1]", 0xb8bf_c022, (2, false, 2, false, true, false)),
    ];

    #[test]
    fn single_registers_are_described() {
        for (text, insn, expected) in DESCRIBED {
            assert_eq!(fields(insn), Some(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for (text, insn, write) in [
            ("ldp x2, x3, [x1]", 0xa940_0c22, false),
            ("stp w2, w3, [x1]", 0x2900_0c22, true),
            ("ldr x2, [x1], #8", 0xf840_8422, false),
            ("str w2, [x1, #4]!", 0xb800_4c22, true),
            ("ldr q2, [x1]", 0x3dc0_0022, false),
            ("str d2, [x1]", 0xfd00_0022, true),
            ("stp q2, q3, [x1]", 0xad00_0c22, true),
            ("ld1 {v2.16b}, [x1]", 0x4c40_7022, false),
            ("st1 {v2.16b}, [x1]", 0x4c00_7022, true),
            ("ldxr w2, [x1]", 0x885f_7c22, false),
            ("stxr w3, w2, [x1]", 0x8803_7c22, true),
            ("stxp w3, x2, x4, [x1]", 0xc823_1022, true),
            ("ldadd w3, w2, [x1]", 0xb823_0022, false),
            ("swp x3, x2, [x1]", 0xf823_8022, false),
            ("cas w3, w2, [x1]", 0x88a3_7c22, false),
            ("casp x4, x5, x2, x3, [x1]", 0x4824_7c22, false),
            ("dc zva, x1", 0xd50b_7421, true),
        ] {
            assert_eq!(fields(insn), None, "{text}");
            assert_eq!(is_write(insn), write, "{text}");
        }
    }

    #[test]
    fn other_aborts_say_what_they_are() {
        let maintenance = maintenance_abort(Cause::Translation);
        assert_eq!(maintenance & 0x1ff, u64::from(CM | WNR | TRANSLATION));
        assert_eq!(walk_abort(false, Cause::Translation) >> 26, 0x24);
        assert_eq!(walk_abort(true, Cause::Translation) & 0x80, 0x80);
        assert_eq!(instruction_abort(Cause::Permission) >> 26, 0x20);
        assert_eq!(wait(1), 0x07e0_0001);
        // mrs x5, pmccntr_el0 (S3_3_C9_C13_0)
        let esr = system_register(0xd53b_9d05);
        assert_eq!(esr >> 26, 0x18);
        assert_eq!(
            esr & 0x1ff_ffff,
            3 << 20 | 3 << 14 | 9 << 10 | 5 << 5 | 13 << 1 | 1
        );
    }
}
