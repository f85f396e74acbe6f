//! A debugger at work on a vCPU.
//!
//! The processor stops before an instruction that a breakpoint or watchpoint is for, and would stop
//! there again for ever. So the instruction that the debugger was told of is passed by a step with the
//! breakpoints off.

use aarch64::Saved;
use aarch64::syndrome::Ec;

use super::traps::Left;
use super::{Asked, HvfVcpu};
use crate::api::{DebugControl, DebugStop, Exit, HostError};
use crate::hvf::debug::{Plan, TAKEN};

/// What a debugger does.
#[derive(Debug)]
pub(super) struct Debugging {
    plan: Plan,
    /// The instruction that it was told of.
    told: Option<u64>,
    /// The debug registers are set for passing by that instruction; `None` if they are not set yet.
    passing: Option<bool>,
}

impl HvfVcpu {
    /// See [`Vcpu::set_debug`](crate::api::Vcpu::set_debug).
    pub(super) fn debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        let plan = Plan::new(control)?;
        if self.debugging.is_none() && plan.is_some() {
            for reg in TAKEN {
                self.here[reg] = self.saved(reg)?;
            }
        }
        let was_debugging = self.debugging.is_some();
        self.raw.set_debug_exceptions_trap(plan.is_some())?;
        self.raw.set_debug_registers_trap(plan.is_some())?;
        let pstate = self.pstate()?;
        self.debugging = plan.map(|plan| Debugging {
            plan,
            told: None,
            passing: None,
        });
        if was_debugging && self.debugging.is_none() {
            for reg in TAKEN {
                self.set_saved(reg, self.here[reg])?;
            }
            self.set_pstate(pstate)?;
        }
        Ok(())
    }

    /// Sets the debug registers for the next entry.
    pub(super) fn prepare_debugging(&mut self) -> Result<(), HostError> {
        let Some(mut debugging) = self.debugging.take() else {
            return Ok(());
        };
        let result = self.set_debug_registers(&mut debugging);
        self.debugging = Some(debugging);
        result
    }

    fn set_debug_registers(&mut self, debugging: &mut Debugging) -> Result<(), HostError> {
        let Debugging {
            plan,
            told,
            passing,
        } = debugging;
        let now = *told == Some(self.pc()?);
        if *passing != Some(now) {
            for (reg, value) in plan.registers(now) {
                self.raw.set_sysreg(reg.sysreg(), value)?;
            }
            *passing = Some(now);
        }
        let pstate = plan.pstate(self.pstate()?, now);
        self.set_pstate(pstate)
    }

    /// Tells the debugger of the instruction at the PC.
    pub(super) fn debug_stop(&mut self, stop: DebugStop) -> Result<Left, HostError> {
        let pc = self.pc()?;
        let Some(debugging) = &mut self.debugging else {
            // It was set up so a moment ago.
            return Ok(None);
        };
        debugging.told = Some(pc);
        Ok(Some((Asked::Nothing, Exit::Debug(stop))))
    }

    /// The processor made a step.
    pub(super) fn stepped(&mut self) -> Left {
        self.instruction_done()
    }

    /// An instruction was run, or took an exception: the debugger may wait for that.
    pub(super) fn instruction_done(&mut self) -> Left {
        let debugging = self.debugging.as_mut()?;
        debugging.told = None;
        let stop = (Asked::Nothing, Exit::Debug(DebugStop::Step));
        debugging.plan.steps.then_some(stop)
    }

    /// A `BRK` left the guest: it is the debugger's or the guest's own.
    pub(super) fn brk(&mut self, imm: u16) -> Result<Left, HostError> {
        if self.debugging.as_ref().is_some_and(|d| d.plan.takes_brk) {
            let stop = Exit::Debug(DebugStop::Brk(imm));
            return Ok(Some((Asked::Nothing, stop)));
        }
        self.inject(Ec::Brk64, Ec::Brk64, imm.into(), None)?;
        Ok(self.instruction_done())
    }
}

// Every register that is taken over is one that there is a place for.
const _: () = assert!(TAKEN.len() < Saved::COUNT);
