//! Advanced SIMD three same, three same extra, scalar three same and scalar three same extra
//! (C4.1.97): integer operations on two registers of one arrangement.
//!
//! `FEAT_DotProd` and `FEAT_RDM` are here; complex and floating-point forms are not.

use std::marker::PhantomData;

use super::simd_lane::{Flip, Lane, Narrow, Widen, join, split};
use super::simd_op::{Map, Op2, Pairs, ops, regs, scalars, v2, v3, vectors};
use crate::emitter::{Emitter, Vec3};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

ops! {
    /// `ADD`
    Add<T: Lane>(a, b; _, _) -> T = a.add(b);
    /// `SUB`
    Sub<T: Lane>(a, b; _, _) -> T = a.sub(b);
    /// `MUL`
    Mul<T: Lane>(a, b; _, _) -> T = a.mul(b);
    /// `MLA`
    Mla<T: Lane>(d, a, b; _, _) -> T = d.add(a.mul(b));
    /// `MLS`
    Mls<T: Lane>(d, a, b; _, _) -> T = d.sub(a.mul(b));
    /// `SHADD`, `UHADD`: without the carry that a sum would lose.
    Hadd<T: Lane>(a, b; _, _) -> T = (a & b).add((a ^ b).shr(1));
    /// `SRHADD`, `URHADD`
    Rhadd<T: Lane>(a, b; _, _) -> T = (a | b).sub((a ^ b).shr(1));
    /// `SHSUB`, `UHSUB`
    Hsub<T: Lane>(a, b; _, _) -> T = (a ^ b).shr(1).sub(!a & b);
    /// `SQADD`, `UQADD`
    Qadd<T: Lane>(a, b; _, qc) -> T = {
        let r = a.sat_add(b);
        *qc |= r != a.add(b);
        r
    };
    /// `SQSUB`, `UQSUB`
    Qsub<T: Lane>(a, b; _, qc) -> T = {
        let r = a.sat_sub(b);
        *qc |= r != a.sub(b);
        r
    };
    /// `CMEQ`
    Cmeq<T: Lane>(a, b; _, _) -> T = T::flag(a == b);
    /// `CMGT`, `CMHI`
    Cmgt<T: Lane>(a, b; _, _) -> T = T::flag(a > b);
    /// `CMGE`, `CMHS`
    Cmge<T: Lane>(a, b; _, _) -> T = T::flag(a >= b);
    /// `CMTST`
    Cmtst<T: Lane>(a, b; _, _) -> T = T::flag(a & b != T::ZERO);
    /// `SMAX`, `UMAX`
    Max<T: Lane>(a, b; _, _) -> T = a.max(b);
    /// `SMIN`, `UMIN`
    Min<T: Lane>(a, b; _, _) -> T = a.min(b);
    /// `SABD`, `UABD`
    Abd<T: Lane>(a, b; _, _) -> T = a.max(b).sub(a.min(b));
    /// `SABA`, `UABA`
    Aba<T: Lane>(d, a, b; _, _) -> T = d.add(a.max(b).sub(a.min(b)));
    /// `PMUL`, and `PMULL` on widened bytes.
    Pmul<T: Lane>(a, b; _, _) -> T = {
        let partial = |i| a.shl(i) & T::ZERO.sub(b.shr(i) & T::ONE);
        (0..8).fold(T::ZERO, |r, i| r ^ partial(i))
    };
    /// `AND`
    And<T: Lane>(a, b; _, _) -> T = a & b;
    /// `BIC`
    Bic<T: Lane>(a, b; _, _) -> T = a & !b;
    /// `ORR`
    Orr<T: Lane>(a, b; _, _) -> T = a | b;
    /// `ORN`
    Orn<T: Lane>(a, b; _, _) -> T = a | !b;
    /// `EOR`
    Eor<T: Lane>(a, b; _, _) -> T = a ^ b;
    /// `BSL`
    Bsl<T: Lane>(d, a, b; _, _) -> T = b ^ ((a ^ b) & d);
    /// `BIT`
    Bit<T: Lane>(d, a, b; _, _) -> T = d ^ ((d ^ a) & b);
    /// `BIF`
    Bif<T: Lane>(d, a, b; _, _) -> T = d ^ ((d ^ a) & !b);
    /// `SQDMULH`. Twice the product without its overflow is half as much shift.
    Qdmulh<T: Widen>(a, b; _, qc) -> T = a.wide().mul(b.wide()).shr(T::BITS - 1).saturate(qc);
    /// `SQRDMULH`
    Qrdmulh<T: Widen>(a, b; _, qc) -> T = {
        a.wide().mul(b.wide()).rounding_shr(T::BITS - 1).saturate(qc)
    };
    /// `SQRDMLAH`
    Qrdmlah<T: Widen>(d, a, b; _, qc) -> T = {
        let sum = d.wide().shl(T::BITS - 1).add(a.wide().mul(b.wide()));
        sum.rounding_shr(T::BITS - 1).saturate(qc)
    };
    /// `SQRDMLSH`
    Qrdmlsh<T: Widen>(d, a, b; _, qc) -> T = {
        let sum = d.wide().shl(T::BITS - 1).sub(a.wide().mul(b.wide()));
        sum.rounding_shr(T::BITS - 1).saturate(qc)
    };
}

