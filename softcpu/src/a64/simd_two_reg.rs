//! Advanced SIMD two-register miscellaneous, scalar two-register miscellaneous, across lanes and
//! scalar pairwise (C4.1.97), integer forms.

use std::marker::PhantomData;

use super::field::bits;
use super::simd_lane::{Flip, Lane, Narrow, Widen, join, split};
use super::simd_op::{Long, Map, Op2, dn, halves, narrow1, ops, regs, scalars, v1, vectors};
use super::simd_shift::Shl;
use super::simd_three_same::{Add, Max, Min};
use crate::emitter::{Args, Emitter, Vec1};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

/// The sum of the two halves of a lane, each widened.
#[inline(always)]
fn sum_of_halves<T: Narrow>(a: T) -> T {
    a.truncate().wide().add(a.shr(T::BITS / 2))
}

ops! {
    /// `SADDLP`, `UADDLP`, on lanes of the result.
    Addlp<T: Narrow>(a; _, _) -> T = sum_of_halves(a);
    /// `SADALP`, `UADALP`
    Adalp<T: Narrow>(d, a; _, _) -> T = d.add(sum_of_halves(a));
    /// `SUQADD`, `USQADD`: the other source has the other signedness.
    AddOther<T: Flip>(d, a; _, qc) -> T = {
        let r = d.sat_add_other(a.flip());
        *qc |= r != d.add(a);
        r
    };
    /// `CLS`, on signed lanes.
    Cls<T: Flip>(a; _, _) -> T::Other = {
        let differ = (a ^ a.shr(T::BITS)).flip();
        Lane::leading_zeros(differ).sub(T::Other::ONE)
    };
    /// `CLZ`
    Clz<T: Lane>(a; _, _) -> T = a.leading_zeros();
    /// `CNT`
    Cnt<T: Lane>(a; _, _) -> T = a.ones();
    /// `NOT`
    Not<T: Lane>(a; _, _) -> T = !a;
    /// `RBIT`
    Rbit<T: Lane>(a; _, _) -> T = a.reverse_bits();
    /// `ABS`
    Abs<T: Lane>(a; _, _) -> T = if a < T::ZERO { T::ZERO.sub(a) } else { a };
    /// `NEG`
    Neg<T: Lane>(a; _, _) -> T = T::ZERO.sub(a);
    /// `SQABS`
    Qabs<T: Lane>(a; _, qc) -> T = {
        *qc |= a == T::MIN;
        if a < T::ZERO { T::ZERO.sat_sub(a) } else { a }
    };
    /// `SQNEG`
    Qneg<T: Lane>(a; _, qc) -> T = {
        *qc |= a == T::MIN;
        T::ZERO.sat_sub(a)
    };
    /// `CMGT` (zero)
    Cmgt0<T: Lane>(a; _, _) -> T = T::flag(a > T::ZERO);
    /// `CMGE` (zero)
    Cmge0<T: Lane>(a; _, _) -> T = T::flag(a >= T::ZERO);
    /// `CMEQ` (zero)
    Cmeq0<T: Lane>(a; _, _) -> T = T::flag(a == T::ZERO);
    /// `CMLE` (zero)
    Cmle0<T: Lane>(a; _, _) -> T = T::flag(a <= T::ZERO);
    /// `CMLT` (zero)
    Cmlt0<T: Lane>(a; _, _) -> T = T::flag(a < T::ZERO);
    /// `XTN`
    Xtn<T: Narrow>(a; _, _) -> T::Half = a.truncate();
    /// `SQXTN`, `UQXTN`
    Qxtn<T: Narrow>(a; _, qc) -> T::Half = a.saturate(qc);
    /// `SQXTUN`
    Qxtun<T: Narrow>(a; _, qc) -> T::Half = a.saturate_unsigned(qc);
}

/// `REV16`, `REV32`, `REV64`: lanes in reverse order within `WITHIN` bits.
#[derive(Clone, Copy, Debug)]
pub struct Rev<T, const N: usize, const WITHIN: usize>(PhantomData<T>);

impl<T: Lane, const N: usize, const WITHIN: usize> Vec1 for Rev<T, N, WITHIN> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128) -> u128 {
        let a = split::<T, N>(a);
        let last = WITHIN / T::BITS as usize - 1;
        join::<T, N>(std::array::from_fn(|i| a[i ^ last]))
    }
}

/// `ADDV`, `SMAXV` and the like: `O` over all lanes.
#[derive(Clone, Copy, Debug)]
pub struct Across<O, T, const N: usize>(PhantomData<(O, T)>);

