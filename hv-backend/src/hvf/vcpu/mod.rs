//! A vCPU of the `hvf` backend.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what a vCPU is, and how it comes to be |
//! | `run` | entries into the guest |
//! | `traps` | what the guest trapped for, as exits of the contract |
//! | `answers` | the VMM's answers, and what they do to the registers |
//! | `registers` | its registers |
//! | `debugging` | a debugger at work on it |
//!
//! Wherever the framework leaves the PC, from an exit until its answer it stands at the instruction.

mod answers;
mod debugging;
mod registers;
mod run;
mod traps;

use std::marker::PhantomData;
use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs, SysRegFile};
use aarch64::trap::Access;
use aarch64::{Saved, SysReg, VcpuId};

use super::identity;
use super::reset::reset;
use super::sys::vcpu::RawVcpu;
use super::timer::VirtualTimer;
use super::vm::{Seat, Shared};
use crate::api::{DebugControl, Exit, HostError, IrqLine, Resume, Vcpu};
use crate::executor::Executor;
use debugging::Debugging;

/// What the last exit wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Nothing: the guest goes on where it is.
    Nothing,
    /// What a load reads, from this virtual address.
    Load { access: Access, va: u64 },
    /// That a store to this virtual address was done.
    Store { va: u64 },
    /// What a system register reads, for this general register.
    SysRegRead(u8),
    /// That a system register was written.
    SysRegWrite,
    /// The results of a call.
    Call,
    /// That the wait is over.
    Wait,
    /// What the executor's instruction needs.
    Executor,
}

/// How often in a row something may come to nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Patience {
    pc: u64,
    /// What was done about it.
    version: u64,
    count: u32,
}

impl Patience {
    /// More than any guest or fault of the host comes to honestly.
    const MOST: u32 = 10_000;

    /// Whether there is no more of it, when nothing came of the run at `pc` again, and nothing has
    /// been done since which counts `version` up.
    fn is_lost(&mut self, pc: u64, version: u64) -> bool {
        if (self.pc, self.version) != (pc, version) {
            let count = 0;
            *self = Self { pc, version, count };
        }
        self.count += 1;
        self.count > Self::MOST
    }
}

/// A vCPU.
#[derive(Debug)]
pub struct HvfVcpu {
    id: VcpuId,
    raw: RawVcpu,
    asked: Asked,
    /// An exit that the VMM hears of after it looked at the timer, and what that exit asks.
    held: Option<(Asked, Exit)>,
    /// Interrupt inputs: IRQ, FIQ.
    lines: [bool; 2],
    timer: VirtualTimer,
    /// The VMM may have seen the timer's output since the framework was told of it.
    timer_unsure: bool,
    /// Registers that the framework does not have, and all of those that a debugger took over.
    here: SysRegFile,
    /// The offset of the counter that this vCPU has.
    time_version: u64,
    /// Runs in a row that ended for no known reason.
    patience: Patience,
    /// Accesses in a row to memory that was not at hand.
    misses: Patience,
    /// Vectors in a row that were reached by an exception of ours and cannot be fetched.
    lost_vectors: Patience,
    debugging: Option<Debugging>,
    /// Made when first needed.
    executor: Option<Box<Executor>>,
    shared: Arc<Shared>,
    /// It stays on the thread that bound it.
    _not_send: PhantomData<*const ()>,
}

impl HvfVcpu {
    /// Makes a vCPU of this thread, with the registers it has at reset. Nothing is left as the
    /// framework makes it, since nobody says how that is.
    pub fn new(id: VcpuId, shared: Arc<Shared>) -> Result<Self, HostError> {
        let stop = match shared.seat(id) {
            Some(seat) => Arc::clone(&seat.stop),
            None => return Err(HostError::Limit(format!("the VM has no {id}"))),
        };
        let framework = shared.framework;
        let mut raw = RawVcpu::new(framework, stop).map_err(identity::vcpu_refused)?;
        reset(&mut raw)?;
        identity::set(&mut raw, framework, id, shared.cpu, shared.address_bits)?;
        let mut vcpu = Self {
            id,
            raw,
            asked: Asked::Nothing,
            held: None,
            lines: [false; 2],
            timer: VirtualTimer::default(),
            timer_unsure: true,
            here: SysRegFile::default(),
            time_version: 0,
            patience: Patience::default(),
            misses: Patience::default(),
            lost_vectors: Patience::default(),
            debugging: None,
            executor: None,
            shared,
            _not_send: PhantomData,
        };
        vcpu.raw.set_timer_mask(false)?;
        vcpu.follow_time()?;
        vcpu.raw.announce();
        Ok(vcpu)
    }

    fn seat(&self) -> Result<&Seat, HostError> {
        let gone = || HostError::Limit(format!("the VM has no {}", self.id));
        self.shared.seat(self.id).ok_or_else(gone)
    }
}

impl Vcpu for HvfVcpu {
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        self.shared.notice_sleep();
        // The VMM may have looked at the timer on these occasions, and since.
        let occasions = [Asked::Nothing, Asked::Wait, Asked::Call];
        self.timer_unsure |= occasions.contains(&self.asked);
        match self.answer(resume)? {
            Some((asked, exit)) => {
                self.asked = asked;
                Ok(exit)
            }
            None => self.enter(),
        }
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        // An exit that the VMM has not heard of comes again when its instruction is run again.
        self.held = self.held.filter(|(asked, _)| *asked == Asked::Nothing);
        match self.answer(resume)? {
            Some((Asked::Nothing, exit)) => self.held = Some((Asked::Nothing, exit)),
            Some((asked, exit)) => {
                self.asked = asked;
                return Ok(Some(exit));
            }
            None => {}
        }
        Ok(None)
    }

    fn set_irq(&mut self, line: IrqLine, high: bool) -> Result<(), HostError> {
        let [irq, fiq] = &mut self.lines;
        match line {
            IrqLine::Irq => *irq = high,
            IrqLine::Fiq => *fiq = high,
        }
        Ok(())
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        self.core_registers()
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        self.set_core_registers(regs)
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        self.simd_registers()
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        self.set_simd_registers(regs)
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        match Saved::from_sysreg(reg) {
            Some(saved) => self.saved(saved),
            None => identity::read(&self.raw, self.shared.framework, reg),
        }
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        match Saved::from_sysreg(reg) {
            Some(saved) => self.set_saved(saved, value),
            None => Err(HostError::NoRegister(reg)),
        }
    }

    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        self.debug(control)
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}
