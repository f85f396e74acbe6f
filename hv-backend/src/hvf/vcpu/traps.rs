//! What the guest trapped for, as exits of the contract.

use aarch64::syndrome::Ec;
use aarch64::trap::{Abort, DataAbort, SysRegAccess, Trap, Wait};
use aarch64::{Gpa, Saved, cpu_model};

use super::{Asked, HvfVcpu};
use crate::api::{Conduit, DebugStop, Exit, GuestFault, HostError};
use crate::executor::Outcome;
use crate::hvf::abi::ExitRecord;
use crate::hvf::memory::Fault;
use crate::hvf::sysregs::{Forwarded, forwarded};

/// Fault status of a synchronous external abort.
pub(super) const EXTERNAL: u32 = 0x10;
/// The same, of a walk of page tables, at an unknown level.
const EXTERNAL_ON_WALK: u32 = 0x14;
/// ISS of data aborts: the access was a write.
pub(super) const WRITE: u32 = 1 << 6;

/// An exit, and what it asks; `None` when the guest goes on.
pub(super) type Left = Option<(Asked, Exit)>;

impl HvfVcpu {
    /// Looks into a trap.
    pub(super) fn trapped(&mut self, record: ExitRecord) -> Result<Left, HostError> {
        let va = record.virtual_address;
        match Trap::decode(record.syndrome) {
            Trap::Wait(Wait::Interrupt) => Ok(Some((Asked::Wait, Exit::Wfi))),
            // These may end for any reason and at any time, so that yielding is enough. A wait until
            // a time is one of them: the processors that guests find here have no such instruction.
            Trap::Wait(Wait::Event | Wait::InterruptUntil | Wait::EventUntil) => {
                std::thread::yield_now();
                self.retire()
            }
            Trap::Hvc(imm) => {
                // Alone of all, it leaves the PC past the instruction.
                let pc = self.pc()?.wrapping_sub(4);
                self.set_pc(pc)?;
                Ok(call(Conduit::Hvc, imm))
            }
            Trap::Smc(imm) => Ok(call(Conduit::Smc, imm)),
            Trap::SysReg(access) => self.system_register(access),
            Trap::Data(abort) => self.data_abort(abort, Gpa(record.physical_address), va),
            Trap::Fetch(abort) => self.fetch_abort(abort, Gpa(record.physical_address), va),
            Trap::Breakpoint => self.debug_stop(DebugStop::Breakpoint),
            Trap::Watchpoint => self.debug_stop(DebugStop::Watchpoint(va)),
            Trap::Step => Ok(self.stepped()),
            Trap::Brk(imm) => self.brk(imm),
            // Something that the guest has no use of here, such as a coprocessor it was not offered.
            Trap::Other(_) => self.inject_undefined().map(|()| None),
        }
    }

    fn data_abort(&mut self, abort: DataAbort, gpa: Gpa, va: u64) -> Result<Left, HostError> {
        let write = if abort.is_write { WRITE } else { 0 };
        if let Abort::Other(_) = abort.abort {
            self.inject_data_abort(EXTERNAL | write, va)?;
            return Ok(None);
        }
        match self.shared.memory.fault(gpa, abort.abort)? {
            Fault::Again(version) => return self.try_again(gpa, version),
            Fault::ReadOnly | Fault::Nowhere => {}
        }
        if abort.is_walk {
            self.inject_data_abort(EXTERNAL_ON_WALK | write, va)?;
            return Ok(None);
        }
        if abort.is_maintenance {
            return self.retire();
        }
        let Some(access) = abort.access else {
            return self.execute(gpa);
        };
        let size = access.size;
        Ok(Some(if abort.is_write {
            let data = access.stored(self.x(access.register)?);
            (Asked::Store { va }, Exit::MmioWrite { gpa, size, data })
        } else {
            (Asked::Load { access, va }, Exit::MmioRead { gpa, size })
        }))
    }

