//! Advanced SIMD three different and scalar three different (C4.1.97): results wider or narrower
//! than the sources.
//!
//! Most are the operations of [`three same`](super::simd_three_same) on widened lanes. The
//! 64-bit `PMULL` is part of `FEAT_PMULL`.

use super::simd_lane::{Lane, Narrow};
use super::simd_op::{Long, Map, Wide, halves, narrow2, ops, regs, scalars, v2, v3};
use super::simd_three_same::{Aba, Abd, Add, Mla, Mls, Mul, Pmul, Sub};
use crate::emitter::{Emitter, Vec2};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

/// Twice the product; of widened lanes only the square of the least value is too much.
#[inline(always)]
fn double_product<T: Lane>(a: T, b: T, qc: &mut bool) -> T {
    let p = a.mul(b);
    add(p, p, qc)
}

#[inline(always)]
fn add<T: Lane>(a: T, b: T, qc: &mut bool) -> T {
    let r = a.sat_add(b);
    *qc |= r != a.add(b);
    r
}

#[inline(always)]
fn sub<T: Lane>(a: T, b: T, qc: &mut bool) -> T {
    let r = a.sat_sub(b);
    *qc |= r != a.sub(b);
    r
}

/// The high half, rounded if `round`.
#[inline(always)]
fn high_half<T: Narrow>(sum: T, round: bool) -> T::Half {
    let half = T::BITS / 2;
    let bias = if round { T::ONE.shl(half - 1) } else { T::ZERO };
    sum.add(bias).shr(half).truncate()
}

ops! {
    /// `SQDMULL`
    Qdmull<T: Lane>(a, b; _, qc) -> T = double_product(a, b, qc);
    /// `SQDMLAL`
    Qdmlal<T: Lane>(d, a, b; _, qc) -> T = {
        let p = double_product(a, b, qc);
        add(d, p, qc)
    };
    /// `SQDMLSL`
    Qdmlsl<T: Lane>(d, a, b; _, qc) -> T = {
        let p = double_product(a, b, qc);
        sub(d, p, qc)
    };
    /// `ADDHN`
    Addhn<T: Narrow>(a, b; _, _) -> T::Half = high_half(a.add(b), false);
    /// `RADDHN`
    Raddhn<T: Narrow>(a, b; _, _) -> T::Half = high_half(a.add(b), true);
    /// `SUBHN`
    Subhn<T: Narrow>(a, b; _, _) -> T::Half = high_half(a.sub(b), false);
    /// `RSUBHN`
    Rsubhn<T: Narrow>(a, b; _, _) -> T::Half = high_half(a.sub(b), true);
}

/// `PMULL` of 64-bit lanes: the low ones, or the high ones.
#[derive(Clone, Copy, Debug)]
pub struct Pmull64<const HIGH: bool>;

impl<const HIGH: bool> Vec2 for Pmull64<HIGH> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        let lane = |v: u128| (if HIGH { v >> 64 } else { v }) as u64;
        carryless_product(lane(a), lane(b))
    }
}

