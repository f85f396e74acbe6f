//! Where loads and stores go: enough of their encodings to aim them at the window.
//!
//! This is a second, independent reading of the addressing modes (Arm ARM C4.1.95). If it and the
//! opcode table disagree, the access misses the window and faults, which shows as a mismatch.

use crate::place::{PAGES, WINDOW};
use crate::rng::Rng;
use crate::state::State;

/// Bits `low + len - 1 : low`.
#[must_use]
pub const fn field(insn: u32, low: u32, len: u32) -> u32 {
    insn >> low & ((1 << len) - 1)
}

/// A signed field.
#[must_use]
pub const fn signed(insn: u32, low: u32, len: u32) -> i64 {
    ((field(insn, low, len) << (32 - len)) as i32 >> (32 - len)) as i64
}

/// An addressing mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Relative to the PC; bits 23:5.
    Literal,
    /// Base register and constant.
    Base {
        /// Base register, 31 for SP.
        n: usize,
        /// What is added before the access.
        offset: i64,
    },
    /// Base register and index register.
    Index {
        /// Base register, 31 for SP.
        n: usize,
        /// Index register, 31 for zero.
        m: usize,
        /// How the index is extended (bits 15:13).
        option: u32,
        /// How far it is shifted.
        shift: u32,
    },
}

impl Form {
    /// The addressing mode of a load or store.
    #[must_use]
    pub fn of(insn: u32) -> Self {
        let n = field(insn, 5, 5) as usize;
        let vector = field(insn, 26, 1) != 0;
        let base = |offset| Self::Base { n, offset };
        match insn & 0x3b00_0000 {
            0x1800_0000 => Self::Literal,
            0x2800_0000 | 0x2900_0000 => {
                let opc = field(insn, 30, 2);
                let scale = if vector { 2 + opc } else { 2 + opc / 2 };
                // LDPSW has opc 1: 2 + 0. Post-index is 01 in bits 24:23.
                let post = field(insn, 23, 2) == 1;
                base(if post {
                    0
                } else {
                    signed(insn, 15, 7) << scale
                })
            }
            0x3900_0000 => base(i64::from(field(insn, 10, 12)) << Self::size(insn)),
            0x3800_0000 => match (field(insn, 21, 1), field(insn, 10, 2)) {
                (0, 1) => base(0),
                (0, _) => base(signed(insn, 12, 9)),
                (_, 2) => Self::Index {
                    n,
                    m: field(insn, 16, 5) as usize,
                    option: field(insn, 13, 3),
                    shift: field(insn, 12, 1) * Self::size(insn),
                },
                (_, _) => base(0),
            },
            _ => base(0),
        }
    }

    /// log2 of the access size of single-register loads and stores.
    fn size(insn: u32) -> u32 {
        let quad = field(insn, 26, 1) != 0 && field(insn, 23, 1) != 0;
        if quad { 4 } else { field(insn, 30, 2) }
    }

    /// Sets registers so that the access hits the window, aligned if asked for.
    pub fn aim(self, state: &mut State, aligned: bool, rng: &mut Rng) {
        let mut target = target(rng);
        if aligned {
            target &= !15;
        }
        match self {
            Self::Literal => {}
            Self::Base { n, offset } => put_base(state, n, target.wrapping_sub(offset as u64), rng),
            Self::Index {
                n,
                m,
                option,
                shift,
            } => {
                let small = rng.below(64) as i64 - if option & 4 != 0 { 32 } else { 0 };
                let index = if m == 31 { 0 } else { small << shift };
                if let Some(x) = state.x.get_mut(m) {
                    // The upper half counts for nothing where the extension is from 32 bits.
                    let junk = if option & 1 == 0 { rng.bits() << 32 } else { 0 };
                    *x = if option & 1 == 0 {
                        u64::from(small as u32) | junk
                    } else {
                        small as u64
                    };
                }
                put_base(state, n, target.wrapping_sub(index as u64), rng);
            }
        }
    }
}

/// As [`inside`]; now and then near or beyond the ends of the pages.
fn target(rng: &mut Rng) -> u64 {
    if rng.one_in(64) {
        let edge = rng.pick(&[PAGES.start, PAGES.end]);
        return (edge + rng.below(128) - 64) & !(rng.pick(&[1, 8, 16]) - 1);
    }
    inside(rng)
}

/// An address in the window with room for 64 bytes on either side, mostly aligned.
pub fn inside(rng: &mut Rng) -> u64 {
    let room = WINDOW.end - WINDOW.start - 128;
    let align = rng.pick(&[1, 2, 4, 8, 16, 16, 16, 16]);
    (WINDOW.start + 64 + rng.below(room)) & !(align - 1)
}

/// Sets a base register; SP stays aligned, as its users must keep it.
fn put_base(state: &mut State, n: usize, value: u64, rng: &mut Rng) {
    // The top byte of an address is ignored.
    let tag = if rng.one_in(8) {
        rng.below(256) << 56
    } else {
        0
    };
    let value = value ^ tag;
    match state.x.get_mut(n) {
        Some(x) => *x = value,
        None => state.sp = value & !15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addressing_modes_of_known_encodings() {
        let base = |n, offset| Form::Base { n, offset };
        assert_eq!(Form::of(0xf940_0423), base(1, 8)); // ldr x3, [x1, #8]
        assert_eq!(Form::of(0x3dc0_0423), base(1, 16)); // ldr q3, [x1, #16]
        assert_eq!(Form::of(0xa9bf_7bfd), base(31, -16)); // stp x29, x30, [sp, #-16]!
        assert_eq!(Form::of(0xa8c1_7bfd), base(31, 0)); // ldp x29, x30, [sp], #16
        assert_eq!(Form::of(0xad40_8420), base(1, 16)); // ldp q0, q1, [x1, #16]
        assert_eq!(Form::of(0xf85f_8020), base(1, -8)); // ldur x0, [x1, #-8]
        assert_eq!(Form::of(0xc85f_7c20), base(1, 0)); // ldxr x0, [x1]
        assert_eq!(Form::of(0x5800_0040), Form::Literal);
        let index = Form::Index {
            n: 1,
            m: 2,
            option: 6,
            shift: 3,
        };
        assert_eq!(Form::of(0xf862_d820), index); // ldr x0, [x1, w2, sxtw #3]
    }
}
