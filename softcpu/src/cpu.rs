//! The state of one CPU, and the events it returns to its owner.

use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs, SysRegFile};
use aarch64::timer::TIMERS;
use aarch64::{Gpa, Saved, Size, SysReg, pstate};
use memory::{FrameCache, Layout, Mode};

use crate::cluster::{Clock, Cluster, Mail, Request, Seat};
use crate::debug::Debug;
use crate::emitter::SP;
use crate::exclusive::Monitor;
use crate::fp::{FpEnv, fpcr, fpsr};
use crate::hypervised::{Hypervised, Trap};
use crate::maintenance::StaleCode;
use crate::replay::{Awaiting, Replay};
use crate::tlb::Tlb;

/// Why [`crate::Interpreter::run`] returned. The PC stays at the instruction concerned until a
/// [`Reply`] completes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A load from an address without memory. Reply: `Data` or `ExternalAbort`.
    MmioRead {
        /// Address.
        gpa: Gpa,
        /// Size.
        size: Size,
    },
    /// A store to an address without memory. Reply: `Done` or `ExternalAbort`.
    MmioWrite {
        /// Address.
        gpa: Gpa,
        /// Size.
        size: Size,
        /// Value, zero-extended.
        data: u64,
    },
    /// A read of a system register that is not the CPU's own. Reply: `Data` or `Undefined`.
    SysRegRead {
        /// Register.
        reg: SysReg,
    },
    /// A write to a system register that is not the CPU's own. Reply: `Done` or `Undefined`.
    SysRegWrite {
        /// Register.
        reg: SysReg,
        /// Value.
        data: u64,
    },
    /// `HVC` with its immediate. Reply: `Call` or `Undefined`.
    Hvc(u16),
    /// `SMC` with its immediate. Reply: `Call` or `Undefined`.
    Smc(u16),
    /// `WFI` with no interrupt pending. Reply: `Done`.
    Wfi,
    /// The output of a timer changed.
    Timer,
    /// A debugger's step is done.
    Step,
    /// A debugger's breakpoint is at the PC.
    Breakpoint,
    /// `BRK` with its immediate, while a debugger takes them.
    Brk(u16),
    /// A debugger's watchpoint; the virtual address of the access.
    Watchpoint(u64),
    /// Somebody kicked the CPU.
    Kicked,
    /// The instructions of a bounded run are used up.
    QuantumEnd,
    /// The CPU takes the same exception at its own vector, for ever.
    ExceptionLoop(u64),
    /// The guest left for its hypervisor: only after [`Cpu::supervise`].
    Trapped(Trap),
}

/// The owner's answer to an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done; or: run on.
    Done,
    /// The value read.
    Data(u64),
    /// X0 to X3 after a call.
    Call([u64; 4]),
    /// The instruction is undefined.
    Undefined,
    /// The access takes an external abort.
    ExternalAbort,
}

/// Why an instruction did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It takes the exception in [`Cpu::exception`].
    Exception,
    /// The owner has to answer [`Cpu::awaiting`] first.
    Event,
    /// Nothing: it is complete, but the run loop has to look up before the next one.
    LookUp,
}

/// An exception about to be taken to EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    pub esr: u64,
    /// `FAR_EL1`, for classes that set it.
    pub far: Option<u64>,
    /// The instruction counts as done: return to the next one (SVC).
    pub retires: bool,
}

/// Watches for exceptions that the CPU will never get away from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoopGuard {
    /// Instructions retired at the last synchronous exception.
    pub retired: u64,
    /// How many were taken since, without an instruction between.
    pub repeats: u32,
}

