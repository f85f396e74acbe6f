//! One instruction at a time, for owners whose guest runs elsewhere: an accelerator that cannot
//! complete an access has it executed here.
//!
//! Nothing is kept from one instruction to the next, neither translations nor decoded code, since
//! the owner's guest changes both unseen. Interrupts, timers, kicks and debuggers are the owner's.

use aarch64::Gpa;

use crate::block::{Block, decode_one};
use crate::cpu::{Cpu, Event};
use crate::interp::{exec_once, stopped, table};
use crate::table::Kind;

/// Fixed bits of `DC` by address but for `DC ZVA`: CRn 7, CRm 0b011x or 0b1xxx, op2 1.
const DC_BY_ADDRESS: [(u32, u32); 2] = [(0xfff8_fee0, 0xd508_7620), (0xfff8_f8e0, 0xd508_7820)];
/// Fixed bits of `DC ZVA`.
const DC_ZVA: (u32, u32) = (0xffff_ffe0, 0xd50b_7420);
/// `AT` shares their encoding space: CRm 0b100x.
const AT: (u32, u32) = (0xfff8_fee0, 0xd508_7820);

/// Whether an instruction does nothing but access memory: loads, stores, atomics, maintenance of
/// data caches by address. `None` if the model does not have the instruction.
#[must_use]
pub fn is_access(insn: u32) -> Option<bool> {
    let is = |(mask, value): (u32, u32)| insn & mask == value;
    let (row, _) = table().decode(insn)?;
    Some(match row.kind {
        Kind::Memory | Kind::SimdMemory => true,
        Kind::Special => is(DC_ZVA) || DC_BY_ADDRESS.into_iter().any(is) && !is(AT),
        Kind::Plain | Kind::Simd | Kind::Branch | Kind::System => false,
    })
}

impl Cpu {
    /// Forgets all translations.
    pub fn forget_translations(&mut self) {
        self.flush_translations();
    }

    /// The instruction at the PC, and where it is. `None` if fetching it would fail.
    pub fn fetch(&mut self) -> Option<(u32, Gpa)> {
        let gpa = self.fetch_address().ok()?;
        let mut bytes = [0; 4];
        self.frames.layout().read(gpa, &mut bytes).ok()?;
        Some((u32::from_le_bytes(bytes), gpa))
    }

    /// Executes `insn` at the PC, with the answers given so far. `None` when it is done or has
    /// taken an exception; else the owner answers ([`Cpu::reply`]) and, unless that was an abort,
    /// executes it again.
    pub fn execute(&mut self, insn: u32) -> Option<Event> {
        self.replay.rewind();
        let (op, _) = decode_one(insn, 0, self.fp_enabled(), table());
        let block = Block {
            ops: Box::new([op]),
        };
        match exec_once(self, &block) {
            Ok(()) => {
                self.replay.finish();
                None
            }
            Err(stop) => stopped(self, stop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_told_from_the_rest() {
        for (insn, name) in [
            (0xa940_0c22, "ldp x2, x3, [x1]"),
            (0xb840_4420, "ldr w0, [x1], #4"),
            (0x3dc0_0020, "ldr q0, [x1]"),
            (0x885f_7c20, "ldxr w0, [x1]"),
            (0xb820_0022, "ldadd w0, w2, [x1]"),
            (0xd50b_7420, "dc zva, x0"),
            (0xd508_7620, "dc ivac, x0"),
            (0xd50b_7e20, "dc civac, x0"),
            (0xd50b_7a20, "dc cvac, x0"),
        ] {
            assert_eq!(is_access(insn), Some(true), "{name}");
        }
        for (insn, name) in [
            (0xd503_201f, "nop"),
            (0xd508_7800, "at s1e1r, x0"),
            (0xd508_7840, "at s1e0r, x0"),
            (0xd508_7820, "at s1e1w, x0"),
            (0xd508_7640, "dc isw, x0"),
            (0xd50b_7520, "ic ivau, x0"),
            (0xd53b_0020, "mrs x0, ctr_el0"),
            (0x1400_0000, "b ."),
            (0xd69f_03e0, "eret"),
        ] {
            assert_eq!(is_access(insn), Some(false), "{name}");
        }
        assert_eq!(is_access(0xa400_4000), None, "ld1b of SVE");
        assert_eq!(is_access(0), None, "udf");
    }
}
