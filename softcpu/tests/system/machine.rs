//! A small machine: CPUs with RAM, page tables, a clock that is set by hand, and the few
//! instructions that the tests are made of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aarch64::state::CoreRegs;
use aarch64::{Gpa, Saved, SysReg, pstate};
use memory::{Layout, Prot, Region};
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Event, Interpreter};

pub const RAM: u64 = 0x4000_0000;
pub const RAM_BYTES: u64 = 8 << 20;
/// Where code starts, and where the vectors are.
pub const CODE: u64 = RAM;
pub const VECTORS: u64 = RAM + 0x1_0000;
pub const DATA: u64 = RAM + 0x2_0000;
/// Page tables grow from here.
const TABLES: u64 = RAM + 0x10_0000;

#[derive(Debug, Default)]
pub struct HandClock(pub AtomicU64);

impl Clock for HandClock {
    fn counter(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
    fn frequency(&self) -> u64 {
        1_000_000
    }
}

pub struct Machine {
    pub cpu: Cpu,
    pub interpreter: Interpreter,
    pub layout: Arc<Layout>,
    pub cluster: Arc<Cluster>,
    pub clock: Arc<HandClock>,
}

impl Machine {
    pub fn new() -> Self {
        let ram = Arc::new(Region::new(RAM_BYTES).unwrap());
        let layout = Layout::default().with(Gpa(RAM), ram, Prot::ReadWrite);
        let cluster = Arc::new(Cluster::new(2));
        Self::of(0, Arc::new(layout.unwrap()), cluster, Arc::default())
    }

    fn of(index: usize, layout: Arc<Layout>, cluster: Arc<Cluster>, clock: Arc<HandClock>) -> Self {
        let cpu = Cpu::new(index, cluster.clone(), clock.clone(), layout.clone());
        let mut machine = Self {
            cpu,
            interpreter: Interpreter::new(10_000),
            layout,
            cluster,
            clock,
        };
        machine.set(Saved::VbarEl1, VECTORS);
        machine.go(CODE, pstate::EL1H | pstate::DAIF);
        // Each vector tells which one it is.
        for n in 0..16 {
            machine.code(VECTORS + 0x80 * n, &[hvc(0x100 + n as u32)]);
        }
        machine
    }

    /// The second CPU of the same machine, with the same translation registers.
    pub fn second(&self) -> Self {
        let (layout, cluster) = (self.layout.clone(), self.cluster.clone());
        let mut other = Self::of(1, layout, cluster, self.clock.clone());
        for reg in [
            Saved::Ttbr0El1,
            Saved::Ttbr1El1,
            Saved::TcrEl1,
            Saved::MairEl1,
            Saved::SctlrEl1,
        ] {
            other.set(reg, self.get(reg));
        }
        other
    }

    pub fn code(&self, at: u64, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            let at = Gpa(at + 4 * i as u64);
            self.layout.write(at, &word.to_le_bytes()).unwrap();
        }
    }

    pub fn store(&self, at: u64, value: u64) {
        self.layout.write(Gpa(at), &value.to_le_bytes()).unwrap();
    }

    pub fn load(&self, at: u64) -> u64 {
        self.layout.load_u64(Gpa(at)).unwrap()
    }

    pub fn set(&mut self, reg: Saved, value: u64) {
        assert!(self.cpu.set_sysreg(reg.sysreg(), value));
    }

    pub fn get(&self, reg: Saved) -> u64 {
        self.cpu.sysreg(reg.sysreg()).unwrap()
    }

    pub fn set_x(&mut self, n: usize, value: u64) {
        let mut core = self.cpu.core();
        core.x[n] = value;
        self.cpu.set_core(&core);
    }

    pub fn x(&self, n: usize) -> u64 {
        self.cpu.core().x[n]
    }

    /// Goes to `pc` in a mode.
    pub fn go(&mut self, pc: u64, pstate: u64) {
        let core = CoreRegs {
            pc,
            pstate,
            ..self.cpu.core()
        };
        self.cpu.set_core(&core);
    }

    pub fn run(&mut self) -> Event {
        self.interpreter.run(&mut self.cpu)
    }

    /// Puts code at the start and runs it at EL1 until an event.
    pub fn exec(&mut self, words: &[u32]) -> Event {
        self.exec_at(words, pstate::EL1H | pstate::DAIF)
    }

    /// Puts code at the start and runs it in a mode until an event.
    pub fn exec_at(&mut self, words: &[u32], pstate: u64) -> Event {
        self.code(CODE, words);
        self.interpreter.forget_code();
        self.go(CODE, pstate);
        self.run()
    }

    /// Turns the MMU on with 4K granules, everything of RAM mapped flat for EL1 by blocks of 2M
    /// in the low half, and empty tables besides. Returns the tables.
    pub fn mmu_on(&mut self) -> Tables {
        let mut tables = Tables::new(self.layout.clone(), 12);
        for block in (RAM..RAM + RAM_BYTES).step_by(2 << 20) {
            tables.map(block, block, 2, VALID | EL1_RW);
        }
        self.set(Saved::MairEl1, 0x00ff);
        self.set(Saved::TcrEl1, TCR_4K);
        self.set(Saved::Ttbr0El1, tables.root | 1 << 48);
        self.set(Saved::Ttbr1El1, tables.root);
        self.set(Saved::SctlrEl1, self.get(Saved::SctlrEl1) | 1);
        tables
    }
}

