//! Debugging a guest by the processor's own means, for accelerators that run guests on it: the
//! debug registers ([`registers`]), and what a debugger is told and when ([`Session`]). Pure: it
//! calls no host.
//!
//! A debugger sees what it sees with the `soft` backend: a stop *before* the instruction that a
//! breakpoint or watchpoint is at, and when the vCPU runs on, that instruction runs. The processor
//! would stop again, so the session makes the backend step over it, with breakpoints and
//! watchpoints off, before it arms them again.
//!
//! While a debugger is there, every debug exception comes to it, the guest's own too. Those that it
//! did not ask for are the guest's, and the backend takes them in its name ([`Verdict::Guests`]).

pub mod registers;

use aarch64::syndrome::{Ec, esr};

use crate::api::{DebugControl, DebugStop, HostError};
use registers::{Registers, Slots};

/// ISS bits that a BRK puts its immediate in.
const BRK_IMMEDIATE: u32 = 0xffff;

/// What a debugger has set on one vCPU, and what it was told.
#[derive(Clone, Debug, Default)]
pub struct Session {
    control: DebugControl,
    registers: Registers,
    /// The debugger was told about the instruction at this address, which then runs.
    told: Option<u64>,
    /// The vCPU steps over that instruction.
    stepping_over: bool,
}

/// How a vCPU is to be run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Stop after an instruction.
    pub step: bool,
    /// Breakpoints and watchpoints are on.
    pub armed: bool,
    /// `BRK` stops.
    pub brk: bool,
}

/// Whose a debug exception is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The debugger's.
    Stop(DebugStop),
    /// Nobody's: the vCPU runs on.
    Silent,
    /// The guest's, to be taken at EL1 with this syndrome.
    Guests {
        /// `ESR_EL1`
        esr: u64,
        /// `FAR_EL1`, for a watchpoint.
        far: Option<u64>,
    },
}

/// A debug exception as the host's hypervisor gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The syndrome.
    pub esr: u64,
    /// The address accessed, of a watchpoint.
    pub far: u64,
    /// The vCPU's PC.
    pub pc: u64,
    /// The vCPU is at EL0.
    pub user: bool,
}

impl Session {
    /// Replaces what the debugger has set, on a processor with so many registers.
    ///
    /// # Errors
    /// When it has too few.
    pub fn set(&mut self, control: &DebugControl, slots: Slots) -> Result<(), HostError> {
        *self = Self {
            registers: registers::encode(control, slots)?,
            control: control.clone(),
            told: None,
            stepping_over: false,
        };
        Ok(())
    }

    /// The debug registers while the vCPU is armed.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// Whether [`Session::mode`] depends on the PC.
    #[must_use]
    pub fn needs_pc(&self) -> bool {
        self.told.is_some()
    }

    /// How to run the vCPU from `pc`, which only counts if [`Session::needs_pc`].
    pub fn mode(&mut self, pc: u64) -> Mode {
        if !self.stepping_over {
            self.stepping_over = self.told == Some(pc);
            self.told = None;
        }
        Mode {
            step: self.control.single_step || self.stepping_over,
            armed: !self.stepping_over && !self.registers.is_empty(),
            brk: self.control.trap_brk,
        }
    }

    /// An instruction was completed by other means than running it.
    pub fn completed(&mut self) -> Option<DebugStop> {
        self.told = None;
        self.stepping_over = false;
        self.control.single_step.then_some(DebugStop::Step)
    }

    /// What a debug exception means.
    pub fn trapped(&mut self, trap: Trap) -> Verdict {
        let Trap { esr, far, pc, user } = trap;
        let class = (esr >> 26) as u8 & 0x3f;
        let iss = esr as u32 & 0x1ff_ffff;
        let is = |ec: Ec| class == ec as u8;
        let guests = |lower: Ec, same: Ec, far| Verdict::Guests {
            esr: aarch64::syndrome::esr(if user { lower } else { same }, iss),
            far,
        };
        if is(Ec::StepLower) {
            self.completed().map_or(Verdict::Silent, Verdict::Stop)
        } else if is(Ec::BreakpointLower) {
            if !self.control.breakpoints.contains(&pc) {
                return guests(Ec::BreakpointLower, Ec::BreakpointSame, None);
            }
            self.tell(pc, DebugStop::Breakpoint)
        } else if is(Ec::WatchpointLower) {
            if self.control.watchpoints.is_empty() {
                return guests(Ec::WatchpointLower, Ec::WatchpointSame, Some(far));
            }
            self.tell(pc, DebugStop::Watchpoint(far))
        } else if is(Ec::Brk64) && self.control.trap_brk {
            Verdict::Stop(DebugStop::Brk((iss & BRK_IMMEDIATE) as u16))
        } else if is(Ec::Brk64) {
            let esr = self::esr(Ec::Brk64, iss);
            Verdict::Guests { esr, far: None }
        } else {
            // Vector catch and the like, that AArch64 guests cannot cause.
            Verdict::Silent
        }
    }

