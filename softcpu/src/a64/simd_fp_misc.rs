//! AdvSIMD FP with one source (C4.1.95, "two-register miscellaneous"), vector and scalar, with the
//! conversions to and from fixed point ("shift by immediate") and the changes of width.
//!
//! The integer estimates URECPE and URSQRTE stand here too: they belong to FRECPE and FRSQRTE.

use core::marker::PhantomData;

use super::field::bits;
use super::fp_lanes::{Done, Each, in_lane, lane, lanes, scalar1, vector1};
use super::fp_ops::{
    CmpEq, CmpGe, CmpGt, CmpLe, CmpLt, FromInt, RecipEstimate, RecipExponent, RoundInt,
    RsqrtEstimate, Sqrt, ToInt, mode,
};
use super::fp_scalar::dn_args;
use crate::emitter::{Args, Emitter, Int2, Scalar1, Vec1, Vec2};
use crate::fp::{self, Double, Format, Fp16, FpEnv, Half, Single};
use crate::table::{Kind, Table};

/// `k` is the number of fraction bits, from immh:immb. Its leading one, which is the width of an
/// element, is fixed in the rows.
fn fixed_args(insn: u32) -> Option<Args> {
    let immhb = bits(insn, 16, 7);
    let twice_width = 2 << immhb.ilog2();
    dn_args(insn).map(|a| Args {
        k: (twice_width - immhb) as u16,
        ..a
    })
}

/// Copies a value of format `F` to every lane.
const fn every_lane<F: Format>(value: u64) -> u64 {
    match F::WIDTH {
        16 => value * 0x0001_0001_0001_0001,
        32 => value << 32 | value,
        _ => value,
    }
}

/// Applies a bit operation with a constant to both halves, or to the low one unless `q`.
#[inline(always)]
fn on_bits<E: Emitter, const Q: bool>(e: &mut E, a: &Args, op: Int2, constant: u64) -> Done<E> {
    let (n, constant) = (e.getq(a.n), e.imm(constant));
    let low = e.half(n, 0);
    let low = e.int2(op, low, constant);
    let high = if Q {
        let high = e.half(n, 1);
        e.int2(op, high, constant)
    } else {
        e.imm(0)
    };
    let r = e.pack(low, high);
    e.putq(a.d, r);
    Ok(())
}

fn fabs<E: Emitter, F: Format, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    on_bits::<E, Q>(e, a, Int2::And, every_lane::<F>(F::MAGNITUDE))
}

fn fneg<E: Emitter, F: Format, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    on_bits::<E, Q>(e, a, Int2::Xor, every_lane::<F>(F::SIGN))
}

/// FCVTL and FCVTL2: the lower half of the source, or the upper, in twice the width.
struct Lengthen<From, To, const UPPER: bool>(PhantomData<(From, To)>);

impl<From: Format, To: Format, const UPPER: bool> Vec1 for Lengthen<From, To, UPPER> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, a: u128) -> u128 {
        let (mut result, count) = (0, lanes::<To>(true));
        for i in 0..count {
            let from = lane::<From>(a, if UPPER { count + i } else { i });
            result |= in_lane::<To>(i, fp::convert::<From, To>(env, from));
        }
        result
    }
}

/// One value to half its width.
trait Narrow {
    type From: Format;
    type To: Format;
    fn narrow(env: &mut FpEnv, a: u64) -> u64;
}

/// FCVTN
struct Plain<From, To>(PhantomData<(From, To)>);

impl<From: Format, To: Format> Narrow for Plain<From, To> {
    type From = From;
    type To = To;
    #[inline(always)]
    fn narrow(env: &mut FpEnv, a: u64) -> u64 {
        fp::convert::<From, To>(env, a)
    }
}

/// FCVTXN
struct ToOdd;

impl Narrow for ToOdd {
    type From = Double;
    type To = Single;
    #[inline(always)]
    fn narrow(env: &mut FpEnv, a: u64) -> u64 {
        fp::convert_to_odd(env, a)
    }
}

impl Scalar1 for ToOdd {
    #[inline(always)]
    fn eval(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
        fp::convert_to_odd(env, a)
    }
}

/// All lanes of the second operand narrowed, above the first operand's low half if `UPPER`.
struct Narrowed<N, const UPPER: bool>(PhantomData<N>);

