//! Instructions that need answers from outside.
//!
//! An access to a device leaves the CPU in the middle of an instruction. Instead of keeping the
//! half-done instruction, it is run again from its start with the answers received so far; an
//! instruction with several device accesses (`LDP`, `LD4`) is run once more for each.

use aarch64::SysReg;

use crate::cpu::{Cpu, Event, Reply, Stop};

/// More than any instruction makes accesses: `LD4` of bytes makes 64.
const MOST: usize = 64;

/// Answers for the instruction at the PC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    answers: Vec<u64>,
    next: usize,
}

impl Replay {
    /// The next answer, if it was given already.
    fn take(&mut self) -> Option<u64> {
        let answer = self.answers.get(self.next).copied()?;
        self.next += 1;
        Some(answer)
    }

    /// Whether the instruction at the PC is to be run with answers.
    pub fn is_active(&self) -> bool {
        !self.answers.is_empty()
    }

    fn push(&mut self, answer: u64) {
        if self.answers.len() < MOST {
            self.answers.push(answer);
        }
        self.next = 0;
    }

    /// The instruction starts again.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// The instruction is done, or never will be.
    pub fn finish(&mut self) {
        self.answers.clear();
        self.next = 0;
    }
}

/// What the owner has been asked and has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaiting {
    /// Nothing.
    Nothing,
    /// An access to a device, at this virtual address.
    Mmio { event: Event, va: u64, write: bool },
    /// A system register access.
    SysReg(Event),
    /// HVC or SMC.
    Call(Event),
    /// WFI.
    Wfi,
    /// Something that needs no answer.
    Notice(Event),
}

impl Cpu {
    /// Value of a device register; leaves the instruction if the owner has not been asked yet.
    pub(crate) fn ask_mmio(&mut self, event: Event, va: u64, write: bool) -> Result<u64, Stop> {
        match self.replay.take() {
            Some(answer) => Ok(answer),
            None => {
                self.awaiting = Awaiting::Mmio { event, va, write };
                Err(Stop::Event)
            }
        }
    }

    /// Reads a register that the owner has.
    pub(crate) fn ask_sysreg_read(&mut self, reg: SysReg) -> Result<u64, Stop> {
        self.ask_sysreg(Event::SysRegRead { reg })
    }

    /// Writes a register that the owner has.
    pub(crate) fn ask_sysreg_write(&mut self, reg: SysReg, data: u64) -> Result<(), Stop> {
        self.ask_sysreg(Event::SysRegWrite { reg, data })
            .map(|_| ())
    }

    fn ask_sysreg(&mut self, event: Event) -> Result<u64, Stop> {
        match self.replay.take() {
            Some(answer) => Ok(answer),
            None => {
                self.awaiting = Awaiting::SysReg(event);
                Err(Stop::Event)
            }
        }
    }

    /// Leaves the instruction with an event that is answered by moving on or not at all.
    pub(crate) fn leave<T>(&mut self, awaiting: Awaiting) -> Result<T, Stop> {
        self.awaiting = awaiting;
        Err(Stop::Event)
    }

    /// The event that the owner gets to see.
    pub(crate) fn event(&self) -> Event {
        match self.awaiting {
            Awaiting::Mmio { event, .. }
            | Awaiting::SysReg(event)
            | Awaiting::Call(event)
            | Awaiting::Notice(event) => event,
            Awaiting::Wfi => Event::Wfi,
            Awaiting::Nothing => Event::Kicked,
        }
    }

    /// Takes the owner's answer to the last event. A reply that does not fit the event counts as
    /// the nearest that does: a missing value is 0.
    pub fn reply(&mut self, reply: Reply) {
        let awaiting = std::mem::replace(&mut self.awaiting, Awaiting::Nothing);
        let value = match reply {
            Reply::Data(value) => value,
            Reply::Call([value, ..]) => value,
            Reply::Done | Reply::Undefined | Reply::ExternalAbort => 0,
        };
        match awaiting {
            Awaiting::Nothing | Awaiting::Notice(_) => {}
            Awaiting::Mmio { va, write, .. } => match reply {
                Reply::ExternalAbort | Reply::Undefined => {
                    self.replay.finish();
                    let _ = self.external_abort(va, write);
                    self.take_pending();
                    self.instruction_done();
                }
                Reply::Done | Reply::Data(_) | Reply::Call(_) => self.replay.push(value),
            },
            Awaiting::SysReg(_) => match reply {
                Reply::ExternalAbort | Reply::Undefined => self.refuse(),
                Reply::Done | Reply::Data(_) | Reply::Call(_) => self.replay.push(value),
            },
            Awaiting::Call(_) => match reply {
                Reply::ExternalAbort | Reply::Undefined => self.refuse(),
                Reply::Call(values) => {
                    self.x[..4].copy_from_slice(&values);
                    self.retire();
                }
                Reply::Done | Reply::Data(_) => self.retire(),
            },
            Awaiting::Wfi => self.retire(),
        }
    }

    fn refuse(&mut self) {
        self.replay.finish();
        let _ = self.undefined();
        self.take_pending();
        self.instruction_done();
    }

    fn retire(&mut self) {
        self.pc = self.pc.wrapping_add(4);
        self.retired += 1;
        self.instruction_done();
    }
}