impl<O: Op2<T, R = T>, T: Lane, const N: usize> Vec1 for Across<O, T, N> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, imm: u32, a: u128) -> u128 {
        let a = split::<T, N>(a);
        let mut qc = false;
        let all = a[1..]
            .iter()
            .fold(a[0], |r, x| O::lane(imm, &mut qc, r, *x));
        all.to_bits()
    }
}

/// `SADDLV`, `UADDLV`: the sum of all widened lanes.
#[derive(Clone, Copy, Debug)]
pub struct AddAcross<T, const N: usize>(PhantomData<T>);

impl<T: Widen, const N: usize> Vec1 for AddAcross<T, N> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128) -> u128 {
        let lanes = split::<T, N>(a).into_iter();
        lanes
            .fold(T::Wide::ZERO, |sum, x| sum.add(x.wide()))
            .to_bits()
    }
}

/// `SHLL` shifts by the element size.
fn shll_args(insn: u32) -> Option<Args> {
    let imm = 8 << bits(insn, 22, 2);
    regs(insn).map(|a| Args { imm, ..a })
}

/// `ADDP` (scalar)
fn addp<E: Emitter>(e: &mut E, a: &Args) -> Result<(), E::Stop> {
    let n = e.getq(a.n);
    let (low, high) = (e.half(n, 0), e.half(n, 1));
    let (sum, zero) = (e.add(low, high), e.imm(0));
    let r = e.pack(sum, zero);
    e.putq(a.d, r);
    Ok(())
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "10000", $opcode, "10.........."), regs, $f::<E, Map<$op, $t, $n>>);
        };
    }
    macro_rules! same {
        ($($name:literal $u:literal $opcode:literal $f:ident $op:ident: $($t:ident)*;)*) => {$(
            vectors!(row ($name $u $opcode $f $op) $($t)*);
        )*};
    }
    same! {
        "SUQADD" "0" "00011" dn AddOther: i8 i16 i32 i64;
        "USQADD" "1" "00011" dn AddOther: u8 u16 u32 u64;
        "CLS" "0" "00100" v1 Cls: i8 i16 i32;
        "CLZ" "1" "00100" v1 Clz: u8 u16 u32;
        "CNT" "0" "00101" v1 Cnt: u8;
        "NOT" "1" "00101" v1 Not: u8;
        "SQABS" "0" "00111" v1 Qabs: i8 i16 i32 i64;
        "SQNEG" "1" "00111" v1 Qneg: i8 i16 i32 i64;
        "CMGT (zero)" "0" "01000" v1 Cmgt0: i8 i16 i32 i64;
        "CMGE (zero)" "1" "01000" v1 Cmge0: i8 i16 i32 i64;
        "CMEQ (zero)" "0" "01001" v1 Cmeq0: i8 i16 i32 i64;
        "CMLE (zero)" "1" "01001" v1 Cmle0: i8 i16 i32 i64;
        "CMLT (zero)" "0" "01010" v1 Cmlt0: i8 i16 i32 i64;
        "ABS" "0" "01011" v1 Abs: i8 i16 i32 i64;
        "NEG" "1" "01011" v1 Neg: i8 i16 i32 i64;
    }
    t.row(S, "RBIT (vector, 8B)", "00101110 01100000 010110.. ........", regs, v1::<E, Map<Rbit, u8, 8>>);
    t.row(S, "RBIT (vector, 16B)", "01101110 01100000 010110.. ........", regs, v1::<E, Map<Rbit, u8, 16>>);
    pairs_and_reversals(t);
    narrow_and_long(t);
    scalar(t);
    across(t);
}

#[rustfmt::skip]
fn pairs_and_reversals<E: Emitter>(t: &mut Table<E>) {
    macro_rules! pairs {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "10000", $opcode, "10.........."), regs, $f::<E, Map<$op, <$t as Widen>::Wide, { $n / 2 }>>);
        };
    }
    vectors!(pairs ("SADDLP" "0" "00010" v1 Addlp) i8 i16 i32);
    vectors!(pairs ("UADDLP" "1" "00010" v1 Addlp) u8 u16 u32);
    vectors!(pairs ("SADALP" "0" "00110" dn Adalp) i8 i16 i32);
    vectors!(pairs ("UADALP" "1" "00110" dn Adalp) u8 u16 u32);
    macro_rules! reverse {
        (($name:literal $u:literal $opcode:literal $within:literal) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (vector, ", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "10000", $opcode, "10.........."), regs, v1::<E, Rev<$t, $n, $within>>);
        };
    }
    vectors!(reverse ("REV64" "0" "00000" 64) u8 u16 u32);
    vectors!(reverse ("REV32" "1" "00000" 32) u8 u16);
    vectors!(reverse ("REV16" "0" "00001" 16) u8);
}