impl<N: Narrow, const UPPER: bool> Vec2 for Narrowed<N, UPPER> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, d: u128, a: u128) -> u128 {
        let mut result = 0;
        for i in 0..lanes::<N::From>(true) {
            result |= in_lane::<N::To>(i, N::narrow(env, lane::<N::From>(a, i)));
        }
        if UPPER {
            result << 64 | d & u128::from(u64::MAX)
        } else {
            result
        }
    }
}

fn narrow<E: Emitter, N: Narrow, const UPPER: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n) = (e.getq(a.d), e.getq(a.n));
    let r = e.vec2::<Narrowed<N, UPPER>>(0, d, n);
    e.putq(a.d, r);
    Ok(())
}

fn fcvtxn<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(aarch64::Size::D, a.n);
    let r = e.scalar1::<ToOdd>(0, n);
    e.putv(aarch64::Size::W, a.d, r);
    Ok(())
}

/// URECPE, and URSQRTE if `ROOT`.
struct UnsignedEstimate<const ROOT: bool, const Q: bool>;

impl<const ROOT: bool, const Q: bool> Vec1 for UnsignedEstimate<ROOT, Q> {
    #[inline]
    fn eval(_env: &mut FpEnv, _imm: u32, a: u128) -> u128 {
        let mut result = 0;
        for i in 0..lanes::<Single>(Q) {
            let a = lane::<Single>(a, i) as u32;
            let estimate = if ROOT {
                fp::unsigned_rsqrt_estimate(a)
            } else {
                fp::unsigned_recip_estimate(a)
            };
            result |= in_lane::<Single>(i, u64::from(estimate));
        }
        result
    }
}

const K: Kind = Kind::Simd;

/// Adds the rows of this class.
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    vector_rows(t);
    scalar_rows(t);
    width_rows(t);
    fixed_rows(t);
}

#[rustfmt::skip]
fn vector_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! vector {
        ($name:literal $u:literal $a:literal $opcode:literal $($exec:tt)*) => {
            t.row(K, concat!($name, " (vector, 4H)"), concat!("00", $u, "01110 ", $a, "111100", $opcode, "10.. ........"), dn_args, vector!(@ Fp16 false $($exec)*));
            t.row(K, concat!($name, " (vector, 8H)"), concat!("01", $u, "01110 ", $a, "111100", $opcode, "10.. ........"), dn_args, vector!(@ Fp16 true $($exec)*));
            t.row(K, concat!($name, " (vector, 2S)"), concat!("00", $u, "01110 ", $a, "010000", $opcode, "10.. ........"), dn_args, vector!(@ Single false $($exec)*));
            t.row(K, concat!($name, " (vector, 4S)"), concat!("01", $u, "01110 ", $a, "010000", $opcode, "10.. ........"), dn_args, vector!(@ Single true $($exec)*));
            t.row(K, concat!($name, " (vector, 2D)"), concat!("01", $u, "01110 ", $a, "110000", $opcode, "10.. ........"), dn_args, vector!(@ Double true $($exec)*));
        };
        (@ $f:ident $q:literal bits $exec:ident) => { $exec::<E, $f, { $q }> };
        (@ $f:ident $q:literal $op:ty) => { vector1::<E, Each<$f, $op, { $q }>> };
    }
    vector!("FRINTN" "0" "0" "11000" RoundInt<{ mode::N }>);
    vector!("FRINTM" "0" "0" "11001" RoundInt<{ mode::M }>);
    vector!("FCVTNS" "0" "0" "11010" ToInt<{ mode::N }, true>);
    vector!("FCVTMS" "0" "0" "11011" ToInt<{ mode::M }, true>);
    vector!("FCVTAS" "0" "0" "11100" ToInt<{ mode::A }, true>);
    vector!("SCVTF" "0" "0" "11101" FromInt<true>);
    vector!("FCMGT (zero)" "0" "1" "01100" CmpGt);
    vector!("FCMEQ (zero)" "0" "1" "01101" CmpEq);
    vector!("FCMLT (zero)" "0" "1" "01110" CmpLt);
    vector!("FABS" "0" "1" "01111" bits fabs);
    vector!("FRINTP" "0" "1" "11000" RoundInt<{ mode::P }>);
    vector!("FRINTZ" "0" "1" "11001" RoundInt<{ mode::Z }>);
    vector!("FCVTPS" "0" "1" "11010" ToInt<{ mode::P }, true>);
    vector!("FCVTZS" "0" "1" "11011" ToInt<{ mode::Z }, true>);
    vector!("FRECPE" "0" "1" "11101" RecipEstimate);
    vector!("FRINTA" "1" "0" "11000" RoundInt<{ mode::A }>);
    vector!("FRINTX" "1" "0" "11001" RoundInt<{ mode::X }>);
    vector!("FCVTNU" "1" "0" "11010" ToInt<{ mode::N }, false>);
    vector!("FCVTMU" "1" "0" "11011" ToInt<{ mode::M }, false>);
    vector!("FCVTAU" "1" "0" "11100" ToInt<{ mode::A }, false>);
    vector!("UCVTF" "1" "0" "11101" FromInt<false>);
    vector!("FCMGE (zero)" "1" "1" "01100" CmpGe);
    vector!("FCMLE (zero)" "1" "1" "01101" CmpLe);
    vector!("FNEG" "1" "1" "01111" bits fneg);
    vector!("FRINTI" "1" "1" "11001" RoundInt<{ mode::I }>);
    vector!("FCVTPU" "1" "1" "11010" ToInt<{ mode::P }, false>);
    vector!("FCVTZU" "1" "1" "11011" ToInt<{ mode::Z }, false>);
    vector!("FRSQRTE" "1" "1" "11101" RsqrtEstimate);
    vector!("FSQRT" "1" "1" "11111" Sqrt);
    t.row(K, "URECPE (2S)", "00001110 10100001 110010.. ........", dn_args, vector1::<E, UnsignedEstimate<false, false>>);
    t.row(K, "URECPE (4S)", "01001110 10100001 110010.. ........", dn_args, vector1::<E, UnsignedEstimate<false, true>>);
    t.row(K, "URSQRTE (2S)", "00101110 10100001 110010.. ........", dn_args, vector1::<E, UnsignedEstimate<true, false>>);
    t.row(K, "URSQRTE (4S)", "01101110 10100001 110010.. ........", dn_args, vector1::<E, UnsignedEstimate<true, true>>);
}

