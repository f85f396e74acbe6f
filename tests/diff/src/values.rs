//! Operand values: the edges where instructions go wrong, more often than chance would have them.

use crate::rng::Rng;
use crate::state::State;

const F32: [u32; 28] = [
    0,
    1,
    0x7f_ffff, // largest denormal
    0x80_0000, // smallest normal
    0x80_0001,
    0x0c00_0000, // its square underflows
    0x1a00_0000,
    0x3300_0000, // half an ulp of 1
    0x3380_0000,
    0x3f00_0000, // 0.5
    0x3f7f_ffff,
    0x3f80_0000, // 1
    0x3f80_0001,
    0x3fc0_0000, // 1.5
    0x4020_0000, // 2.5
    0x477f_e000, // 65504, the largest half
    0x477f_f000, // 65520, halfway to the next
    0x4b00_0001, // 2^23 + 1
    0x4eff_ffff,
    0x4f00_0000, // 2^31
    0x4f80_0000, // 2^32
    0x5f00_0000, // 2^63
    0x5f80_0000, // 2^64
    0x7f7f_ffff, // largest
    0x7f80_0000, // infinity
    0x7f80_0001, // signalling NaN
    0x7fc0_0000, // quiet NaN
    0x7fe1_2345,
];

const F64: [u64; 28] = [
    0,
    1,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x1ff0_0000_0000_0000, // its square underflows
    0x36a0_0000_0000_0000, // the smallest float
    0x3690_0000_0000_0000, // half of it
    0x380f_ffff_ffff_ffff, // just below the smallest normal float
    0x3ca0_0000_0000_0000,
    0x3fe0_0000_0000_0000, // 0.5
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000, // 1
    0x3ff0_0000_0000_0001,
    0x3ff0_0000_1000_0000, // halfway between floats
    0x3ff8_0000_0000_0000,
    0x4004_0000_0000_0000, // 2.5
    0x40ef_fe00_0000_0000, // 65520
    0x41df_ffff_ffc0_0000, // 2^31 - 1
    0x41e0_0000_0000_0000,
    0x41ef_ffff_fff0_0000, // 2^32 - 0.5
    0x43e0_0000_0000_0000, // 2^63
    0x43f0_0000_0000_0000, // 2^64
    0x47ef_ffff_f000_0000, // rounds to beyond the largest float
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff8_0000_0000_0000,
    0x7ffa_bcde_0123_4567,
];

const F16: [u16; 16] = [
    0, 1, 0x3ff, 0x400, 0x401, 0x1400, 0x3800, 0x3c00, 0x3c01, 0x3e00, 0x6bff, 0x7bff, 0x7c00,
    0x7c01, 0x7e00, 0x7f55,
];

/// Any value for a general register.
pub fn general(rng: &mut Rng) -> u64 {
    let r = rng.bits();
    match r & 15 {
        0..=3 => rng.bits(),
        4 => 0,
        5 => u64::MAX,
        6 => 1 << (r >> 8 & 63),
        7 => (1 << (r >> 8 & 63)) - 1,
        8 => !(1 << (r >> 8 & 63)),
        9 => r >> 8 & 0x7f,
        10 => u64::from(rng.word()),
        11 => ((1 << 31) + (r >> 8 & 3) - 2) | (u64::from(r & 0x80 != 0) * (0xffff_ffff << 32)),
        12 => (1 << 63) + (r >> 8 & 3) - 2,
        13 => (r >> 8 & 0x7f).wrapping_neg(),
        14 => rng.bits() >> (r >> 8 & 63),
        _ => (rng.bits() as i64 >> (r >> 8 & 63)) as u64,
    }
}

fn integer_lane(rng: &mut Rng, bits: u32) -> u64 {
    let r = rng.bits();
    let top = 1 << (bits - 1);
    match r & 7 {
        0 => 0,
        1 => u64::MAX,
        2 => top,
        3 => top - 1,
        4 => 1 << (r >> 8 & u64::from(bits - 1)),
        5 => (r >> 8 & 0x1f).wrapping_sub(16),
        _ => r >> 8 ^ r << 40,
    }
}