/// The product of polynomials over GF(2), four bits of `a` at a time.
fn carryless_product(a: u64, b: u64) -> u128 {
    let mut multiples = [0u128; 16];
    for i in 1..16 {
        multiples[i] = if i % 2 == 0 {
            multiples[i / 2] << 1
        } else {
            multiples[i - 1] ^ u128::from(b)
        };
    }
    (0..16).rev().fold(0, |product, i| {
        product << 4 ^ multiples[(a >> (4 * i) & 15) as usize]
    })
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! long {
        (($name:literal $u:literal $opcode:literal $f:ident $map:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "1.....", $opcode, "00.........."), regs, $f::<E, $map<$op, $t, $n, $high>>);
        };
    }
    macro_rules! longs {
        ($($name:literal $u:literal $opcode:literal $f:ident $map:ident $op:ident: $($t:ident)*;)*) => {$(
            halves!(long ($name $u $opcode $f $map $op) $($t)*);
        )*};
    }
    longs! {
        "SADDL" "0" "0000" v2 Long Add: i8 i16 i32;
        "UADDL" "1" "0000" v2 Long Add: u8 u16 u32;
        "SADDW" "0" "0001" v2 Wide Add: i8 i16 i32;
        "UADDW" "1" "0001" v2 Wide Add: u8 u16 u32;
        "SSUBL" "0" "0010" v2 Long Sub: i8 i16 i32;
        "USUBL" "1" "0010" v2 Long Sub: u8 u16 u32;
        "SSUBW" "0" "0011" v2 Wide Sub: i8 i16 i32;
        "USUBW" "1" "0011" v2 Wide Sub: u8 u16 u32;
        "SABAL" "0" "0101" v3 Long Aba: i8 i16 i32;
        "UABAL" "1" "0101" v3 Long Aba: u8 u16 u32;
        "SABDL" "0" "0111" v2 Long Abd: i8 i16 i32;
        "UABDL" "1" "0111" v2 Long Abd: u8 u16 u32;
        "SMLAL" "0" "1000" v3 Long Mla: i8 i16 i32;
        "UMLAL" "1" "1000" v3 Long Mla: u8 u16 u32;
        "SQDMLAL" "0" "1001" v3 Long Qdmlal: i16 i32;
        "SMLSL" "0" "1010" v3 Long Mls: i8 i16 i32;
        "UMLSL" "1" "1010" v3 Long Mls: u8 u16 u32;
        "SQDMLSL" "0" "1011" v3 Long Qdmlsl: i16 i32;
        "SMULL" "0" "1100" v2 Long Mul: i8 i16 i32;
        "UMULL" "1" "1100" v2 Long Mul: u8 u16 u32;
        "SQDMULL" "0" "1101" v2 Long Qdmull: i16 i32;
        "PMULL" "0" "1110" v2 Long Pmul: u8;
    }
    t.row(S, "PMULL (1D)", "00001110 111..... 111000.. ........", regs, v2::<E, Pmull64<false>>);
    t.row(S, "PMULL (2D)", "01001110 111..... 111000.. ........", regs, v2::<E, Pmull64<true>>);

    macro_rules! narrow {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "1.....", $opcode, "00.........."), regs, narrow2::<E, Map<$op, $wide, $n>, $high>);
        };
    }
    halves!(narrow ("ADDHN" "0" "0100" Addhn) u8 u16 u32);
    halves!(narrow ("RADDHN" "1" "0100" Raddhn) u8 u16 u32);
    halves!(narrow ("SUBHN" "0" "0110" Subhn) u8 u16 u32);
    halves!(narrow ("RSUBHN" "1" "0110" Rsubhn) u8 u16 u32);

    macro_rules! scalar {
        (($name:literal $opcode:literal $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(S, concat!($name, " (scalar, ", $suffix, ")"), concat!("01011110", $size, "1.....", $opcode, "00.........."), regs, $f::<E, Long<$op, $t, 1, false>>);
        };
    }
    scalars!(scalar ("SQDMLAL" "1001" v3 Qdmlal) i16 i32);
    scalars!(scalar ("SQDMLSL" "1011" v3 Qdmlsl) i16 i32);
    scalars!(scalar ("SQDMULL" "1101" v2 Qdmull) i16 i32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carryless_products_match_bit_by_bit_multiplication() {
        let cases = [
            (0, 5),
            (3, 3),
            (u64::MAX, u64::MAX),
            (0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321),
            (1 << 63, 1 << 63),
        ];
        for (a, b) in cases {
            let slow = (0..64)
                .filter(|i| a >> i & 1 != 0)
                .fold(0, |sum, i| sum ^ u128::from(b) << i);
            assert_eq!(carryless_product(a, b), slow, "{a:x} {b:x}");
        }
    }
}