/// One CPU of the `portable` model.
#[derive(Debug)]
pub struct Cpu {
    /// General register slots, see [`crate::emitter`]. As many as a `u8` can name, so that no
    /// access needs a bounds check.
    pub(crate) x: [u64; 256],
    /// N is bit 63.
    pub(crate) nf: u64,
    /// Z is set when this is zero.
    pub(crate) zf: u64,
    /// C, 0 or 1.
    pub(crate) cf: u64,
    /// V is bit 63.
    pub(crate) vf: u64,
    /// The next instruction; within a block, where the block goes on to.
    pub(crate) pc: u64,
    /// Address of the block being run.
    pub(crate) block_pc: u64,
    pub(crate) v: [u128; 32],
    pub(crate) fp: FpEnv,
    pub(crate) frames: FrameCache,
    pub(crate) tlb: Tlb,
    /// Whose rights accesses are made with.
    pub(crate) access_mode: Mode,
    /// Instructions retired.
    pub(crate) retired: u64,
    /// When `retired` reaches this, the run loop looks up; 0 makes it look up at once.
    pub(crate) stop_at: u64,
    /// PSTATE without NZCV, in the layout of `SPSR_EL1`.
    pub(crate) pstate: u64,
    /// The stack pointer in use is in slot [`SP`]; its entry here is stale.
    pub(crate) sys: SysRegFile,
    /// What cached translations of instruction addresses depend on; see [`Cpu::refresh`].
    pub(crate) context: u64,
    /// Counts changes that outdate all cached instruction addresses.
    pub(crate) epoch: u32,
    /// EL1 ran code that is not global since the last epoch began.
    pub(crate) runs_private_code: bool,
    /// Decoded code that the interpreter has to drop.
    pub(crate) stale_code: StaleCode,
    /// What the other CPUs are to forget, until the next DSB.
    pub(crate) outbox: Vec<Request>,
    pub(crate) spare_mail: Mail,
    /// The system instruction being run, for its trap.
    pub(crate) insn: u32,
    pub(crate) loop_guard: LoopGuard,
    pub(crate) debug: Debug,
    pub(crate) hypervised: Hypervised,
    /// Timer outputs as the owner was told.
    pub(crate) reported_outputs: [bool; TIMERS.len()],
    /// Retired instructions after which a bounded run ends.
    pub(crate) limit: u64,
    pub(crate) monitor: Option<Monitor>,
    pub(crate) replay: Replay,
    pub(crate) awaiting: Awaiting,
    pub(crate) exception: Exception,
    pub(crate) irq: bool,
    pub(crate) fiq: bool,
    pub(crate) index: usize,
    pub(crate) cluster: Arc<Cluster>,
    seat: Arc<Seat>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Cpu {
    /// CPU number `index` of `cluster` in its reset state. One that the cluster has no seat for is
    /// out of the others' reach.
    #[must_use]
    pub fn new(
        index: usize,
        cluster: Arc<Cluster>,
        clock: Arc<dyn Clock>,
        layout: Arc<Layout>,
    ) -> Self {
        cluster.seat_taken(index);
        let mut cpu = Self {
            x: [0; 256],
            nf: 0,
            zf: 1,
            cf: 0,
            vf: 0,
            pc: 0,
            block_pc: 0,
            v: [0; 32],
            fp: FpEnv::default(),
            frames: FrameCache::new(layout),
            tlb: Tlb::default(),
            access_mode: Mode::Kernel,
            retired: 0,
            stop_at: 0,
            pstate: pstate::RESET,
            sys: SysRegFile::default(),
            context: 0,
            epoch: 0,
            runs_private_code: false,
            stale_code: StaleCode::default(),
            outbox: Vec::new(),
            spare_mail: Mail::default(),
            insn: 0,
            loop_guard: LoopGuard::default(),
            debug: Debug::default(),
            hypervised: Hypervised::default(),
            reported_outputs: [false; TIMERS.len()],
            limit: u64::MAX,
            monitor: None,
            replay: Replay::default(),
            awaiting: Awaiting::Nothing,
            exception: Exception {
                esr: 0,
                far: None,
                retires: false,
            },
            irq: false,
            fiq: false,
            index,
            seat: cluster.seat(index).cloned().unwrap_or_default(),
            cluster,
            clock,
        };
        cpu.refresh();
        cpu
    }

    #[inline(always)]
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// General registers, PC and PSTATE.
    #[must_use]
    pub fn core(&self) -> CoreRegs {
        let mut x = [0; 31];
        x.copy_from_slice(&self.x[..31]);
        CoreRegs {
            x,
            pc: self.pc,
            pstate: self.pstate | self.nzcv_bits(),
        }
    }

    /// Sets general registers, PC and PSTATE; bits that do not exist are dropped.
    pub fn set_core(&mut self, regs: &CoreRegs) {
        let CoreRegs { x, pc, pstate } = regs;
        self.replay.finish();
        self.awaiting = Awaiting::Nothing;
        self.x[..31].copy_from_slice(x);
        self.pc = *pc;
        self.set_pstate(*pstate);
    }

    /// FP and AdvSIMD registers.
    #[must_use]
    pub fn simd(&self) -> SimdRegs {
        SimdRegs {
            v: self.v,
            fpcr: self.fp.fpcr,
            fpsr: self.fp.fpsr,
        }
    }

    /// Sets FP and AdvSIMD registers.
    pub fn set_simd(&mut self, regs: &SimdRegs) {
        let SimdRegs { v, fpcr, fpsr } = regs;
        self.v = *v;
        self.fp = FpEnv {
            fpcr: *fpcr & fpcr::DEFINED,
            fpsr: *fpsr & fpsr::DEFINED,
        };
    }

    /// A system register of the saved state.
    #[must_use]
    pub fn saved(&self, reg: Saved) -> u64 {
        if matches!(reg, Saved::SpEl0 | Saved::SpEl1) {
            self.stack(reg)
        } else {
            self.sys[reg]
        }
    }

    /// Holds the IRQ and FIQ inputs at these levels.
    pub fn set_interrupts(&mut self, irq: bool, fiq: bool) {
        self.irq = irq;
        self.fiq = fiq;
        self.stop_at = 0;
    }

    /// Instructions retired since the CPU was made.
    #[must_use]
    pub fn retired(&self) -> u64 {
        self.retired
    }

    /// Makes runs end with [`Event::QuantumEnd`] once so many instructions are retired in all, at
    /// the end of the block that does it.
    pub fn set_limit(&mut self, retired: Option<u64>) {
        self.limit = retired.unwrap_or(u64::MAX);
        self.stop_at = 0;
    }

    /// Current exception level, 0 or 1.
    #[inline]
    pub(crate) fn el(&self) -> u64 {
        self.pstate >> 2 & 3
    }

    /// NZCV in bits 31:28.
    pub(crate) fn nzcv_bits(&self) -> u64 {
        (self.nf >> 63) << 31
            | u64::from(self.zf == 0) << 30
            | (self.cf & 1) << 29
            | (self.vf >> 63) << 28
    }

    /// Sets the flags from bits 31:28.
    pub(crate) fn set_nzcv_bits(&mut self, nzcv: u64) {
        self.nf = nzcv << 32;
        self.zf = !nzcv & pstate::Z;
        self.cf = nzcv >> 29 & 1;
        self.vf = nzcv << 35;
    }

    /// Replaces all of PSTATE, switching stack pointers as the mode says.
    pub(crate) fn set_pstate(&mut self, value: u64) {
        self.set_nzcv_bits(value);
        self.set_mode_bits(value);
    }

    /// As [`Self::set_pstate`], but for NZCV.
    pub(crate) fn set_mode_bits(&mut self, value: u64) {
        let old = Self::stack_of(self.pstate);
        self.sys[old] = self.x[usize::from(SP)];
        self.pstate = value & pstate::DEFINED & !pstate::NZCV;
        self.x[usize::from(SP)] = self.sys[Self::stack_of(self.pstate)];
        self.refresh();
    }

    /// Which register the stack pointer of a mode is.
    pub(crate) fn stack_of(pstate: u64) -> Saved {
        if pstate & 1 == 0 {
            Saved::SpEl0
        } else {
            Saved::SpEl1
        }
    }

    /// A stack pointer, in use or not.
    pub(crate) fn stack(&self, which: Saved) -> u64 {
        if Self::stack_of(self.pstate) == which {
            self.x[usize::from(SP)]
        } else {
            self.sys[which]
        }
    }

    /// Sets a stack pointer, in use or not.
    pub(crate) fn set_stack(&mut self, which: Saved, value: u64) {
        self.sys[which] = value;
        if Self::stack_of(self.pstate) == which {
            self.x[usize::from(SP)] = value;
        }
    }
}