    fn tell(&mut self, pc: u64, stop: DebugStop) -> Verdict {
        self.told = Some(pc);
        self.stepping_over = false;
        Verdict::Stop(stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WatchKind;

    const SLOTS: Slots = Slots {
        breakpoints: 6,
        watchpoints: 4,
    };
    const HERE: u64 = 0xffff_8000_1234_5678;

    fn session(single_step: bool, trap_brk: bool) -> Session {
        let mut session = Session::default();
        let control = DebugControl {
            single_step,
            breakpoints: vec![HERE],
            watchpoints: vec![(0x1000, 8, WatchKind::Write)],
            trap_brk,
        };
        session.set(&control, SLOTS).unwrap();
        session
    }

    fn trap(ec: Ec, pc: u64) -> Trap {
        Trap {
            esr: esr(ec, 0x22),
            far: 0x1004,
            pc,
            user: false,
        }
    }

    const ARMED: Mode = Mode {
        step: false,
        armed: true,
        brk: false,
    };
    const OVER: Mode = Mode {
        step: true,
        armed: false,
        brk: false,
    };

    #[test]
    fn a_breakpoint_is_told_once_and_stepped_over() {
        let mut s = session(false, false);
        assert_eq!(s.mode(HERE), ARMED);
        let told = Verdict::Stop(DebugStop::Breakpoint);
        assert_eq!(s.trapped(trap(Ec::BreakpointLower, HERE)), told);
        assert!(s.needs_pc());
        assert_eq!(s.mode(HERE), OVER);
        assert_eq!(s.mode(HERE), OVER, "a kick came in between");
        assert_eq!(s.trapped(trap(Ec::StepLower, HERE + 4)), Verdict::Silent);
        assert_eq!(s.mode(HERE), ARMED, "the next time it is told again");
        assert_eq!(s.trapped(trap(Ec::BreakpointLower, HERE)), told);
    }

    #[test]
    fn a_debugger_that_moves_the_pc_is_told_anew() {
        let mut s = session(false, false);
        s.trapped(trap(Ec::WatchpointLower, HERE));
        assert_eq!(s.mode(HERE + 8), ARMED);
        assert_eq!(s.mode(HERE), ARMED);
    }

    #[test]
    fn steps_are_told_to_those_who_asked() {
        let mut s = session(true, false);
        let stop = Verdict::Stop(DebugStop::Step);
        assert_eq!(s.trapped(trap(Ec::StepLower, 0)), stop);
        assert_eq!(s.completed(), Some(DebugStop::Step));
        let told = Verdict::Stop(DebugStop::Watchpoint(0x1004));
        assert_eq!(s.trapped(trap(Ec::WatchpointLower, 0)), told);
        assert_eq!(s.mode(0), OVER);
        assert_eq!(s.trapped(trap(Ec::StepLower, 4)), stop);
    }

    #[test]
    fn what_nobody_asked_for_is_the_guests() {
        let mut s = session(true, false);
        let guests = |ec, iss| Verdict::Guests {
            esr: esr(ec, iss),
            far: None,
        };
        let brk = Trap {
            esr: esr(Ec::Brk64, 0xf000),
            ..trap(Ec::Brk64, 0)
        };
        assert_eq!(s.trapped(brk), guests(Ec::Brk64, 0xf000));
        let elsewhere = trap(Ec::BreakpointLower, 0x40);
        assert_eq!(s.trapped(elsewhere), guests(Ec::BreakpointSame, 0x22));
        let mut s = session(false, true);
        let told = Verdict::Stop(DebugStop::Brk(0xf000));
        assert_eq!(s.trapped(brk), told);
        s.set(&DebugControl::default(), SLOTS).unwrap();
        let user = Trap {
            user: true,
            ..trap(Ec::WatchpointLower, 0)
        };
        let far = Some(0x1004);
        let esr = esr(Ec::WatchpointLower, 0x22);
        assert_eq!(s.trapped(user), Verdict::Guests { esr, far });
    }
}
