//! What a debugger asks for, as values of the debug registers (D2.8 to D2.10). Pure.
//!
//! While a debugger is at work the debug registers are its, and all debug exceptions leave the guest;
//! the guest's own values are kept aside, and its own breakpoints do not fire.

use aarch64::cpu_model::{BREAKPOINTS, WATCHPOINTS};
use aarch64::{Saved, pstate};

use crate::api::{DebugControl, HostError, WatchKind};

/// `MDSCR_EL1.SS`: software step.
const STEP: u64 = 1 << 0;
/// `MDSCR_EL1.MDE`: breakpoints and watchpoints.
const MONITOR: u64 = 1 << 15;
/// `DBGBCR.E`, `DBGWCR.E`
const ENABLE: u64 = 1 << 0;
/// `DBGBCR.PMC`, `DBGWCR.PAC`: EL1 and EL0.
const ANY_LEVEL: u64 = 3 << 1;
/// `DBGBCR.BAS`: the whole instruction.
const WHOLE: u64 = 0xf << 5;
/// The largest range that `DBGWCR.MASK` can name, in bits.
const MASK_BITS: u32 = 31;

/// The registers that a debugger takes over.
pub const TAKEN: [Saved; 1 + 2 * (BREAKPOINTS + WATCHPOINTS)] = [
    Saved::MdscrEl1,
    Saved::Dbgbvr0El1,
    Saved::Dbgbcr0El1,
    Saved::Dbgbvr1El1,
    Saved::Dbgbcr1El1,
    Saved::Dbgbvr2El1,
    Saved::Dbgbcr2El1,
    Saved::Dbgbvr3El1,
    Saved::Dbgbcr3El1,
    Saved::Dbgbvr4El1,
    Saved::Dbgbcr4El1,
    Saved::Dbgbvr5El1,
    Saved::Dbgbcr5El1,
    Saved::Dbgwvr0El1,
    Saved::Dbgwcr0El1,
    Saved::Dbgwvr1El1,
    Saved::Dbgwcr1El1,
    Saved::Dbgwvr2El1,
    Saved::Dbgwcr2El1,
    Saved::Dbgwvr3El1,
    Saved::Dbgwcr3El1,
];

/// What a debugger asked for.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Values of [`TAKEN`] after the first: breakpoints, then watchpoints.
    points: [u64; TAKEN.len() - 1],
    breaks: bool,
    /// It wants to hear of each instruction.
    pub steps: bool,
    /// It wants to hear of `BRK`.
    pub takes_brk: bool,
}

impl Plan {
    /// The plan for what was asked. `None` if that is nothing.
    ///
    /// # Errors
    /// When there are not registers enough.
    pub fn new(control: &DebugControl) -> Result<Option<Self>, HostError> {
        let DebugControl {
            single_step,
            breakpoints,
            watchpoints,
            trap_brk,
        } = control;
        if *control == DebugControl::default() {
            return Ok(None);
        }
        let mut points = [0; TAKEN.len() - 1];
        let (for_breaks, for_watches) = points.split_at_mut(2 * BREAKPOINTS);
        if breakpoints.len() > BREAKPOINTS {
            let line = format!("the processor has {BREAKPOINTS} breakpoints and no more");
            return Err(HostError::Limit(line));
        }
        for (pair, va) in for_breaks.chunks_exact_mut(2).zip(breakpoints) {
            pair.copy_from_slice(&[va & !3, ENABLE | ANY_LEVEL | WHOLE]);
        }
        let watches: Vec<_> = watchpoints
            .iter()
            .flat_map(|&(va, bytes, kind)| watch(va, bytes, kind))
            .collect();
        if watches.len() > WATCHPOINTS {
            let line = format!(
                "the processor has {WATCHPOINTS} watchpoints, and what is to be watched needs {}",
                watches.len()
            );
            return Err(HostError::Limit(line));
        }
        for (pair, values) in for_watches.chunks_exact_mut(2).zip(&watches) {
            pair.copy_from_slice(values);
        }
        Ok(Some(Self {
            points,
            breaks: !breakpoints.is_empty() || !watches.is_empty(),
            steps: *single_step,
            takes_brk: *trap_brk,
        }))
    }

    /// The registers and their values. While a debugger passes by what it was told of, the processor
    /// steps and its breakpoints are off.
    pub fn registers(&self, passing: bool) -> impl Iterator<Item = (Saved, u64)> {
        let monitor = if self.breaks && !passing { MONITOR } else { 0 };
        let step = if self.steps || passing { STEP } else { 0 };
        let values = std::iter::once(monitor | step).chain(self.points);
        TAKEN.into_iter().zip(values)
    }

