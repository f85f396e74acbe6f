//! The run loop of a vCPU.
//!
//! [`Next`] is the state machine:
//!
//! | state   | the thread                                        | leaves it when |
//! |---------|---------------------------------------------------|----------------|
//! | `Run`   | enters the guest with an answer, handles the exit | the exit says so |
//! | `Off`   | parks                                             | `CPU_ON`, a reset, the end |
//! | `Ended` | waits at the gate                                 | a reset, the end |
//!
//! Before each step it heeds its post: passes the gate if that is shut, starts over in a new
//! epoch, and hands changed interrupt inputs to the vCPU. A vCPU stops at the gate with its last
//! exit settled, so that its registers are whole. There it may be visited ([`Errand`]), which is how
//! other threads read and set registers.
//!
//! [`Errand`]: super::Errand

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Gpa, Saved, Size, SysReg, VcpuId};
use hv_backend::api::{Exit, GuestFault, HostError, IrqLine, Resume, SystemEvent, Vcpu};

use super::timers::Timers;
use super::{Context, Post, report};
use crate::gate::{Epoch, Passage};
use crate::outcome::{Event, Outcome};
use crate::power::{Entry, Power};

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It enters the guest, with the answer to the last exit.
    Run(Resume),
    /// The vCPU is off.
    Off,
    /// The vCPU ended the machine's run, and executes nothing more of it.
    Ended,
}

/// A bound vCPU on its thread.
pub(super) struct Runner<'a> {
    pub(super) context: &'a Context,
    pub(super) id: VcpuId,
    pub(super) vcpu: Box<dyn Vcpu>,
    timers: Timers,
    epoch: Epoch,
    /// Interrupt inputs as the vCPU has them: IRQ, FIQ.
    driven: [bool; 2],
}

impl<'a> Runner<'a> {
    pub(super) fn new(context: &'a Context, id: VcpuId, vcpu: Box<dyn Vcpu>) -> Self {
        let (timers, epoch) = (Timers::default(), Epoch::default());
        Self {
            context,
            id,
            vcpu,
            timers,
            epoch,
            driven: [false; 2],
        }
    }

    /// Runs the vCPU until the gate sends its thread away.
    pub(super) fn run(mut self) -> Result<(), HostError> {
        let mut next = Next::Off;
        loop {
            let post = self.post();
            post.heed();
            next = if self.context.fleet.gate().is_shut() || next == Next::Ended {
                match self.stop_at_gate(next)? {
                    Some(next) => next,
                    None => {
                        self.log_work();
                        return Ok(());
                    }
                }
            } else {
                self.step(next)?
            };
        }
    }

    /// Says how much the guest did, for those who measure.
    fn log_work(&self) {
        if let Some(instructions) = self.vcpu.instructions() {
            tracing::info!(vcpu = %self.id, instructions, "done");
        }
    }

    fn step(&mut self, next: Next) -> Result<Next, HostError> {
        match next {
            Next::Run(resume) => self.enter(resume),
            Next::Off => match self.context.fleet.power().take_start(self.id) {
                Some(entry) => self.start(entry),
                None => {
                    self.post().park(None);
                    Ok(Next::Off)
                }
            },
            Next::Ended => Ok(Next::Ended),
        }
    }

    /// Waits at the gate, and does errands meanwhile; `None` when the thread is to end.
    fn stop_at_gate(&mut self, next: Next) -> Result<Option<Next>, HostError> {
        let mut next = match next {
            Next::Run(resume) => {
                self.settle(resume)?;
                Next::Run(Resume::Done)
            }
            Next::Off | Next::Ended => next,
        };
        let (gate, post) = (self.context.fleet.gate(), self.post());
        let mut visited = false;
        loop {
            let passage = match next {
                Next::Run(_) | Next::Off => gate.pass(|| post.has_errand()),
                Next::Ended => gate.hold(self.epoch, || post.has_errand()),
            };
            let (Passage::Go(epoch) | Passage::Errand(epoch)) = passage else {
                return Ok(None);
            };
            if epoch != self.epoch {
                self.epoch = epoch;
                self.clear()?;
                next = Next::Off;
            }
            if let Passage::Go(_) = passage {
                if visited {
                    self.timers.forget();
                    self.update_timers()?;
                }
                return Ok(Some(next));
            }
            if let Some(errand) = post.take_errand() {
                errand.run(&mut *self.vcpu);
                visited = true;
                next = self.after_errand(next);
            }
        }
    }

