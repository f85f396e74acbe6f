//! Executes the one instruction that an accelerator's host cannot complete.
//!
//! A processor that traps an access says what it was only for the simplest loads and stores. For
//! pairs, writeback, vectors, atomics, exclusives and `DC ZVA` it says where, and nothing else. Such
//! an instruction is executed here, on a [`softcpu::Cpu`] that borrows the vCPU's registers: one
//! decoder for all accelerators. Its accesses to where no memory is become [`Exit`]s; guest memory
//! it reaches itself; an exception it ends in is taken at EL1 in the vCPU's name.
//!
//! How to use it: [`Executor::begin`] when the host gives up on an access, [`Executor::go_on`] with
//! the answer to each exit, until it is [`Outcome::Done`]. Until then the vCPU's registers are
//! untouched and its PC stays at the instruction, so that leaving it half done ([`Executor::abandon`])
//! is always possible: it then starts again. Nobody may take a dirty log during a call, because the
//! guest memory that the call writes is logged when it begins ([`memory::Region::start_log`]).
//!
//! What it relies on, and what follows:
//! - The guest can be wider than the software CPU (`--cpu host`). An instruction that the software
//!   CPU does not have ends as [`GuestFault::CannotEmulate`]; so does one in a state it cannot follow:
//!   AArch32, big-endian data, 64K pages, 52-bit addresses. Where only page table attributes are
//!   beyond it (`TCR_EL1.HA`, `HD`, `HPDn` and newer bits), it believes a translation that succeeds,
//!   as the processor let the access through, and refuses to take a fault that may not be one.
//! - `PSTATE.UAO` and memory tags are not followed. `DC ZVA` writes the portable model's block.
//! - Exclusives: a store fails, a load to a device takes the abort the architecture allows.
//! - If another vCPU changes the code or the tables in between, what was fetched may not be the
//!   instruction that trapped. If it is no access, the vCPU simply goes on at it; if that comes to
//!   nothing several times in a row, it is a fault and not a loop.

mod context;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aarch64::Gpa;
use memory::Layout;
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Event, Reply, is_access};

use crate::api::{Exit, GuestFault, HostError, Resume, Vcpu};
use context::{Borrowed, Follows};

/// How often in a row the vCPU may go on at an instruction that turns out to be none of ours.
const MOST_RETRIES: u32 = 16;

/// How far an instruction got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It asks for an answer, or cannot be executed ([`Exit::Fault`]).
    Exit(Exit),
    /// It is complete, or took an exception: the vCPU goes on.
    Done,
}

/// See the [module](self). Some hundred KiB: made when first needed, and kept.
#[derive(Debug)]
pub struct Executor {
    cpu: Cpu,
    /// The instruction under way.
    current: Option<Current>,
    retries: u32,
}

#[derive(Debug)]
struct Current {
    insn: u32,
    borrowed: Borrowed,
    /// What the CPU had retired before.
    retired: u64,
}

/// No access reads a clock.
#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn counter(&self) -> u64 {
        0
    }
    fn frequency(&self) -> u64 {
        1
    }
}

impl Default for Executor {
    fn default() -> Self {
        let cluster = Arc::new(Cluster::new(1));
        Self {
            cpu: Cpu::new(0, cluster, Arc::new(NoClock), Arc::default()),
            current: None,
            retries: 0,
        }
    }
}

impl Executor {
    /// Executes the instruction at the PC of `vcpu`, whose access to `gpa` the host left undone.
    /// `layout` is guest memory as it is now.
    ///
    /// # Errors
    /// When a register of the vCPU cannot be read or written.
    pub fn begin(
        &mut self,
        vcpu: &mut dyn Vcpu,
        gpa: Gpa,
        layout: Arc<Layout>,
    ) -> Result<Outcome, HostError> {
        self.current = None;
        self.cpu.set_layout(layout);
        let mut borrowed = Borrowed::load(vcpu, &mut self.cpu)?;
        let fetched = match borrowed.follows {
            Follows::No => None,
            Follows::Mostly | Follows::Fully => self.cpu.fetch(),
        };
        let Some((insn, _)) = fetched else {
            let fault = GuestFault::UndecodedAccess(gpa);
            let hopeless = borrowed.follows == Follows::No;
            return Ok(self.try_again(fault, hopeless));
        };
        match is_access(insn) {
            Some(true) => {}
            Some(false) => return Ok(self.try_again(GuestFault::CannotEmulate(insn), false)),
            None => return Ok(self.try_again(GuestFault::CannotEmulate(insn), true)),
        }
        self.retries = 0;
        borrowed.load_simd(vcpu, &mut self.cpu, insn)?;
        let retired = self.cpu.retired();
        self.current = Some(Current {
            insn,
            borrowed,
            retired,
        });
        self.execute(vcpu)
    }