/// Shifts by the signed low byte of the second source: left, or right if negative.
#[derive(Clone, Copy, Debug)]
pub struct ShiftBy<const ROUND: bool, const SATURATE: bool>;

impl<T: Lane, const ROUND: bool, const SATURATE: bool> Op2<T> for ShiftBy<ROUND, SATURATE> {
    type R = T;
    #[inline(always)]
    fn lane(_: u32, qc: &mut bool, a: T, b: T) -> T {
        let by = b.to_bits() as i8;
        let n = u32::from(by.unsigned_abs());
        match (by >= 0, SATURATE, ROUND) {
            (true, false, _) => a.shl(n),
            (true, true, _) => a.sat_shl(n, qc),
            (false, _, false) => a.shr(n),
            (false, _, true) => a.rounding_shr(n),
        }
    }
}

type Shl = ShiftBy<false, false>;
type Rshl = ShiftBy<true, false>;
type Qshl = ShiftBy<false, true>;
type Qrshl = ShiftBy<true, true>;

/// `SDOT`, `UDOT`: each of `N` words gains the dot product of its four bytes `B`.
#[derive(Clone, Copy, Debug)]
pub struct Dot<B, const N: usize>(PhantomData<B>);

impl<B: Flip + Into<i32>, const N: usize> Vec3 for Dot<B, N> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, d: u128, a: u128, b: u128) -> u128 {
        let (d, a, b) = (split::<i32, N>(d), split::<B, 16>(a), split::<B, 16>(b));
        let products: [i32; 16] = std::array::from_fn(|i| a[i].into() * b[i].into());
        join::<i32, N>(std::array::from_fn(|i| {
            let own = products[4 * i..4 * i + 4].iter();
            own.fold(d[i], |sum, p| sum.wrapping_add(*p))
        }))
    }
}

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    logical(t);
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $f:ident $map:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(Kind::Simd, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "1.....", $opcode, "1.........."), regs, $f::<E, $map<$op, $t, $n>>);
        };
    }
    macro_rules! same {
        ($($name:literal $u:literal $opcode:literal $f:ident $map:ident $op:ident: $($t:ident)*;)*) => {$(
            vectors!(row ($name $u $opcode $f $map $op) $($t)*);
        )*};
    }
    same! {
        "ADD" "0" "10000" v2 Map Add: u8 u16 u32 u64;
        "SUB" "1" "10000" v2 Map Sub: u8 u16 u32 u64;
        "MUL" "0" "10011" v2 Map Mul: u8 u16 u32;
        "PMUL" "1" "10011" v2 Map Pmul: u8;
        "MLA" "0" "10010" v3 Map Mla: u8 u16 u32;
        "MLS" "1" "10010" v3 Map Mls: u8 u16 u32;
        "SHADD" "0" "00000" v2 Map Hadd: i8 i16 i32;
        "UHADD" "1" "00000" v2 Map Hadd: u8 u16 u32;
        "SQADD" "0" "00001" v2 Map Qadd: i8 i16 i32 i64;
        "UQADD" "1" "00001" v2 Map Qadd: u8 u16 u32 u64;
        "SRHADD" "0" "00010" v2 Map Rhadd: i8 i16 i32;
        "URHADD" "1" "00010" v2 Map Rhadd: u8 u16 u32;
        "SHSUB" "0" "00100" v2 Map Hsub: i8 i16 i32;
        "UHSUB" "1" "00100" v2 Map Hsub: u8 u16 u32;
        "SQSUB" "0" "00101" v2 Map Qsub: i8 i16 i32 i64;
        "UQSUB" "1" "00101" v2 Map Qsub: u8 u16 u32 u64;
        "CMGT" "0" "00110" v2 Map Cmgt: i8 i16 i32 i64;
        "CMHI" "1" "00110" v2 Map Cmgt: u8 u16 u32 u64;
        "CMGE" "0" "00111" v2 Map Cmge: i8 i16 i32 i64;
        "CMHS" "1" "00111" v2 Map Cmge: u8 u16 u32 u64;
        "CMTST" "0" "10001" v2 Map Cmtst: u8 u16 u32 u64;
        "CMEQ" "1" "10001" v2 Map Cmeq: u8 u16 u32 u64;
        "SSHL" "0" "01000" v2 Map Shl: i8 i16 i32 i64;
        "USHL" "1" "01000" v2 Map Shl: u8 u16 u32 u64;
        "SQSHL" "0" "01001" v2 Map Qshl: i8 i16 i32 i64;
        "UQSHL" "1" "01001" v2 Map Qshl: u8 u16 u32 u64;
        "SRSHL" "0" "01010" v2 Map Rshl: i8 i16 i32 i64;
        "URSHL" "1" "01010" v2 Map Rshl: u8 u16 u32 u64;
        "SQRSHL" "0" "01011" v2 Map Qrshl: i8 i16 i32 i64;
        "UQRSHL" "1" "01011" v2 Map Qrshl: u8 u16 u32 u64;
        "SMAX" "0" "01100" v2 Map Max: i8 i16 i32;
        "UMAX" "1" "01100" v2 Map Max: u8 u16 u32;
        "SMIN" "0" "01101" v2 Map Min: i8 i16 i32;
        "UMIN" "1" "01101" v2 Map Min: u8 u16 u32;
        "SABD" "0" "01110" v2 Map Abd: i8 i16 i32;
        "UABD" "1" "01110" v2 Map Abd: u8 u16 u32;
        "SABA" "0" "01111" v3 Map Aba: i8 i16 i32;
        "UABA" "1" "01111" v3 Map Aba: u8 u16 u32;
        "SMAXP" "0" "10100" v2 Pairs Max: i8 i16 i32;
        "UMAXP" "1" "10100" v2 Pairs Max: u8 u16 u32;
        "SMINP" "0" "10101" v2 Pairs Min: i8 i16 i32;
        "UMINP" "1" "10101" v2 Pairs Min: u8 u16 u32;
        "ADDP" "0" "10111" v2 Pairs Add: u8 u16 u32 u64;
        "SQDMULH" "0" "10110" v2 Map Qdmulh: i16 i32;
        "SQRDMULH" "1" "10110" v2 Map Qrdmulh: i16 i32;
    }
    extra(t);
    scalar(t);
}