    /// What the thread does next, now that a visitor may have turned the vCPU on or off.
    fn after_errand(&self, next: Next) -> Next {
        match (next, self.context.fleet.power().of(self.id)) {
            (Next::Ended, _) => Next::Ended,
            (Next::Run(_) | Next::Off, Power::On) => Next::Run(Resume::Done),
            (Next::Run(_) | Next::Off, Power::Off | Power::Pending(_)) => Next::Off,
        }
    }

    /// Completes the instruction of the last exit, with all the device accesses that it makes.
    pub(super) fn settle(&mut self, resume: Resume) -> Result<(), HostError> {
        let mut answer = resume;
        while let Some(exit) = self.vcpu.settle(answer)? {
            answer = match exit {
                Exit::MmioRead { gpa, size } => self.mmio_read(gpa, size),
                Exit::MmioWrite { gpa, size, data } => self.mmio_write(gpa, size, data),
                Exit::SysRegRead { reg } => self.sysreg_read(reg),
                Exit::SysRegWrite { reg, data } => self.sysreg_write(reg, data),
                // Nothing that its instruction waits for: it comes again with the next run.
                Exit::Call { .. }
                | Exit::Wfi
                | Exit::Timer
                | Exit::Debug(_)
                | Exit::System(_)
                | Exit::Kicked
                | Exit::QuantumEnd
                | Exit::Fault(_) => return Ok(()),
            };
        }
        Ok(())
    }

    /// Enters the guest and handles the exit.
    fn enter(&mut self, resume: Resume) -> Result<Next, HostError> {
        self.drive_lines()?;
        let post = self.context.fleet.post(self.id);
        let entered = post.entering_guest();
        let exit = if entered {
            self.vcpu.run(resume)
        } else {
            Ok(Exit::Kicked)
        };
        post.left_guest();
        let exit = exit?;
        if !entered {
            return Ok(Next::Run(resume));
        }
        tracing::trace!(vcpu = %self.id, ?exit, "exit");
        self.handle(exit)
    }

    fn handle(&mut self, exit: Exit) -> Result<Next, HostError> {
        match exit {
            Exit::MmioRead { gpa, size } => Ok(Next::Run(self.mmio_read(gpa, size))),
            Exit::MmioWrite { gpa, size, data } => Ok(Next::Run(self.mmio_write(gpa, size, data))),
            Exit::SysRegRead { reg } => Ok(Next::Run(self.sysreg_read(reg))),
            Exit::SysRegWrite { reg, data } => Ok(Next::Run(self.sysreg_write(reg, data))),
            Exit::Call { conduit, imm } => self.call(conduit, imm),
            Exit::Wfi => self.wait_for_interrupt(Resume::Done),
            Exit::Timer => self.timer(),
            Exit::Debug(stop) => Err(HostError::BadState(format!(
                "nobody debugs, but got {stop:?}"
            ))),
            Exit::System(event) => Ok(self.system_event(event)),
            Exit::Kicked | Exit::QuantumEnd => Ok(Next::Run(Resume::Done)),
            Exit::Fault(fault) => Ok(self.fault(fault)),
        }
    }

    fn mmio_read(&self, gpa: Gpa, size: Size) -> Resume {
        self.context.board.mmio_read(gpa, size).map_or_else(
            || {
                tracing::debug!(vcpu = %self.id, %gpa, ?size, "read from nothing");
                Resume::ExternalAbort
            },
            Resume::Data,
        )
    }

    fn mmio_write(&self, gpa: Gpa, size: Size, data: u64) -> Resume {
        match self.context.board.mmio_write(gpa, size, data) {
            Some(()) => Resume::Done,
            None => {
                tracing::debug!(vcpu = %self.id, %gpa, ?size, data, "write to nothing");
                Resume::ExternalAbort
            }
        }
    }