#[rustfmt::skip]
fn scalar_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! scalar {
        ($name:literal $u:literal $a:literal $opcode:literal $op:ty) => {
            t.row(K, concat!($name, " (SIMD scalar, H)"), concat!("01", $u, "11110 ", $a, "111100", $opcode, "10.. ........"), dn_args, scalar1::<E, Fp16, $op>);
            t.row(K, concat!($name, " (SIMD scalar, S)"), concat!("01", $u, "11110 ", $a, "010000", $opcode, "10.. ........"), dn_args, scalar1::<E, Single, $op>);
            t.row(K, concat!($name, " (SIMD scalar, D)"), concat!("01", $u, "11110 ", $a, "110000", $opcode, "10.. ........"), dn_args, scalar1::<E, Double, $op>);
        };
    }
    scalar!("FCVTNS" "0" "0" "11010" ToInt<{ mode::N }, true>);
    scalar!("FCVTMS" "0" "0" "11011" ToInt<{ mode::M }, true>);
    scalar!("FCVTAS" "0" "0" "11100" ToInt<{ mode::A }, true>);
    scalar!("SCVTF" "0" "0" "11101" FromInt<true>);
    scalar!("FCMGT (zero)" "0" "1" "01100" CmpGt);
    scalar!("FCMEQ (zero)" "0" "1" "01101" CmpEq);
    scalar!("FCMLT (zero)" "0" "1" "01110" CmpLt);
    scalar!("FCVTPS" "0" "1" "11010" ToInt<{ mode::P }, true>);
    scalar!("FCVTZS" "0" "1" "11011" ToInt<{ mode::Z }, true>);
    scalar!("FRECPE" "0" "1" "11101" RecipEstimate);
    scalar!("FRECPX" "0" "1" "11111" RecipExponent);
    scalar!("FCVTNU" "1" "0" "11010" ToInt<{ mode::N }, false>);
    scalar!("FCVTMU" "1" "0" "11011" ToInt<{ mode::M }, false>);
    scalar!("FCVTAU" "1" "0" "11100" ToInt<{ mode::A }, false>);
    scalar!("UCVTF" "1" "0" "11101" FromInt<false>);
    scalar!("FCMGE (zero)" "1" "1" "01100" CmpGe);
    scalar!("FCMLE (zero)" "1" "1" "01101" CmpLe);
    scalar!("FCVTPU" "1" "1" "11010" ToInt<{ mode::P }, false>);
    scalar!("FCVTZU" "1" "1" "11011" ToInt<{ mode::Z }, false>);
    scalar!("FRSQRTE" "1" "1" "11101" RsqrtEstimate);
}

