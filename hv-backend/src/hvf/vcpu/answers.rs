//! The VMM's answers to exits, and exceptions that the guest takes because of them.

use aarch64::exception::{Taken, Vector, take};
use aarch64::pstate;
use aarch64::syndrome::{Ec, esr};
use aarch64::{Saved, trap::Access};

use super::traps::{EXTERNAL, Left, WRITE};
use super::{Asked, HvfVcpu};
use crate::api::{HostError, Resume};

impl HvfVcpu {
    /// Does what the answer to the last exit says. An exit when that is not all.
    pub(super) fn answer(&mut self, resume: Resume) -> Result<Left, HostError> {
        let asked = std::mem::replace(&mut self.asked, Asked::Nothing);
        match (asked, resume) {
            (Asked::Nothing, Resume::Done) => Ok(None),
            (Asked::Load { access, .. }, Resume::Data(value)) => {
                let Access { register, .. } = access;
                self.set_x(register, access.loaded(value))?;
                self.retire()
            }
            (Asked::SysRegRead(register), Resume::Data(value)) => {
                self.set_x(register, value)?;
                self.retire()
            }
            (Asked::Store { .. } | Asked::SysRegWrite | Asked::Wait, Resume::Done) => self.retire(),
            (Asked::Call, Resume::Call(values)) => {
                for (value, n) in values.into_iter().zip(0..) {
                    self.set_x(n, value)?;
                }
                self.retire()
            }
            (Asked::Load { va, .. }, Resume::ExternalAbort) => self.abort(EXTERNAL, va),
            (Asked::Store { va }, Resume::ExternalAbort) => self.abort(EXTERNAL | WRITE, va),
            (Asked::SysRegRead(_) | Asked::SysRegWrite | Asked::Call, Resume::Undefined) => {
                self.inject_undefined()?;
                Ok(self.instruction_done())
            }
            (Asked::Executor, resume) => {
                let Some(mut executor) = self.executor.take() else {
                    return Err(HostError::BadState("no instruction is under way".into()));
                };
                let outcome = executor.go_on(self, resume);
                self.executor = Some(executor);
                self.executed(outcome?)
            }
            (asked, resume) => {
                let line = format!("{resume:?} is no answer to {asked:?}");
                Err(HostError::BadState(line))
            }
        }
    }

    /// Counts the instruction at the PC as done.
    pub(super) fn retire(&mut self) -> Result<Left, HostError> {
        let pc = self.pc()?.wrapping_add(4);
        self.set_pc(pc)?;
        // What the processor clears as it completes an instruction: a guest that steps itself takes
        // its exception next.
        let pstate = self.pstate()?;
        let done = pstate & !(pstate::SS | pstate::BTYPE);
        if pstate != done {
            self.set_pstate(done)?;
        }
        Ok(self.instruction_done())
    }

    fn abort(&mut self, iss: u32, va: u64) -> Result<Left, HostError> {
        self.inject_data_abort(iss, va)?;
        Ok(self.instruction_done())
    }

    /// The guest takes a data abort.
    pub(super) fn inject_data_abort(&mut self, iss: u32, va: u64) -> Result<(), HostError> {
        self.inject(Ec::DataAbortLower, Ec::DataAbortSame, iss, Some(va))
    }

    /// The instruction at the PC is undefined for the guest.
    pub(super) fn inject_undefined(&mut self) -> Result<(), HostError> {
        self.inject(Ec::Unknown, Ec::Unknown, 0, None)
    }

    /// The guest takes a synchronous exception at the instruction at the PC, of the class `lower`
    /// from EL0 and `same` from EL1. The framework has no call for that.
    pub(super) fn inject(
        &mut self,
        lower: Ec,
        same: Ec,
        iss: u32,
        far: Option<u64>,
    ) -> Result<(), HostError> {
        let pstate = self.pstate()?;
        let (vbar, sctlr) = (self.saved(Saved::VbarEl1)?, self.saved(Saved::SctlrEl1)?);
        let Taken {
            pc,
            pstate: new,
            elr,
            spsr,
        } = take(Vector::Synchronous, self.pc()?, pstate, vbar, sctlr);
        let class = if pstate >> 2 & 3 == 0 { lower } else { same };
        self.set_saved(Saved::EsrEl1, esr(class, iss))?;
        if let Some(far) = far {
            self.set_saved(Saved::FarEl1, far)?;
        }
        self.set_saved(Saved::ElrEl1, elr)?;
        self.set_saved(Saved::SpsrEl1, spsr)?;
        self.set_pc(pc)?;
        self.set_pstate(new)
    }
}