fn half(rng: &mut Rng) -> u64 {
    let r = rng.bits();
    let sign = (r >> 16 & 1) << 15;
    sign | match r & 3 {
        0 => r >> 32 & 0x7fff,
        _ => u64::from(rng.pick(&F16)),
    }
}

fn single(rng: &mut Rng) -> u64 {
    let r = rng.bits();
    let sign = (r >> 16 & 1) << 31;
    sign | match r & 7 {
        0 => r >> 32 & 0x7fff_ffff,
        // Near 1, for sums that cancel.
        1 => 0x3f00_0000 + (r >> 32 & 0x1ff_ffff),
        // Few bits set, for exact results and ties.
        2 => (r >> 32 & 0xff) << 23 | (r >> 44 & 7) << 20,
        // Round about an edge.
        3 => {
            u64::from(rng.pick(&F32))
                .wrapping_add(r >> 33 & 7)
                .wrapping_sub(3)
                & 0x7fff_ffff
        }
        _ => u64::from(rng.pick(&F32)),
    }
}

fn double(rng: &mut Rng) -> u64 {
    let r = rng.bits();
    let sign = (r >> 16 & 1) << 63;
    sign | match r & 7 {
        0 => rng.bits() >> 1,
        1 => 0x3fe0_0000_0000_0000 + (rng.bits() >> 10),
        2 => (r >> 32 & 0x7ff) << 52 | (r >> 44 & 7) << 49,
        3 => rng.pick(&F64).wrapping_add(r >> 33 & 7).wrapping_sub(3) & (u64::MAX >> 1),
        _ => rng.pick(&F64),
    }
}

/// 64 bits of a vector register: lanes of one kind.
fn half_vector(rng: &mut Rng, kind: u64) -> u64 {
    let mut lanes = |bits: u32, lane: fn(&mut Rng, u32) -> u64| {
        let mask = u64::MAX >> (64 - bits);
        (0..64 / bits).fold(0, |all, i| all | (lane(rng, bits) & mask) << (i * bits))
    };
    match kind {
        0 => lanes(8, integer_lane),
        1 => lanes(16, integer_lane),
        2 => lanes(32, integer_lane),
        3 => integer_lane(rng, 64),
        4 | 13..=14 => lanes(16, |rng, _| half(rng)),
        5..=8 => lanes(32, |rng, _| single(rng)),
        9..=12 => double(rng),
        _ => rng.bits(),
    }
}

/// Any value for a vector register.
pub fn vector(rng: &mut Rng, kind: u64) -> u128 {
    let low = half_vector(rng, kind);
    let high = if rng.one_in(8) {
        0
    } else {
        half_vector(rng, kind)
    };
    u128::from(high) << 64 | u128::from(low)
}

/// FPCR: all rounding modes; FZ16, FZ, DN and AHP now and then.
fn fpcr(rng: &mut Rng) -> u64 {
    let r = rng.bits();
    let one_in_four = |at: u32| u64::from(r >> at & 3 == 0);
    let mode = if r & 1 == 0 { 0 } else { r >> 1 & 3 };
    mode << 22
        | one_in_four(6) << 19
        | one_in_four(8) << 24
        | one_in_four(10) << 25
        | one_in_four(12) << 26
}

/// A random state.
pub fn state(rng: &mut Rng) -> State {
    let kind = rng.below(16);
    State {
        x: std::array::from_fn(|_| general(rng)),
        sp: general(rng) & !15,
        pc: 0,
        nzcv: rng.below(16) << 28,
        fpcr: fpcr(rng),
        fpsr: if rng.one_in(4) {
            rng.bits() & 0x0800_009f
        } else {
            0
        },
        tpidr: rng.bits(),
        v: std::array::from_fn(|_| {
            let kind = if rng.one_in(8) { rng.below(14) } else { kind };
            vector(rng, kind)
        }),
    }
}