    fn sysreg_read(&self, reg: SysReg) -> Resume {
        self.context.board.sysreg_read(self.id, reg).map_or_else(
            || {
                tracing::debug!(vcpu = %self.id, %reg, "read of an unknown register");
                Resume::Undefined
            },
            Resume::Data,
        )
    }

    fn sysreg_write(&self, reg: SysReg, data: u64) -> Resume {
        match self.context.board.sysreg_write(self.id, reg, data) {
            Some(()) => Resume::Done,
            None => {
                tracing::debug!(vcpu = %self.id, %reg, data, "write to an unknown register");
                Resume::Undefined
            }
        }
    }

    fn timer(&mut self) -> Result<Next, HostError> {
        self.update_timers()?;
        Ok(Next::Run(Resume::Done))
    }

    /// Parks until an interrupt input is high, then runs on with `resume`. Somebody who closes the
    /// gate ends the wait early, which the architecture allows: the guest will wait again.
    pub(super) fn wait_for_interrupt(&mut self, resume: Resume) -> Result<Next, HostError> {
        loop {
            self.post().heed();
            let deadline = self.update_timers()?;
            if self.post().lines().any() || self.context.fleet.gate().is_shut() {
                return Ok(Next::Run(resume));
            }
            self.post().park(deadline);
        }
    }

    fn system_event(&self, event: SystemEvent) -> Next {
        self.end(match event {
            SystemEvent::Off => Event::End(Outcome::PoweredOff),
            SystemEvent::Reset => self.reset(),
            SystemEvent::Crash => self.guest_failed("the guest reported that it crashed".into()),
        })
    }

    fn fault(&self, fault: GuestFault) -> Next {
        let id = self.id;
        let reason = match fault {
            GuestFault::CannotEmulate(insn) => {
                format!("{id}: the guest's instruction {insn:08x} cannot be emulated")
            }
            GuestFault::UndecodedAccess(gpa) => format!(
                "{id}: the guest accessed the device at {gpa} with an instruction that this \
                 accelerator cannot emulate"
            ),
            GuestFault::ExceptionLoop(vector) => format!(
                "{id}: the guest's exception vector at {vector:#x} takes an exception itself, \
                 for ever"
            ),
        };
        self.end(self.guest_failed(reason))
    }

    pub(super) fn reset(&self) -> Event {
        Event::Reset(self.epoch)
    }

    fn guest_failed(&self, reason: String) -> Event {
        let registers = report::registers(&*self.vcpu);
        Event::End(Outcome::GuestFailed { reason, registers })
    }

    /// Reports that the machine's run is over for this vCPU.
    pub(super) fn end(&self, event: Event) -> Next {
        self.context.report(event);
        Next::Ended
    }

    fn start(&mut self, entry: Entry) -> Result<Next, HostError> {
        let mut regs = CoreRegs {
            pc: entry.pc,
            ..CoreRegs::default()
        };
        regs.x[0] = entry.x0;
        self.vcpu.set_core(&regs)?;
        Ok(Next::Run(Resume::Done))
    }

    /// Gives every register its reset value, and drops the timers' outputs with them.
    pub(super) fn clear(&mut self) -> Result<(), HostError> {
        self.vcpu.set_core(&CoreRegs::default())?;
        self.vcpu.set_simd(&SimdRegs::default())?;
        for reg in Saved::ALL {
            self.vcpu.set_sysreg(reg.sysreg(), reg.reset_value())?;
        }
        self.timers.forget();
        self.update_timers()?;
        Ok(())
    }

    fn update_timers(&mut self) -> Result<Option<std::time::Duration>, HostError> {
        let Context {
            fleet,
            board,
            events: _,
        } = self.context;
        self.timers
            .update(self.id, &*self.vcpu, fleet.vm(), &**board)
    }

    fn drive_lines(&mut self) -> Result<(), HostError> {
        let lines = self.post().lines();
        for (line, driven) in [IrqLine::Irq, IrqLine::Fiq]
            .into_iter()
            .zip(&mut self.driven)
        {
            let high = lines.is_high(line);
            if *driven != high {
                *driven = high;
                self.vcpu.set_irq(line, high)?;
            }
        }
        Ok(())
    }

    fn post(&self) -> &'a Post {
        self.context.fleet.post(self.id)
    }
}
