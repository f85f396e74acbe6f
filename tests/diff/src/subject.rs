//! armlet's side: the software CPU at EL0, with page tables that map what the oracle maps.

use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Gpa, Saved, pstate};
use memory::{Layout, LayoutError, Prot, Region};
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Event, Interpreter, Reply};

use crate::Error;
use crate::oracle::{Outcome, Outcomes};
use crate::place::{
    BASE, BRK, BYTES, CODE, MOST_WORDS, PAGES, PAGES_BYTES, SLOT, WINDOW, WINDOW_BYTES, spread,
};
use crate::program::Batch;
use crate::state::{End, Signal, State};

/// Decoded instructions kept; a batch has few.
const MOST_OPS: usize = 4096;
/// Where the page tables are, one page each.
const TABLES: u64 = BASE + 0x11_0000;
/// Where exceptions go.
const VECTORS: u64 = BASE + 0x10_0000;

/// `SVC #0`
const SVC: u32 = 0xd400_0001;
/// `HVC #0`
const HVC: u32 = 0xd400_0002;

/// `SCTLR_EL1` as Linux has it for user programs: MMU, caches, and EL0 may use `DC ZVA`, `CTR_EL0`,
/// cache maintenance, WFE and WFI; misaligned accesses are fine.
const SCTLR: u64 = 1 | 1 << 2 | 1 << 12 | 1 << 14 | 1 << 15 | 1 << 16 | 1 << 18 | 1 << 26;
/// `TCR_EL1`: 48-bit addresses below, none above, 4K pages, top byte ignored.
const TCR: u64 = 16 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 1 << 32 | 1 << 37;

/// A clock for programs that do not ask for the time.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn counter(&self) -> u64 {
        0
    }

    fn frequency(&self) -> u64 {
        62_500_000
    }
}

/// The software CPU and its memory.
#[derive(Debug)]
pub struct Subject {
    cpu: Cpu,
    interpreter: Interpreter,
    memory: Arc<Region>,
    /// Whether the next batch runs at a stretch; every other does.
    blocks: bool,
}