#[rustfmt::skip]
fn width_rows<E: Emitter>(t: &mut Table<E>) {
    t.row(K, "FCVTL (4S, 4H)", "00001110 00100001 011110.. ........", dn_args, vector1::<E, Lengthen<Half, Single, false>>);
    t.row(K, "FCVTL2 (4S, 8H)", "01001110 00100001 011110.. ........", dn_args, vector1::<E, Lengthen<Half, Single, true>>);
    t.row(K, "FCVTL (2D, 2S)", "00001110 01100001 011110.. ........", dn_args, vector1::<E, Lengthen<Single, Double, false>>);
    t.row(K, "FCVTL2 (2D, 4S)", "01001110 01100001 011110.. ........", dn_args, vector1::<E, Lengthen<Single, Double, true>>);
    t.row(K, "FCVTN (4H, 4S)", "00001110 00100001 011010.. ........", dn_args, narrow::<E, Plain<Single, Half>, false>);
    t.row(K, "FCVTN2 (8H, 4S)", "01001110 00100001 011010.. ........", dn_args, narrow::<E, Plain<Single, Half>, true>);
    t.row(K, "FCVTN (2S, 2D)", "00001110 01100001 011010.. ........", dn_args, narrow::<E, Plain<Double, Single>, false>);
    t.row(K, "FCVTN2 (4S, 2D)", "01001110 01100001 011010.. ........", dn_args, narrow::<E, Plain<Double, Single>, true>);
    t.row(K, "FCVTXN (2S, 2D)", "00101110 01100001 011010.. ........", dn_args, narrow::<E, ToOdd, false>);
    t.row(K, "FCVTXN2 (4S, 2D)", "01101110 01100001 011010.. ........", dn_args, narrow::<E, ToOdd, true>);
    t.row(K, "FCVTXN (scalar)", "01111110 01100001 011010.. ........", dn_args, fcvtxn);
}

#[rustfmt::skip]
fn fixed_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! fixed {
        ($name:literal $u:literal $opcode:literal $op:ty) => {
            t.row(K, concat!($name, " (fixed-point, 4H)"), concat!("00", $u, "01111 0001....", $opcode, "1.. ........"), fixed_args, vector1::<E, Each<Fp16, $op, false>>);
            t.row(K, concat!($name, " (fixed-point, 8H)"), concat!("01", $u, "01111 0001....", $opcode, "1.. ........"), fixed_args, vector1::<E, Each<Fp16, $op, true>>);
            t.row(K, concat!($name, " (fixed-point, H)"), concat!("01", $u, "11111 0001....", $opcode, "1.. ........"), fixed_args, scalar1::<E, Fp16, $op>);
            t.row(K, concat!($name, " (fixed-point, 2S)"), concat!("00", $u, "01111 001.....", $opcode, "1.. ........"), fixed_args, vector1::<E, Each<Single, $op, false>>);
            t.row(K, concat!($name, " (fixed-point, 4S)"), concat!("01", $u, "01111 001.....", $opcode, "1.. ........"), fixed_args, vector1::<E, Each<Single, $op, true>>);
            t.row(K, concat!($name, " (fixed-point, 2D)"), concat!("01", $u, "01111 01......", $opcode, "1.. ........"), fixed_args, vector1::<E, Each<Double, $op, true>>);
            t.row(K, concat!($name, " (fixed-point, S)"), concat!("01", $u, "11111 001.....", $opcode, "1.. ........"), fixed_args, scalar1::<E, Single, $op>);
            t.row(K, concat!($name, " (fixed-point, D)"), concat!("01", $u, "11111 01......", $opcode, "1.. ........"), fixed_args, scalar1::<E, Double, $op>);
        };
    }
    fixed!("SCVTF" "0" "11100" FromInt<true>);
    fixed!("FCVTZS" "0" "11111" ToInt<{ mode::Z }, true>);
    fixed!("UCVTF" "1" "11100" FromInt<false>);
    fixed!("FCVTZU" "1" "11111" ToInt<{ mode::Z }, false>);
}
