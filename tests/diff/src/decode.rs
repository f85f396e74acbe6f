//! Do both sides refuse the same encodings?
//!
//! Random words, rows with random operands, and rows with a fixed bit flipped. Either side runs
//! each word once; an undefined instruction on one side must be one on the other. Only in classes
//! listed in [`ARMLET_LACKS`] may armlet refuse what the oracle accepts, and the other way round in
//! [`ORACLE_LACKS`].

use softcpu::interp::table;

use crate::Error;
use crate::address::field;
use crate::place::{SLOT, WINDOW};
use crate::program::{Batch, branches_into_harness};
use crate::report::Mismatch;
use crate::rng::Rng;
use crate::run::Pair;
use crate::state::{End, Signal, State};

/// Encodings that one side refuses.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// Which bits tell.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// What they are, and why it is no mistake of armlet's.
    pub reason: &'static str,
}

const UNALLOCATED: &str = "unallocated; the emulator does not look at the bit that tells";

/// What only armlet refuses, by the classes of chapter C4.
#[rustfmt::skip]
pub const ARMLET_LACKS: [Exception; 10] = [
    // FEAT_FP16: across lanes and scalar pairwise, bit 22.
    Exception { mask: 0xbf7f_cc00, value: 0x0e70_c800, reason: UNALLOCATED },
    Exception { mask: 0xff7f_cc00, value: 0x5e70_c800, reason: UNALLOCATED },
    // FEAT_FP16: where FNEG of a SIMD scalar would be, bit 28.
    Exception { mask: 0xffff_fc00, value: 0x7ef8_f800, reason: UNALLOCATED },
    // FEAT_FP16: modified immediate, bit 29.
    Exception { mask: 0xbff8_fc00, value: 0x2f00_fc00, reason: UNALLOCATED },
    Exception {
        mask: 0x3fe0_8000, value: 0x0880_0000,
        reason: "FEAT_LOR (STLLR), which the oracle's CPU model has beyond armlet's",
    },
    Exception {
        mask: 0x3fe0_8000, value: 0x08c0_0000,
        reason: "FEAT_LOR (LDLAR), which the oracle's CPU model has beyond armlet's",
    },
    Exception {
        mask: 0xffff_f0ff, value: 0xd503_403f,
        reason: "FEAT_SSBS (immediate), which the oracle's CPU model has beyond armlet's",
    },
    Exception {
        mask: 0xffdf_ffe0, value: 0xd51b_42c0,
        reason: "FEAT_SSBS (register), which the oracle's CPU model has beyond armlet's",
    },
    Exception {
        mask: 0xffff_ffe0, value: 0xd53b_9e00,
        reason: "FEAT_PMUv3 (PMUSERENR_EL0), which the oracle's CPU model has beyond armlet's",
    },
    Exception {
        mask: 0xfff8_f000, value: 0xd538_0000,
        reason: "identification registers, which the emulator shows to EL0 as Linux does",
    },
];

/// What only the oracle refuses.
#[rustfmt::skip]
pub const ORACLE_LACKS: [Exception; 2] = [
    Exception {
        mask: 0xffff_ffe0, value: 0xd50b_7c20,
        reason: "DC CVAP, which the emulator has only where it emulates a whole system",
    },
    Exception {
        mask: 0xffdf_fee0, value: 0xd513_0400,
        reason: "the debug communication channel at EL0, which the emulator does not have",
    },
];

/// A word to try.
pub fn candidate(rng: &mut Rng) -> u32 {
    let rows = table().rows();
    let row = &rows[rng.below(rows.len() as u64) as usize];
    let insn = rng.word() & !row.mask | row.value;
    match rng.below(6) {
        0 => rng.word(),
        // System instructions and registers, and those for EL0.
        4 => rng.word() & 0x003f_ffff | 0xd500_0000,
        5 => rng.word() & 0x0020_ffff | 0xd51b_0000,
        1 => insn,
        2 => insn ^ 1 << rng.below(32),
        _ => insn ^ 1 << rng.below(32) ^ 1 << rng.below(32),
    }
}

/// Where FABS and FSQRT of a SIMD scalar half and FRECPX of a vector would be: QEMU 7.2 ends there
/// with a failed assertion.
const EMULATOR_ENDS: [(u32, u32); 3] = [
    (0xffff_fc00, 0x5ef8_f800),
    (0xffff_fc00, 0x7ef9_f800),
    (0xbfff_fc00, 0x0ef9_f800),
];

/// Words that cannot be tried: system calls would be made, loops would not end, the emulator would.
fn untriable(insn: u32) -> bool {
    let system_call = insn & 0xffe0_001f == 0xd400_0001;
    let ends = |(mask, value)| insn & mask == value;
    system_call || branches_into_harness(insn) || EMULATOR_ENDS.into_iter().any(ends)
}

/// Tries a word. A mismatch if only one side refuses it.
///
/// # Errors
/// When a side cannot be run.
pub(crate) fn check(pair: &mut Pair, insn: u32) -> Result<Option<Mismatch>, Error> {
    if untriable(insn) {
        return Ok(None);
    }
    let base = WINDOW.start + 0x200;
    // Registers point into the window, so that most of what is accepted also completes; those
    // that branches may go to do not hurt, as the window cannot be executed.
    let state = State {
        x: [base; 31],
        sp: base,
        ..State::default()
    };
    let batch = Batch {
        name: "encoding".to_owned(),
        words: vec![insn],
        cases: vec![state],
        window: None,
    };
    let (oracle, armlet) = pair.run(&batch)?;
    let refuses = |end: End, pc: u64| end == End::Signal(Signal::Ill) && pc == SLOT;
    let pairs = oracle.cases.iter().zip(&armlet.cases);
    for (oracle, armlet) in pairs {
        let theirs = refuses(oracle.end, oracle.state.pc);
        let ours = refuses(armlet.end, armlet.state.pc);
        let excuses: &[Exception] = if ours { &ARMLET_LACKS } else { &ORACLE_LACKS };
        let excused = excuses.iter().any(|e| insn & e.mask == e.value);
        if theirs != ours && !excused {
            let what = if ours {
                format!("only armlet refuses it (oracle: {})", oracle.end)
            } else {
                format!("only the oracle refuses it (armlet: {})", armlet.end)
            };
            return Ok(Some(Mismatch {
                name: format!("encoding class {:02x}", field(insn, 24, 8)),
                words: batch.words.clone(),
                case: state,
                window: None,
                what: vec![what],
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_exception_asks_for_bits_it_does_not_look_at() {
        for Exception {
            mask,
            value,
            reason,
        } in ARMLET_LACKS.into_iter().chain(ORACLE_LACKS)
        {
            assert_eq!(value & !mask, 0, "{value:08x}: {reason}");
        }
    }
}
