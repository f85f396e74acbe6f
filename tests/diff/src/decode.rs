//! Do both sides refuse the same encodings?
//!
//! Random words, rows with random operands, and rows with a fixed bit flipped. Either side runs
//! each word once; an undefined instruction on one side must be one on the other, or the encoding
//! belongs to a class in [`EXCEPTIONS`].

use softcpu::interp::table;

use crate::Error;
use crate::address::field;
use crate::place::{SLOT, WINDOW};
use crate::program::{Batch, branches_into_harness};
use crate::report::Mismatch;
use crate::rng::Rng;
use crate::run::Pair;
use crate::state::{End, Signal, State};

/// Encodings on which the sides may disagree.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// Which bits tell.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// What they are, and why it is no mistake of armlet's.
    pub reason: &'static str,
}

/// The list. The first half of a reason names the feature or the instructions.
pub const EXCEPTIONS: [Exception; 0] = [];

/// The exception that an encoding belongs to.
fn exception(insn: u32) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|e| insn & e.mask == e.value)
}

/// A word to try.
pub fn candidate(rng: &mut Rng) -> u32 {
    let rows = table().rows();
    let row = &rows[rng.below(rows.len() as u64) as usize];
    let insn = rng.word() & !row.mask | row.value;
    match rng.below(4) {
        0 => rng.word(),
        1 => insn,
        2 => insn ^ 1 << rng.below(32),
        _ => insn ^ 1 << rng.below(32) ^ 1 << rng.below(32),
    }
}

/// Words that cannot be tried: system calls would be made, loops would not end.
fn untriable(insn: u32) -> bool {
    insn & 0xffe0_001f == 0xd400_0001 || branches_into_harness(insn)
}

/// Tries a word. A mismatch if only one side refuses it.
///
/// # Errors
/// When a side cannot be run.
pub(crate) fn check(pair: &mut Pair, insn: u32) -> Result<Option<Mismatch>, Error> {
    if untriable(insn) || exception(insn).is_some() {
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
        let ours = refuses(armlet.end, armlet.state.pc) || table().decode(insn).is_none();
        if theirs != ours {
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