    /// The instruction at `pc`, as a vCPU in the state `pstate` fetches it. `None` if it cannot, or
    /// the software CPU cannot follow it there. What was under way is abandoned.
    ///
    /// # Errors
    /// When a register of the vCPU cannot be read.
    pub fn instruction(
        &mut self,
        vcpu: &dyn Vcpu,
        (pc, pstate): (u64, u64),
        layout: Arc<Layout>,
    ) -> Result<Option<u32>, HostError> {
        self.current = None;
        self.cpu.set_layout(layout);
        let follows = context::load_place(vcpu, &mut self.cpu, pc, pstate)?;
        Ok(match follows {
            Follows::No => None,
            Follows::Mostly | Follows::Fully => self.cpu.fetch().map(|(insn, _)| insn),
        })
    }

    /// Answers the exit that the last call returned.
    ///
    /// # Errors
    /// When a register of the vCPU cannot be written, or no instruction is under way.
    pub fn go_on(&mut self, vcpu: &mut dyn Vcpu, resume: Resume) -> Result<Outcome, HostError> {
        // The memory that it writes from here on is to be logged anew.
        self.cpu.forget_translations();
        match resume {
            Resume::Done => self.cpu.reply(Reply::Done),
            Resume::Data(value) => self.cpu.reply(Reply::Data(value)),
            Resume::ExternalAbort => {
                self.cpu.reply(Reply::ExternalAbort);
                return self.finish(vcpu);
            }
            Resume::Call(_) | Resume::Undefined => {
                let line = format!("{resume:?} is no answer to an access");
                return Err(HostError::BadState(line));
            }
        }
        self.execute(vcpu)
    }

    /// Whether an instruction is under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    /// Forgets the instruction under way, as if it had not begun.
    pub fn abandon(&mut self) {
        self.current = None;
    }

    fn execute(&mut self, vcpu: &mut dyn Vcpu) -> Result<Outcome, HostError> {
        let Some(current) = &self.current else {
            return Err(HostError::BadState("no instruction is under way".into()));
        };
        match self.cpu.execute(current.insn) {
            Some(Event::MmioRead { gpa, size }) => Ok(Outcome::Exit(Exit::MmioRead { gpa, size })),
            Some(Event::MmioWrite { gpa, size, data }) => {
                Ok(Outcome::Exit(Exit::MmioWrite { gpa, size, data }))
            }
            // Exceptions in a row are a loop only if the vCPU ran nothing in between, and it did.
            None | Some(Event::ExceptionLoop(_)) => self.finish(vcpu),
            Some(
                Event::SysRegRead { .. }
                | Event::SysRegWrite { .. }
                | Event::Hvc(_)
                | Event::Smc(_)
                | Event::Wfi
                | Event::Timer
                | Event::Step
                | Event::Breakpoint
                | Event::Brk(_)
                | Event::Watchpoint(_)
                | Event::Kicked
                | Event::QuantumEnd
                | Event::Trapped(_),
            ) => Ok(self.give_up()),
        }
    }

    /// Gives the vCPU what the instruction changed.
    fn finish(&mut self, vcpu: &mut dyn Vcpu) -> Result<Outcome, HostError> {
        let Some(current) = self.current.take() else {
            return Err(HostError::BadState("no instruction is under way".into()));
        };
        if self.cpu.retired() != current.retired {
            current.borrowed.complete(vcpu, &self.cpu)?;
        } else if current.borrowed.may_believe_abort(&self.cpu) {
            current.borrowed.take_exception(vcpu, &self.cpu)?;
        } else {
            let fault = GuestFault::CannotEmulate(current.insn);
            return Ok(Outcome::Exit(Exit::Fault(fault)));
        }
        Ok(Outcome::Done)
    }

    fn give_up(&mut self) -> Outcome {
        let insn = self.current.take().map_or(0, |current| current.insn);
        Outcome::Exit(Exit::Fault(GuestFault::CannotEmulate(insn)))
    }

    /// Lets the vCPU go on at its PC, unless that is `hopeless` or was tried too often.
    fn try_again(&mut self, fault: GuestFault, hopeless: bool) -> Outcome {
        self.retries += 1;
        if hopeless || self.retries > MOST_RETRIES {
            self.retries = 0;
            return Outcome::Exit(Exit::Fault(fault));
        }
        Outcome::Done
    }
}
