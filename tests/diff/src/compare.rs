//! Are the two sides equal?

use std::ops::Range;

use crate::oracle::{Outcome, Outcomes};
use crate::place::{PAGES, SLOT, WINDOW};
use crate::program::Batch;
use crate::report::Mismatch;
use crate::state::{End, Signal, State};

/// The first case in which the sides differ.
#[must_use]
pub fn first_difference(batch: &Batch, oracle: &Outcomes, armlet: &Outcomes) -> Option<Mismatch> {
    let code = SLOT..SLOT + 4 * batch.words.len() as u64;
    for ((case, oracle), armlet) in batch.cases.iter().zip(&oracle.cases).zip(&armlet.cases) {
        let oracle = landed(oracle, &code);
        let armlet = landed(armlet, &code);
        let what = differences(&oracle, &armlet);
        if !what.is_empty() {
            return Some(mismatch(batch, case, what));
        }
    }
    let at = oracle
        .pages
        .iter()
        .zip(&armlet.pages)
        .position(|(a, b)| a != b)?;
    let at = PAGES.start + at as u64;
    let what = vec![format!("memory at {at:#x}, outside of the window")];
    Some(mismatch(batch, &State::default(), what))
}

fn mismatch(batch: &Batch, case: &State, what: Vec<String>) -> Mismatch {
    Mismatch {
        name: batch.name.clone(),
        words: batch.words.clone(),
        case: *case,
        window: batch.window.clone(),
        what,
    }
}

/// A branch out of the slot ends where nothing can be executed; that is no fault of the program.
fn landed(outcome: &Outcome, code: &Range<u64>) -> Outcome {
    let End::Signal(signal) = outcome.end else {
        return outcome.clone();
    };
    let fetched = matches!(signal, Signal::Trap | Signal::Segv | Signal::Bus);
    Outcome {
        end: if fetched && !code.contains(&outcome.state.pc) {
            End::Done
        } else {
            outcome.end
        },
        ..outcome.clone()
    }
}

fn differences(oracle: &Outcome, armlet: &Outcome) -> Vec<String> {
    if oracle.end != armlet.end {
        return vec![format!(
            "oracle: {} at {:#x}, armlet: {} at {:#x}",
            oracle.end, oracle.state.pc, armlet.end, armlet.state.pc
        )];
    }
    let faulted = oracle.end != End::Done;
    let mut what: Vec<String> = oracle
        .state
        .differences(&armlet.state)
        .into_iter()
        // A load of several vector registers may have written some before it faulted.
        .filter(|(name, _, _)| !(faulted && name.starts_with('V')))
        .map(|(name, a, b)| format!("{name}: oracle {a:#x}, armlet {b:#x}"))
        .collect();
    if faulted {
        // So may a store have written some memory.
        return what;
    }
    let bytes = oracle.window.iter().zip(&armlet.window).enumerate();
    what.extend(bytes.filter(|(_, (a, b))| a != b).map(|(i, (a, b))| {
        let at = WINDOW.start + i as u64;
        format!("[{at:#x}]: oracle {a:#04x}, armlet {b:#04x}")
    }));
    what
}