/// The logical rows, where `size` is part of the opcode.
#[rustfmt::skip]
fn logical<E: Emitter>(t: &mut Table<E>) {
    macro_rules! rows {
        ($($name:literal $u:literal $size:literal $f:ident $op:ident;)*) => {$(
            t.row(Kind::Simd, concat!($name, " (vector, 8B)"), concat!("00", $u, "01110", $size, "1.....000111.........."), regs, $f::<E, Map<$op, u64, 1>>);
            t.row(Kind::Simd, concat!($name, " (vector, 16B)"), concat!("01", $u, "01110", $size, "1.....000111.........."), regs, $f::<E, Map<$op, u128, 1>>);
        )*};
    }
    rows! {
        "AND" "0" "00" v2 And;
        "BIC" "0" "01" v2 Bic;
        "ORR" "0" "10" v2 Orr;
        "ORN" "0" "11" v2 Orn;
        "EOR" "1" "00" v2 Eor;
        "BSL" "1" "01" v3 Bsl;
        "BIT" "1" "10" v3 Bit;
        "BIF" "1" "11" v3 Bif;
    }
}

/// Three same extra.
#[rustfmt::skip]
fn extra<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(Kind::Simd, concat!($name, " (", $suffix, ")"), concat!("0", $q, "101110", $size, "0.....", $opcode, ".........."), regs, v3::<E, Map<$op, $t, $n>>);
        };
    }
    vectors!(row ("SQRDMLAH" "100001" Qrdmlah) i16 i32);
    vectors!(row ("SQRDMLSH" "100011" Qrdmlsh) i16 i32);
    t.row(Kind::Simd, "SDOT (2S)", "00001110 100..... 100101.. ........", regs, v3::<E, Dot<i8, 2>>);
    t.row(Kind::Simd, "SDOT (4S)", "01001110 100..... 100101.. ........", regs, v3::<E, Dot<i8, 4>>);
    t.row(Kind::Simd, "UDOT (2S)", "00101110 100..... 100101.. ........", regs, v3::<E, Dot<u8, 2>>);
    t.row(Kind::Simd, "UDOT (4S)", "01101110 100..... 100101.. ........", regs, v3::<E, Dot<u8, 4>>);
}

