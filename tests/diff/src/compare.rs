//! Are the two sides equal?

use crate::oracle::{Outcome, Outcomes};
use crate::place::{PAGES, SLOT, WINDOW};
use crate::program::Batch;
use crate::report::Mismatch;
use crate::state::{End, Signal, State};

/// The first case in which the sides differ.
#[must_use]
pub fn first_difference(batch: &Batch, oracle: &Outcomes, armlet: &Outcomes) -> Option<Mismatch> {
    for ((case, oracle), armlet) in batch.cases.iter().zip(&oracle.cases).zip(&armlet.cases) {
        let ends = [oracle, armlet].map(|outcome| end(batch, outcome));
        let what = differences(ends, oracle, armlet);
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

/// How a case ended. A branch out of the slot ends where nothing can be executed; that is no fault
/// of the program.
#[must_use]
pub fn end(batch: &Batch, outcome: &Outcome) -> End {
    let code = SLOT..SLOT + 4 * batch.words.len() as u64;
    match outcome.end {
        End::Signal(Signal::Trap | Signal::Segv | Signal::Bus)
            if !code.contains(&outcome.state.pc) =>
        {
            End::Done
        }
        end @ (End::Done | End::Signal(_)) => end,
    }
}

fn differences(ends: [End; 2], oracle: &Outcome, armlet: &Outcome) -> Vec<String> {
    if ends[0] != ends[1] {
        return vec![format!(
            "oracle: {} at {:#x}, armlet: {} at {:#x}",
            oracle.end, oracle.state.pc, armlet.end, armlet.state.pc
        )];
    }
    let faulted = ends[0] != End::Done;
    if oracle.state == armlet.state && (faulted || oracle.window == armlet.window) {
        return Vec::new();
    }
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
