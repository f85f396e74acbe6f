//! Single random instructions, and the system registers that guests poke at.

use aarch64::{Saved, SysReg};
use softcpu::interp::table;

use super::asm;
use crate::bytes::Bytes;

/// Where the exception vectors are.
pub const VBAR_EL1: SysReg = SysReg::new(3, 0, 12, 0, 0);

/// An instruction: one of the opcode table with random operands, an access to a system register, or
/// any word.
pub fn any(bytes: &mut Bytes<'_>) -> u32 {
    match bytes.below(16) {
        0 => bytes.u32(),
        1 => asm::msr(system_register(bytes), bytes.u32() % 32),
        2 => asm::mrs(system_register(bytes), bytes.u32() % 32),
        // Hints, barriers, cache and TLB maintenance, PSTATE: all of op0 0 and 1.
        3 => 0xd500_0000 | bytes.u32() & 0xf_ffff,
        _ => known(bytes),
    }
}

/// An instruction that the CPU most likely knows.
pub fn known(bytes: &mut Bytes<'_>) -> u32 {
    let rows = table().rows();
    let row = &rows[bytes.below(rows.len() as u64) as usize];
    bytes.u32() & !row.mask | row.value
}

/// A system register: saved ones, the GIC's, timers, identification, or any encoding.
pub fn system_register(bytes: &mut Bytes<'_>) -> SysReg {
    match bytes.below(8) {
        0 => SysReg(bytes.u16()),
        1 => SysReg::new(3, 0, 0, bytes.u8() % 8, bytes.u8() % 8),
        2 => SysReg::new(3, 3, bytes.u8() % 16, bytes.u8() % 16, bytes.u8() % 8),
        3..=5 => interrupt_register(bytes),
        _ => bytes.pick(Saved::ALL).sysreg(),
    }
}

/// One of the GIC's.
pub fn interrupt_register(bytes: &mut Bytes<'_>) -> SysReg {
    match bytes.below(8) {
        0 => SysReg::new(3, 0, 4, 6, 0),
        _ => SysReg::new(3, 0, 12, 8 + bytes.u8() % 5, bytes.u8() % 8),
    }
}