/// The scalar forms.
#[rustfmt::skip]
fn scalar<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(Kind::Simd, concat!($name, " (scalar, ", $suffix, ")"), concat!("01", $u, "11110", $size, $opcode, ".........."), regs, $f::<E, Map<$op, $t, 1>>);
        };
    }
    macro_rules! same {
        ($($name:literal $u:literal $opcode:literal $f:ident $op:ident: $($t:ident)*;)*) => {$(
            scalars!(row ($name $u $opcode $f $op) $($t)*);
        )*};
    }
    same! {
        "SQADD" "0" "1.....000011" v2 Qadd: i8 i16 i32 i64;
        "UQADD" "1" "1.....000011" v2 Qadd: u8 u16 u32 u64;
        "SQSUB" "0" "1.....001011" v2 Qsub: i8 i16 i32 i64;
        "UQSUB" "1" "1.....001011" v2 Qsub: u8 u16 u32 u64;
        "CMGT" "0" "1.....001101" v2 Cmgt: i64;
        "CMHI" "1" "1.....001101" v2 Cmgt: u64;
        "CMGE" "0" "1.....001111" v2 Cmge: i64;
        "CMHS" "1" "1.....001111" v2 Cmge: u64;
        "SSHL" "0" "1.....010001" v2 Shl: i64;
        "USHL" "1" "1.....010001" v2 Shl: u64;
        "SQSHL" "0" "1.....010011" v2 Qshl: i8 i16 i32 i64;
        "UQSHL" "1" "1.....010011" v2 Qshl: u8 u16 u32 u64;
        "SRSHL" "0" "1.....010101" v2 Rshl: i64;
        "URSHL" "1" "1.....010101" v2 Rshl: u64;
        "SQRSHL" "0" "1.....010111" v2 Qrshl: i8 i16 i32 i64;
        "UQRSHL" "1" "1.....010111" v2 Qrshl: u8 u16 u32 u64;
        "ADD" "0" "1.....100001" v2 Add: u64;
        "SUB" "1" "1.....100001" v2 Sub: u64;
        "CMTST" "0" "1.....100011" v2 Cmtst: u64;
        "CMEQ" "1" "1.....100011" v2 Cmeq: u64;
        "SQDMULH" "0" "1.....101101" v2 Qdmulh: i16 i32;
        "SQRDMULH" "1" "1.....101101" v2 Qrdmulh: i16 i32;
        "SQRDMLAH" "1" "0.....100001" v3 Qrdmlah: i16 i32;
        "SQRDMLSH" "1" "0.....100011" v3 Qrdmlsh: i16 i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emitter::Vec2;
    use crate::fp::fpsr;

    /// `O` on scalars, and whether it saturated.
    fn on<O: Op2<T, R = T>, T: Lane>(a: T, b: T) -> (u128, bool) {
        let mut env = FpEnv::default();
        let r = Map::<O, T, 1>::eval(&mut env, 0, a.to_bits(), b.to_bits());
        (r, env.fpsr & fpsr::QC != 0)
    }

    #[test]
    fn saturation_is_recorded_only_when_it_happens() {
        assert_eq!(on::<Qadd, i8>(100, 27), (127, false));
        assert_eq!(on::<Qadd, i8>(100, 28), (127, true));
        assert_eq!(on::<Qsub, u16>(1, 2), (0, true));
        assert_eq!(on::<Qdmulh, i16>(i16::MIN, i16::MIN), (0x7fff, true));
        assert_eq!(on::<Qrdmulh, i32>(i32::MAX, i32::MAX), (0x7fff_fffe, false));
    }

    #[test]
    fn lanes_beyond_the_arrangement_neither_count_nor_stay() {
        let mut env = FpEnv::default();
        let above = u128::MAX << 64;
        let r = Map::<Qadd, u8, 8>::eval(&mut env, 0, above | 1, above | 2);
        assert_eq!((r, env.fpsr), (3, 0));
    }

    #[test]
    fn halving_keeps_the_carry() {
        assert_eq!(on::<Hadd, u8>(255, 255).0, 255);
        assert_eq!(on::<Hadd, i8>(-128, -127).0, 0x80);
        assert_eq!(on::<Rhadd, u8>(255, 254).0, 255);
        assert_eq!(on::<Hsub, u8>(0, 1).0, 0xff);
    }

    #[test]
    fn register_shifts_go_both_ways() {
        assert_eq!(on::<Shl, i8>(-128, -7).0, 0xff);
        assert_eq!(on::<Rshl, u8>(0x81, -8i8 as u8).0, 1);
        assert_eq!(on::<Rshl, u8>(0x81, -9i8 as u8).0, 0);
        assert_eq!(on::<Qshl, u8>(1, 8), (255, true));
        assert_eq!(on::<Qshl, i64>(-1, 63), (1 << 63, false));
    }

    #[test]
    fn dot_products_take_four_bytes_each() {
        let mut env = FpEnv::default();
        let (a, b) = (0x0403_0201_ffff_ffff, 0x0101_0101_0202_0202);
        let signed = Dot::<i8, 2>::eval(&mut env, 0, 1, a, b);
        assert_eq!(signed, 10 << 32 | u128::from(-7i32 as u32));
        let unsigned = Dot::<u8, 2>::eval(&mut env, 0, 0, a, b);
        assert_eq!(unsigned, (10 << 32) | (4 * 255 * 2));
    }
}