impl Subject {
    /// A CPU ready to run programs.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn new() -> Result<Self, Error> {
        let memory = Arc::new(Region::new(BYTES)?);
        let layout = Layout::default().with(Gpa(BASE), Arc::clone(&memory), Prot::ReadWrite)?;
        let cluster = Arc::new(Cluster::new(1));
        let mut cpu = Cpu::new(0, cluster, Arc::new(Still), Arc::new(layout));
        let settings = [
            (Saved::Ttbr0El1, TABLES),
            (Saved::TcrEl1, TCR),
            (Saved::MairEl1, 0xff),
            (Saved::VbarEl1, VECTORS),
            (Saved::CpacrEl1, 3 << 20),
            // EL0 may read the virtual counter.
            (Saved::CntkctlEl1, 1 << 1),
            (Saved::SctlrEl1, Saved::SctlrEl1.reset_value() | SCTLR),
        ];
        for (register, value) in settings {
            cpu.set_saved(register, value);
        }
        let subject = Self {
            cpu,
            interpreter: Interpreter::new(MOST_OPS),
            memory,
            blocks: false,
        };
        subject.fill()?;
        Ok(subject)
    }

    /// Page tables: four levels, the last with a page each for what EL0 may touch.
    fn fill(&self) -> Result<(), Error> {
        const TABLE: u64 = 3;
        // Valid page, inner shareable, accessed, not global, memory type 0.
        const PAGE: u64 = 3 | 3 << 8 | 1 << 10 | 1 << 11;
        const EL0: u64 = 1 << 6;
        const UXN: u64 = 1 << 54;
        let entry = |level: u64, index: u64, value: u64| {
            let at = TABLES - BASE + 0x1000 * level + 8 * index;
            self.memory.write(at, &value.to_le_bytes())
        };
        for (level, index) in [(0, 0), (1, BASE >> 30), (2, BASE >> 21 & 511)] {
            entry(level, index, (TABLES + 0x1000 * (level + 1)) | TABLE)?;
        }
        for page in CODE.step_by(0x1000) {
            entry(3, page >> 12 & 511, page | PAGE | EL0)?;
        }
        for page in PAGES.step_by(0x1000) {
            entry(3, page >> 12 & 511, page | PAGE | EL0 | UXN)?;
        }
        entry(3, VECTORS >> 12 & 511, VECTORS | PAGE | UXN)?;
        // Synchronous exceptions from EL0.
        self.memory
            .write(VECTORS + 0x400 - BASE, &HVC.to_le_bytes())?;
        for at in CODE.step_by(4) {
            self.memory.write(at - BASE, &BRK.to_le_bytes())?;
        }
        Ok(())
    }

    /// Runs a batch.
    ///
    /// # Errors
    /// When a program does not fit.
    pub fn run(&mut self, batch: &Batch) -> Result<Outcomes, Error> {
        self.write_code(&batch.words)?;
        self.blocks = !self.blocks;
        let window = batch.window.as_deref();
        let pages = window.map(spread).unwrap_or_default();
        self.memory.write(PAGES.start - BASE, &pages)?;
        let mut outcomes = Outcomes::default();
        for case in &batch.cases {
            if let Some(window) = window {
                self.memory.write(WINDOW.start - BASE, window)?;
            }
            self.set(case);
            let (end, state) = if self.blocks {
                self.run_blocks(batch.words.len())
            } else {
                self.run_steps(batch.words.len())
            };
            let mut after = Vec::new();
            if window.is_some() {
                after = vec![0; WINDOW_BYTES];
                self.memory.read(WINDOW.start - BASE, &mut after)?;
            }
            if end != End::Done {
                // What a faulting store did before it faulted is not defined.
                self.memory.write(PAGES.start - BASE, &pages)?;
            }
            outcomes.cases.push(Outcome {
                end,
                state,
                window: after,
            });
        }
        if window.is_some() {
            outcomes.pages = vec![0; PAGES_BYTES];
            self.memory.read(PAGES.start - BASE, &mut outcomes.pages)?;
        }
        Ok(outcomes)
    }

    fn write_code(&mut self, words: &[u32]) -> Result<(), Error> {
        if words.len() > MOST_WORDS {
            return Err(Error::TooLong(words.len()));
        }
        let rest = std::iter::repeat_n(BRK, MOST_WORDS - words.len());
        let words = words.iter().copied().chain([SVC]).chain(rest);
        let code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        self.memory.write(SLOT - BASE, &code)?;
        self.interpreter.forget_code();
        Ok(())
    }

    /// Runs the program at a stretch. After it stands an SVC, and where that goes, an HVC.
    fn run_blocks(&mut self, words: usize) -> (End, State) {
        let event = loop {
            let event = self.interpreter.run(&mut self.cpu);
            if event != Event::Wfi {
                break event;
            }
            // Nothing to wait for: go on, as the oracle does.
            self.cpu.reply(Reply::Done);
        };
        if event != Event::Hvc(0) {
            return (End::Signal(Signal::Alarm), self.get());
        }
        let (end, mut state) = self.exception();
        self.cpu.reply(Reply::Call([0; 4]));
        let after = SLOT + 4 * words as u64 + 4;
        if end == End::Signal(Signal::Sys) && state.pc == after {
            state.pc = after - 4;
            return (End::Done, state);
        }
        (end, state)
    }

    /// Runs the program instruction by instruction.
    fn run_steps(&mut self, words: usize) -> (End, State) {
        for i in 0..words {
            if self.cpu.core().pc != SLOT + 4 * i as u64 {
                break;
            }
            match self.interpreter.step(&mut self.cpu) {
                None => {}
                // Nothing to wait for: go on, as the oracle does.
                Some(Event::Wfi) => self.cpu.reply(Reply::Done),
                Some(event) => return (End::Signal(signal_of_event(event)), self.get()),
            }
            if self.cpu.core().pstate & 0xf != pstate::EL0T {
                return self.exception();
            }
        }
        (End::Done, self.get())
    }

    fn set(&mut self, state: &State) {
        let State {
            x,
            sp,
            pc: _,
            nzcv,
            fpcr,
            fpsr,
            tpidr,
            v,
        } = state;
        self.cpu.set_core(&CoreRegs {
            x: *x,
            pc: SLOT,
            pstate: *nzcv | pstate::EL0T,
        });
        self.cpu.set_saved(Saved::SpEl0, *sp);
        self.cpu.set_saved(Saved::TpidrEl0, *tpidr);
        self.cpu.set_simd(&SimdRegs {
            v: *v,
            fpcr: *fpcr as u32,
            fpsr: *fpsr as u32,
        });
    }

    fn get(&self) -> State {
        let CoreRegs { x, pc, pstate } = self.cpu.core();
        let SimdRegs { v, fpcr, fpsr } = self.cpu.simd();
        State {
            x,
            sp: self.cpu.saved(Saved::SpEl0),
            pc,
            nzcv: pstate & pstate::NZCV,
            fpcr: u64::from(fpcr),
            fpsr: u64::from(fpsr),
            tpidr: self.cpu.saved(Saved::TpidrEl0),
            v,
        }
    }

    /// The signal that Linux makes of the exception just taken, and the state it interrupted.
    fn exception(&self) -> (End, State) {
        let state = State {
            pc: self.cpu.saved(Saved::ElrEl1),
            nzcv: self.cpu.saved(Saved::SpsrEl1) & pstate::NZCV,
            ..self.get()
        };
        let syndrome = self.cpu.saved(Saved::EsrEl1);
        let signal = match (syndrome >> 26 & 0x3f, syndrome & 0x3f) {
            // Breakpoint instruction.
            (0x3c, _) => Signal::Trap,
            (0x15, _) => Signal::Sys,
            // PC alignment, SP alignment, alignment fault.
            (0x22 | 0x26, _) | (0x24, 0x21) => Signal::Bus,
            (0x20 | 0x24, _) => Signal::Segv,
            (_, _) => Signal::Ill,
        };
        (End::Signal(signal), state)
    }
}

/// Accesses outside of memory come as events as long as nothing else refuses them.
fn signal_of_event(event: Event) -> Signal {
    match event {
        Event::MmioRead { .. } | Event::MmioWrite { .. } => Signal::Segv,
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
        | Event::ExceptionLoop(_)
        | Event::Trapped(_) => Signal::Alarm,
    }
}

impl From<LayoutError> for Error {
    fn from(error: LayoutError) -> Self {
        Self::Io(std::io::Error::other(error))
    }
}
