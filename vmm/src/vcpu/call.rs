//! Carries out what [`psci::decide`](crate::psci::decide) decided about an HVC or SMC.

use aarch64::psci::Code;
use aarch64::smccc;
use hv_backend::api::{Conduit, HostError, Resume};

use super::run::{Next, Runner};
use crate::outcome::{Event, Outcome};
use crate::power::Power;
use crate::psci::{Decision, decide};

impl Runner<'_> {
    /// Both conduits reach the same functions, so that a guest may use the one it knows.
    pub(super) fn call(&mut self, conduit: Conduit, imm: u16) -> Result<Next, HostError> {
        let regs = self.vcpu.core()?;
        let x = [regs.x[0], regs.x[1], regs.x[2], regs.x[3]];
        // X1 to X3 keep their values, as SMCCC 1.1 asks where a call has one result.
        let answer = |x0| Resume::Call([x0, x[1], x[2], x[3]]);
        let success = answer(Code::Success.x0());
        if imm != 0 {
            tracing::debug!(vcpu = %self.id, %conduit, imm, "a call with an unknown immediate");
            return Ok(Next::Run(answer(smccc::result(smccc::NOT_SUPPORTED))));
        }
        match self.decide(x) {
            Decision::Return(x0) => {
                tracing::trace!(vcpu = %self.id, %conduit, ?x, x0, "call");
                Ok(Next::Run(answer(x0)))
            }
            Decision::Start { target, entry } => {
                tracing::debug!(%target, pc = format_args!("{:#x}", entry.pc), "starts");
                self.context.fleet.rouse(target);
                Ok(Next::Run(success))
            }
            Decision::Suspend => self.wait_for_interrupt(success),
            Decision::TurnOff => {
                tracing::debug!(vcpu = %self.id, "turns off");
                self.settle(success)?;
                self.turn_off()
            }
            Decision::PowerOff => {
                self.settle(success)?;
                Ok(self.end(Event::End(Outcome::PoweredOff)))
            }
            Decision::Reset => {
                self.settle(success)?;
                Ok(self.end(self.reset()))
            }
        }
    }

    /// Decides with the power table held, so that two starts of one vCPU cannot both succeed.
    fn decide(&self, x: [u64; 4]) -> Decision {
        self.context.fleet.power().with(|powers| {
            let decision = decide(x, powers, |gpa| self.context.board.is_memory(gpa));
            if let Decision::Start { target, entry } = decision {
                powers[target.index()] = Power::Pending(entry);
            }
            decision
        })
    }

    /// Turns this vCPU off. Without any vCPU on, nothing can ever start one again.
    fn turn_off(&mut self) -> Result<Next, HostError> {
        self.clear()?;
        self.context.board.reset_cpu_interface(self.id);
        if self.context.fleet.power().turn_off(self.id) {
            let reason = "the guest turned its last CPU off, so nothing can wake it".to_owned();
            let registers = String::new();
            return Ok(self.end(Event::End(Outcome::GuestFailed { reason, registers })));
        }
        Ok(Next::Off)
    }
}
