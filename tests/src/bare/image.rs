//! What lies in the RAM of a bare-metal guest.
//!
//! | offset | what |
//! |---|---|
//! | 0 | the program |
//! | [`SECONDARY`] | the program of the other vCPUs, if it is another one |
//! | [`VECTORS`] | exception vectors |
//! | [`TABLE`] | the page table: an identity map of the first 2 GiB |
//! | [`DATA`] | the program's own |
//!
//! A vector that the program leaves alone stores its offset in the table to
//! [`EXCEPTION`] and returns; if it is one for synchronous exceptions, to the
//! instruction after the one that took it. It spoils X30.

use aarch64::machine::RAM_BASE;
use aarch64::state::CoreRegs;
use aarch64::{Saved, Size, VcpuId};
use memory::Region;

use super::asm::{Asm, X};
use super::{DATA as DATA_GPA, DEV, DEVICE, EXCEPTION, MEM, REPORT};

/// Offset of the other vCPUs' program.
pub const SECONDARY: u64 = 0x4000;
/// Offset of the exception vectors.
pub const VECTORS: u64 = 0x8000;
/// Offset of the page table.
pub const TABLE: u64 = 0x9000;
/// Offset of the program's data.
pub const DATA: u64 = 0x1_0000;
/// Bytes of RAM: a multiple of every host's page size.
pub const BYTES: u64 = 0x4_0000;

/// Vector of synchronous exceptions from EL1.
pub const SYNC: u64 = 0x200;
/// Vector of IRQs at EL1.
pub const IRQ: u64 = 0x280;
/// Vector of FIQs at EL1.
pub const FIQ: u64 = 0x300;
/// Vector of synchronous exceptions from EL0.
pub const SYNC_EL0: u64 = 0x400;

const VECTOR_BYTES: u64 = 0x80;
/// Vectors of each kind of exception come in this order, four times.
const KINDS: u64 = 4;

/// The translation regime of the page table below: 4 KiB granule, 39 bits of address, one table of
/// 1 GiB blocks, inner shareable and cacheable.
const TCR: u64 = 25 | 0b01 << 8 | 0b01 << 10 | 0b11 << 12 | 1 << 23;
/// Attribute 0 is a device, attribute 1 cacheable memory.
const MAIR: u64 = 0xff00;
/// MMU, data cache, instruction cache.
const SCTLR_ON: u64 = 1 | 1 << 2 | 1 << 12;
/// A block at 0 for devices: accessed, never executed.
const DEVICE_BLOCK: u64 = 0b01 | 1 << 10 | 0b11 << 53;
/// The block at 1 GiB for RAM: accessed, inner shareable, attribute 1.
const RAM_BLOCK: u64 = 0b01 | 1 << 10 | 0b11 << 8 | 1 << 2 | RAM_BASE.0;

/// A program with its exception handlers.
#[derive(Clone, Debug)]
pub struct Program {
    code: Asm,
    secondary: Option<Asm>,
    handlers: Vec<(u64, Asm)>,
    mmu: bool,
}

impl Program {
    /// The program that `build` writes. Where it ends, it stays.
    #[must_use]
    pub fn new(build: impl FnOnce(&mut Asm)) -> Self {
        Self {
            code: complete(build),
            secondary: None,
            handlers: Vec::new(),
            mmu: true,
        }
    }

    /// With another program for the vCPUs but the first.
    #[must_use]
    pub fn others(mut self, build: impl FnOnce(&mut Asm)) -> Self {
        self.secondary = Some(complete(build));
        self
    }

    /// With this handler at `vector`.
    #[must_use]
    pub fn on(mut self, vector: u64, build: impl FnOnce(&mut Asm)) -> Self {
        let mut handler = Asm::new();
        build(&mut handler);
        assert!(handler.len() <= VECTOR_BYTES, "a handler fits its vector");
        self.handlers.push((vector, handler));
        self
    }

    /// With the MMU and the caches off, as at reset.
    #[must_use]
    pub fn without_mmu(mut self) -> Self {
        self.mmu = false;
        self
    }

    /// Puts it into RAM.
    pub(super) fn load(&self, ram: &Region) {
        let put = |at: u64, bytes: &[u8]| ram.write(at, bytes).expect("RAM is large enough");
        put(0, &self.code.bytes());
        if let Some(secondary) = &self.secondary {
            put(SECONDARY, &secondary.bytes());
        }
        for slot in 0..4 * KINDS {
            let at = slot * VECTOR_BYTES;
            put(VECTORS + at, &default_handler(at).bytes());
        }
        for (vector, handler) in &self.handlers {
            put(VECTORS + vector, &handler.bytes());
        }
        put(TABLE, &DEVICE_BLOCK.to_le_bytes());
        put(TABLE + 8, &RAM_BLOCK.to_le_bytes());
    }

    /// Where a vCPU starts.
    #[must_use]
    pub fn entry(&self, vcpu: VcpuId) -> u64 {
        match &self.secondary {
            Some(_) if vcpu.0 > 0 => RAM_BASE.0 + SECONDARY,
            Some(_) | None => RAM_BASE.0,
        }
    }

    /// The general registers that a vCPU starts with.
    #[must_use]
    pub fn core(&self, vcpu: VcpuId) -> CoreRegs {
        let mut core = CoreRegs {
            pc: self.entry(vcpu),
            ..CoreRegs::default()
        };
        core.x[MEM.0 as usize] = DATA_GPA.0;
        core.x[DEV.0 as usize] = DEVICE.0;
        core
    }

    /// The system registers it starts with that differ from their reset values.
    #[must_use]
    pub fn sysregs(&self) -> Vec<(Saved, u64)> {
        let mut registers = vec![
            (Saved::VbarEl1, RAM_BASE.0 + VECTORS),
            (Saved::SpEl1, RAM_BASE.0 + BYTES),
            // Floating point and vectors do not trap.
            (Saved::CpacrEl1, 0b11 << 20),
        ];
        if self.mmu {
            let on = Saved::SctlrEl1.reset_value() | SCTLR_ON;
            registers.extend([
                (Saved::Ttbr0El1, RAM_BASE.0 + TABLE),
                (Saved::TcrEl1, TCR),
                (Saved::MairEl1, MAIR),
                (Saved::SctlrEl1, on),
            ]);
        }
        registers
    }
}

/// A program that stays where it ends.
fn complete(build: impl FnOnce(&mut Asm)) -> Asm {
    let mut code = Asm::new();
    build(&mut code);
    code.stay();
    assert!(code.len() <= SECONDARY, "a program fits its place");
    code
}

fn default_handler(vector: u64) -> Asm {
    let (x, elr) = (X(30), Saved::ElrEl1.sysreg());
    let mut a = Asm::new();
    a.mov(x, vector);
    a.store(Size::D, x, DEV, EXCEPTION.0 - DEVICE.0);
    if (vector / VECTOR_BYTES).is_multiple_of(KINDS) {
        a.mrs(x, elr).add_imm(x, x, 4).msr(elr, x);
    }
    a.eret();
    a
}

impl Asm {
    /// Tells the test the value of a register: a store to [`REPORT`].
    pub fn report(&mut self, x: X) -> &mut Self {
        self.store(Size::D, x, DEV, REPORT.0 - DEVICE.0)
    }
}