    fn fetch_abort(&mut self, abort: Abort, gpa: Gpa, va: u64) -> Result<Left, HostError> {
        let fault = match abort {
            Abort::Translation | Abort::Permission => self.shared.memory.fault(gpa, abort)?,
            Abort::Other(_) => Fault::Nowhere,
        };
        if let Fault::Again(version) = fault {
            return self.try_again(gpa, version);
        }
        let (lower, same) = (Ec::InsnAbortLower, Ec::InsnAbortSame);
        self.inject(lower, same, EXTERNAL, Some(va))?;
        let vector = self.pc()?;
        if vector == va && self.lost_vectors.is_lost(vector, 0) {
            let fault = GuestFault::ExceptionLoop(vector);
            return Ok(Some((Asked::Nothing, Exit::Fault(fault))));
        }
        Ok(None)
    }

    /// Runs the instruction again, to which guest memory was not at hand.
    fn try_again(&mut self, gpa: Gpa, version: u64) -> Result<Left, HostError> {
        if self.misses.is_lost(self.pc()?, version) {
            let line = format!("{} does not get at its memory at {gpa}", self.id);
            return Err(HostError::BadState(line));
        }
        Ok(None)
    }

    /// Executes the instruction at the PC here: the processor does not say what it is.
    fn execute(&mut self, gpa: Gpa) -> Result<Left, HostError> {
        let layout = self.shared.memory.layout();
        let mut executor = self.executor.take().unwrap_or_default();
        let outcome = executor.begin(self, gpa, layout);
        self.executor = Some(executor);
        self.executed(outcome?)
    }

    /// How far the executor's instruction got.
    pub(super) fn executed(&mut self, outcome: Outcome) -> Result<Left, HostError> {
        match outcome {
            Outcome::Exit(exit @ Exit::Fault(_)) => Ok(Some((Asked::Nothing, exit))),
            Outcome::Exit(exit) => Ok(Some((Asked::Executor, exit))),
            Outcome::Done => Ok(self.instruction_done()),
        }
    }

    fn system_register(&mut self, access: SysRegAccess) -> Result<Left, HostError> {
        let SysRegAccess {
            reg,
            register,
            is_read,
        } = access;
        let answer = forwarded(reg);
        if is_read {
            let value = match answer {
                Forwarded::Vmm => {
                    return Ok(Some((
                        Asked::SysRegRead(register),
                        Exit::SysRegRead { reg },
                    )));
                }
                Forwarded::Fixed(value) => value,
                Forwarded::CacheSize => cpu_model::ccsidr(self.saved(Saved::CsselrEl1)?),
                Forwarded::Saved(Saved::CntpCtlEl0) => self.physical_timer_control(),
                Forwarded::Saved(saved) => self.saved(saved)?,
                Forwarded::Counter => self.counter(),
                Forwarded::PhysicalTval => {
                    let left = self.physical_timer().cval.wrapping_sub(self.counter());
                    u64::from(left as u32)
                }
                Forwarded::OsLock | Forwarded::Ignored => 0,
            };
            self.set_x(register, value)?;
            return self.retire();
        }
        let data = self.x(register)?;
        match answer {
            Forwarded::Vmm => {
                return Ok(Some((Asked::SysRegWrite, Exit::SysRegWrite { reg, data })));
            }
            Forwarded::OsLock => self.set_saved(Saved::OslsrEl1, (data & 1) << 1)?,
            Forwarded::Saved(Saved::OslsrEl1) => {}
            Forwarded::Saved(saved) => {
                self.set_saved(saved, data)?;
                self.physical_timer_written(saved)?;
            }
            Forwarded::PhysicalTval => {
                let ahead = i64::from(data as u32 as i32).cast_unsigned();
                let cval = self.counter().wrapping_add(ahead);
                self.set_saved(Saved::CntpCvalEl0, cval)?;
                self.physical_timer_written(Saved::CntpCvalEl0)?;
            }
            Forwarded::Fixed(_)
            | Forwarded::CacheSize
            | Forwarded::Counter
            | Forwarded::Ignored => {}
        }
        self.retire()
    }

    /// The VMM looks at the physical timer after the guest wrote to it.
    fn physical_timer_written(&self, reg: Saved) -> Result<(), HostError> {
        if matches!(reg, Saved::CntpCtlEl0 | Saved::CntpCvalEl0) {
            self.seat()?.alarm();
        }
        Ok(())
    }
}

fn call(conduit: Conduit, imm: u16) -> Left {
    Some((Asked::Call, Exit::Call { conduit, imm }))
}