    /// PSTATE to enter the guest with.
    #[must_use]
    pub fn pstate(&self, pstate: u64, passing: bool) -> u64 {
        if self.steps || passing {
            pstate | pstate::SS
        } else {
            pstate & !pstate::SS
        }
    }
}

/// Values and controls of the watchpoints that cover a range: pieces of an aligned doubleword, by its
/// bytes, or powers of two, by their size.
fn watch(va: u64, bytes: u64, kind: WatchKind) -> Vec<[u64; 2]> {
    let kind = match kind {
        WatchKind::Read => 1 << 3,
        WatchKind::Write => 2 << 3,
        WatchKind::Access => 3 << 3,
    };
    let control = ENABLE | ANY_LEVEL | kind;
    let mut pieces = Vec::new();
    let (mut at, mut left) = (va, bytes);
    // One more piece than there are registers is too many already.
    while left > 0 && pieces.len() <= WATCHPOINTS {
        let aligned = at.trailing_zeros().min(MASK_BITS);
        let size = left.ilog2().min(aligned);
        let piece = if size >= 3 {
            pieces.push([at, control | u64::from(size) << 24 | 0xff << 5]);
            1 << size
        } else {
            let first = at & 7;
            let piece = left.min(8 - first);
            let selected = ((1 << piece) - 1) << first;
            pieces.push([at & !7, control | selected << 5]);
            piece
        };
        at = at.wrapping_add(piece);
        left -= piece;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(control: DebugControl) -> Plan {
        Plan::new(&control).unwrap().unwrap()
    }

    fn value(plan: &Plan, passing: bool, reg: Saved) -> u64 {
        let mut registers = plan.registers(passing);
        registers.find(|(r, _)| *r == reg).unwrap().1
    }

    #[test]
    fn nothing_asked_needs_no_plan() {
        assert_eq!(Plan::new(&DebugControl::default()).unwrap(), None);
    }

    #[test]
    fn breakpoints_are_off_while_one_is_passed() {
        let plan = plan(DebugControl {
            breakpoints: vec![0x1000, 0xffff_0000_0000_2004],
            ..DebugControl::default()
        });
        assert_eq!(
            value(&plan, false, Saved::Dbgbvr1El1),
            0xffff_0000_0000_2004
        );
        assert_eq!(value(&plan, false, Saved::Dbgbcr1El1), 0x1e7);
        assert_eq!(value(&plan, false, Saved::Dbgbcr2El1), 0);
        assert_eq!(value(&plan, false, Saved::MdscrEl1), MONITOR);
        assert_eq!(value(&plan, true, Saved::MdscrEl1), STEP);
        assert_eq!(plan.pstate(pstate::EL1H, false), pstate::EL1H);
        assert_eq!(plan.pstate(pstate::EL1H, true), pstate::EL1H | pstate::SS);
    }

    #[test]
    fn steps_need_no_breakpoints() {
        let plan = plan(DebugControl {
            single_step: true,
            ..DebugControl::default()
        });
        assert_eq!(value(&plan, false, Saved::MdscrEl1), STEP);
    }

    #[test]
    fn ranges_are_cut_to_what_a_watchpoint_can_cover() {
        let bytes = |va, bytes| watch(va, bytes, WatchKind::Write);
        let write = ENABLE | ANY_LEVEL | 2 << 3;
        assert_eq!(bytes(0x1002, 2), [[0x1000, write | 0b1100 << 5]]);
        assert_eq!(bytes(0x1000, 8), [[0x1000, write | 3 << 24 | 0xff << 5]]);
        assert_eq!(
            bytes(0x1000, 0x1000),
            [[0x1000, write | 12 << 24 | 0xff << 5]]
        );
        // 6 to 8, 8 to 16, 16 to 17.
        let three = bytes(6, 11);
        assert_eq!(three[0], [0, write | 0b1100_0000 << 5]);
        assert_eq!(three[1], [8, write | 3 << 24 | 0xff << 5]);
        assert_eq!(three[2], [16, write | 1 << 5]);
        assert_eq!(bytes(0, 0), [] as [[u64; 2]; 0]);
        let read = watch(8, 8, WatchKind::Read)[0][1];
        assert_eq!(read >> 3 & 3, 1);
    }

    #[test]
    fn more_than_the_processor_has_is_refused() {
        let control = DebugControl {
            breakpoints: vec![0; BREAKPOINTS + 1],
            ..DebugControl::default()
        };
        assert!(Plan::new(&control).is_err());
        let control = DebugControl {
            watchpoints: vec![(1, u64::MAX, WatchKind::Read)],
            ..DebugControl::default()
        };
        let refused = Plan::new(&control).unwrap_err().to_string();
        assert!(refused.contains("4 watchpoints"), "{refused}");
    }
}
