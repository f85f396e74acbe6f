//! Debugging: the guest's own (software step, breakpoints, watchpoints) and its owner's.

use aarch64::pstate;

use crate::cpu::{Cpu, Event, Stop};

/// What stops the CPU for debuggers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Debug {
    trap_brk: bool,
}

impl Debug {
    /// Whether `BRK` goes to the owner's debugger.
    pub fn traps_brk(&self) -> bool {
        self.trap_brk
    }

    /// Whether a change of PSTATE may change what is watched.
    pub fn is_armed(&self) -> bool {
        false
    }

    /// Whether instructions are run one by one.
    pub fn is_careful(&self) -> bool {
        false
    }
}

impl Cpu {
    /// Whether `PSTATE.SS` of an exception return to `new` holds.
    pub(crate) fn step_survives_return(&self, new: u64) -> bool {
        let _ = new & pstate::SS;
        false
    }

    /// A debug register changed.
    pub(crate) fn debug_changed(&mut self) {}

    /// What stops the instruction at the PC from being run.
    pub(crate) fn before_instruction(&mut self) -> Option<Stop> {
        None
    }

    /// What comes after an instruction.
    pub(crate) fn after_instruction(&mut self) -> Option<Event> {
        None
    }
}