#[rustfmt::skip]
fn narrow_and_long<E: Emitter>(t: &mut Table<E>) {
    macro_rules! narrow {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "10000", $opcode, "10.........."), regs, narrow1::<E, Map<$op, $wide, $n>, $high>);
        };
    }
    halves!(narrow ("XTN" "0" "10010" Xtn) u8 u16 u32);
    halves!(narrow ("SQXTUN" "1" "10010" Qxtun) i8 i16 i32);
    halves!(narrow ("SQXTN" "0" "10100" Qxtn) i8 i16 i32);
    halves!(narrow ("UQXTN" "1" "10100" Qxtn) u8 u16 u32);
    macro_rules! shll {
        (() $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(S, concat!("SHLL (", $suffix, ")"), concat!("0", $q, "101110", $size, "100001001110.........."), shll_args, v1::<E, Long<Shl, $t, $n, $high>>);
        };
    }
    halves!(shll () u8 u16 u32);
}

#[rustfmt::skip]
fn scalar<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(S, concat!($name, " (scalar, ", $suffix, ")"), concat!("01", $u, "11110", $size, "10000", $opcode, "10.........."), regs, $f::<E, Map<$op, $t, 1>>);
        };
    }
    macro_rules! narrow {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(S, concat!($name, " (scalar, ", $suffix, ")"), concat!("01", $u, "11110", $size, "10000", $opcode, "10.........."), regs, v1::<E, Map<$op, $wide, 1>>);
        };
    }
    scalars!(row ("SUQADD" "0" "00011" dn AddOther) i8 i16 i32 i64);
    scalars!(row ("USQADD" "1" "00011" dn AddOther) u8 u16 u32 u64);
    scalars!(row ("SQABS" "0" "00111" v1 Qabs) i8 i16 i32 i64);
    scalars!(row ("SQNEG" "1" "00111" v1 Qneg) i8 i16 i32 i64);
    scalars!(row ("CMGT (zero)" "0" "01000" v1 Cmgt0) i64);
    scalars!(row ("CMGE (zero)" "1" "01000" v1 Cmge0) i64);
    scalars!(row ("CMEQ (zero)" "0" "01001" v1 Cmeq0) i64);
    scalars!(row ("CMLE (zero)" "1" "01001" v1 Cmle0) i64);
    scalars!(row ("CMLT (zero)" "0" "01010" v1 Cmlt0) i64);
    scalars!(row ("ABS" "0" "01011" v1 Abs) i64);
    scalars!(row ("NEG" "1" "01011" v1 Neg) i64);
    scalars!(narrow ("SQXTUN" "1" "10010" Qxtun) i8 i16 i32);
    scalars!(narrow ("SQXTN" "0" "10100" Qxtn) i8 i16 i32);
    scalars!(narrow ("UQXTN" "1" "10100" Qxtn) u8 u16 u32);
    t.row(S, "ADDP (scalar)", "01011110 11110001 101110.. ........", regs, addp);
}

#[rustfmt::skip]
fn across<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "11000", $opcode, "10.........."), regs, v1::<E, Across<$op, $t, $n>>);
        };
    }
    macro_rules! long {
        (($name:literal $u:literal) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "01110", $size, "110000001110.........."), regs, v1::<E, AddAcross<$t, $n>>);
        };
    }
    // Words only come in fours.
    macro_rules! all {
        ($($name:literal $u:literal $opcode:literal $op:ident: $b:ident $h:ident $s:ident;)*) => {$(
            vectors!(row ($name $u $opcode $op) $b $h);
            row!(($name $u $opcode $op) "4S" "1" "10" "" $s 4);
        )*};
    }
    all! {
        "ADDV" "0" "11011" Add: u8 u16 u32;
        "SMAXV" "0" "01010" Max: i8 i16 i32;
        "UMAXV" "1" "01010" Max: u8 u16 u32;
        "SMINV" "0" "11010" Min: i8 i16 i32;
        "UMINV" "1" "11010" Min: u8 u16 u32;
    }
    vectors!(long ("SADDLV" "0") i8 i16);
    vectors!(long ("UADDLV" "1") u8 u16);
    long!(("SADDLV" "0") "4S" "1" "10" "" i32 4);
    long!(("UADDLV" "1") "4S" "1" "10" "" u32 4);
}