/// 48-bit addresses in both halves, 4K, 40-bit physical, 16-bit ASIDs from TTBR0.
pub const TCR_4K: u64 = 16 | 16 << 16 | 2 << 30 | 2 << 32 | 1 << 36;
/// Valid, accessed, inner shareable, normal memory (attribute 0).
pub const VALID: u64 = 1 | 1 << 10 | 3 << 8;
pub const EL1_RW: u64 = 0;
pub const USER_RW: u64 = 1 << 6;
pub const READ_ONLY: u64 = 2 << 6;
pub const NOT_GLOBAL: u64 = 1 << 11;
pub const DEVICE: u64 = 1 << 2;
pub const PXN: u64 = 1 << 53;
pub const UXN: u64 = 1 << 54;

/// Page tables in guest memory.
pub struct Tables {
    layout: Arc<Layout>,
    granule: u32,
    pub root: u64,
    next: u64,
}

impl Tables {
    pub fn new(layout: Arc<Layout>, granule: u32) -> Self {
        let mut tables = Self {
            layout,
            granule,
            root: 0,
            next: TABLES,
        };
        tables.root = tables.fresh();
        tables
    }

    fn fresh(&mut self) -> u64 {
        let table = self.next;
        self.next += 1 << self.granule;
        table
    }

    /// Address of the descriptor for `va` at a level, making tables on the way.
    pub fn slot(&mut self, va: u64, level: u32) -> u64 {
        let stride = self.granule - 3;
        let mut table = self.root;
        let mut at = 0;
        while at <= level {
            let shift = self.granule + stride * (3 - at);
            let bits = if shift + stride > 48 {
                48 - shift
            } else {
                stride
            };
            let slot = table + 8 * (va >> shift & ((1 << bits) - 1));
            if at == level {
                return slot;
            }
            let entry = self.layout.load_u64(Gpa(slot)).unwrap();
            table = if entry & 3 == 3 {
                entry & 0xffff_ffff_f000
            } else {
                let table = self.fresh();
                self.write(slot, table | 3);
                table
            };
            at += 1;
        }
        0
    }

    pub fn write(&self, slot: u64, entry: u64) {
        self.layout.write(Gpa(slot), &entry.to_le_bytes()).unwrap();
    }

    /// Maps a page (level 3) or block.
    pub fn map(&mut self, va: u64, pa: u64, level: u32, attributes: u64) {
        let slot = self.slot(va, level);
        let page = if level == 3 && attributes & 1 != 0 {
            2
        } else {
            0
        };
        self.write(slot, pa | attributes | page);
    }
}

pub const fn hvc(imm: u32) -> u32 {
    0xd400_0002 | imm << 5
}
pub const fn svc(imm: u32) -> u32 {
    0xd400_0001 | imm << 5
}
pub const fn brk(imm: u32) -> u32 {
    0xd420_0000 | imm << 5
}
pub const ERET: u32 = 0xd69f_03e0;
pub const NOP: u32 = 0xd503_201f;
pub const WFI: u32 = 0xd503_207f;
pub const DSB: u32 = 0xd503_3f9f;
pub const ISB: u32 = 0xd503_3fdf;
pub const DMB: u32 = 0xd503_3fbf;

/// `MRS Xt, reg`
pub const fn mrs(t: u32, reg: SysReg) -> u32 {
    0xd520_0000 | (reg.0 as u32) << 5 | t
}
/// `MSR reg, Xt`
pub const fn msr(reg: SysReg, t: u32) -> u32 {
    0xd500_0000 | (reg.0 as u32) << 5 | t
}
/// `SYS #op1, Cn, Cm, #op2, Xt`
pub const fn sys(op1: u8, crn: u8, crm: u8, op2: u8, t: u32) -> u32 {
    msr(SysReg::new(1, op1, crn, crm, op2), t)
}
/// `LDR Xt, [Xn]`
pub const fn ldr(t: u32, n: u32) -> u32 {
    0xf940_0000 | n << 5 | t
}
/// `STR Xt, [Xn]`
pub const fn str(t: u32, n: u32) -> u32 {
    0xf900_0000 | n << 5 | t
}
/// `LDTR Xt, [Xn]`
pub const fn ldtr(t: u32, n: u32) -> u32 {
    0xf840_0800 | n << 5 | t
}
/// `MOVZ Xd, #imm`
pub const fn mov(d: u32, imm: u32) -> u32 {
    0xd280_0000 | imm << 5 | d
}
/// `ADD Xd, Xn, #imm`
pub const fn add(d: u32, n: u32, imm: u32) -> u32 {
    0x9100_0000 | imm << 10 | n << 5 | d
}
/// `BR Xn`
pub const fn br(n: u32) -> u32 {
    0xd61f_0000 | n << 5
}
