//! What FP instructions compute, as types: one for each operation, whatever its format.
//!
//! A row of the opcode table names a format and an operation; `fp_lanes` turns the pair into a
//! scalar or a vector operation of the emitter. The arithmetic itself is in [`crate::fp`].

use crate::fp::{self, Arith, Exactness, FpEnv, IntType, Rounding};

/// An operation on one value; `imm` is known at translation.
pub(super) trait Fp1 {
    /// The result in format `F`.
    fn eval<F: Arith>(env: &mut FpEnv, imm: u32, a: u64) -> u64;
}

/// An operation on two values.
pub(super) trait Fp2 {
    /// The result in format `F`.
    fn eval<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64;
}

/// An operation on two factors and the addend or accumulator `c`.
pub(super) trait Fp3 {
    /// The result in format `F`.
    fn eval<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64;
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;
        impl Fp1 for $name {
            #[inline(always)]
            fn eval<F: Arith>(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
                fp::$function::<F>(env, a)
            }
        }
    )*};
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;
        impl Fp2 for $name {
            #[inline(always)]
            fn eval<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
                fp::$function::<F>(env, a, b)
            }
        }
    )*};
}

macro_rules! ternary {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;
        impl Fp3 for $name {
            #[inline(always)]
            fn eval<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
                fp::$function::<F>(env, c, a, b)
            }
        }
    )*};
}

/// Comparisons of vectors: all ones for true, and the form against plus zero.
macro_rules! compare {
    ($($(#[$doc:meta])* $name:ident = $function:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;
        impl Fp2 for $name {
            #[inline(always)]
            fn eval<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
                if fp::$function::<F>(env, a, b) { F::MASK } else { 0 }
            }
        }
        impl Fp1 for $name {
            #[inline(always)]
            fn eval<F: Arith>(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
                <Self as Fp2>::eval::<F>(env, a, 0)
            }
        }
    )*};
}

unary! {
    /// FSQRT
    Sqrt = sqrt;
    /// FRECPE
    RecipEstimate = recip_estimate;
    /// FRECPX
    RecipExponent = recip_exponent;
    /// FRSQRTE
    RsqrtEstimate = rsqrt_estimate;
}

binary! {
    /// FADD
    Add = add;
    /// FSUB
    Sub = sub;
    /// FMUL
    Mul = mul;
    /// FMULX
    Mulx = mulx;
    /// FNMUL
    Nmul = nmul;
    /// FDIV
    Div = div;
    /// FABD
    AbsDiff = abs_diff;
    /// FMAX
    Max = max;
    /// FMIN
    Min = min;
    /// FMAXNM
    MaxNum = max_num;
    /// FMINNM
    MinNum = min_num;
    /// FRECPS
    RecipStep = recip_step;
    /// FRSQRTS
    RsqrtStep = rsqrt_step;
}

ternary! {
    /// FMADD, FMLA
    MulAdd = mul_add;
    /// FMSUB, FMLS
    MulSub = mul_sub;
    /// FNMADD
    NegMulAdd = neg_mul_add;
    /// FNMSUB
    NegMulSub = neg_mul_sub;
}

compare! {
    /// FCMEQ
    CmpEq = compare_eq;
    /// FCMGE
    CmpGe = compare_ge;
    /// FCMGT
    CmpGt = compare_gt;
    /// FACGE
    AbsGe = abs_ge;
    /// FACGT
    AbsGt = abs_gt;
}

/// FCMLE against zero.
#[derive(Debug)]
pub(super) struct CmpLe;

impl Fp1 for CmpLe {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
        <CmpGe as Fp2>::eval::<F>(env, 0, a)
    }
}

/// FCMLT against zero.
#[derive(Debug)]
pub(super) struct CmpLt;

impl Fp1 for CmpLt {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
        <CmpGt as Fp2>::eval::<F>(env, 0, a)
    }
}

/// Rounding mode operands of rows, named by the last letters of FRINT* and FCVT*.
pub(super) mod mode {
    /// Ties to even; the `rmode` encodings go on from here.
    pub const N: u8 = 0;
    /// Towards plus infinity.
    pub const P: u8 = 1;
    /// Towards minus infinity.
    pub const M: u8 = 2;
    /// Towards zero.
    pub const Z: u8 = 3;
    /// Ties away from zero.
    pub const A: u8 = 4;
    /// As FPCR says.
    pub const I: u8 = 5;
    /// As FPCR says, and inexact results are flagged.
    pub const X: u8 = 6;
}

#[inline(always)]
fn rounding(env: &FpEnv, mode: u8) -> Rounding {
    match mode {
        mode::N..=mode::Z => Rounding::from_rmode(u32::from(mode)),
        mode::A => Rounding::TiesAway,
        _ => env.rounding(),
    }
}

/// FRINT*, its mode one of [`mode`].
#[derive(Debug)]
pub(super) struct RoundInt<const MODE: u8>;

impl<const MODE: u8> Fp1 for RoundInt<MODE> {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
        let rounding = rounding(env, MODE);
        let exactness = if MODE == mode::X {
            Exactness::Signalled
        } else {
            Exactness::Ignored
        };
        fp::round_to_integral::<F>(env, a, rounding, exactness)
    }
}

/// FCVT*S and FCVT*U to an integer as wide as the format; `imm` is the number of fraction bits.
#[derive(Debug)]
pub(super) struct ToInt<const MODE: u8, const SIGNED: bool>;

impl<const MODE: u8, const SIGNED: bool> Fp1 for ToInt<MODE, SIGNED> {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, imm: u32, a: u64) -> u64 {
        let into = IntType {
            bits: F::WIDTH,
            signed: SIGNED,
        };
        fp::to_int::<F>(env, a, into, imm, rounding(env, MODE))
    }
}

/// As [`ToInt`], to a general register of 64 bits (`X`) or 32.
#[derive(Debug)]
pub(super) struct ToGeneral<const MODE: u8, const SIGNED: bool, const X: bool>;

impl<const MODE: u8, const SIGNED: bool, const X: bool> Fp1 for ToGeneral<MODE, SIGNED, X> {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, imm: u32, a: u64) -> u64 {
        let into = IntType {
            bits: if X { 64 } else { 32 },
            signed: SIGNED,
        };
        fp::to_int::<F>(env, a, into, imm, rounding(env, MODE))
    }
}

/// SCVTF and UCVTF from an integer as wide as the format; `imm` is the number of fraction bits.
#[derive(Debug)]
pub(super) struct FromInt<const SIGNED: bool>;

impl<const SIGNED: bool> Fp1 for FromInt<SIGNED> {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, imm: u32, a: u64) -> u64 {
        fp::from_int::<F>(
            env,
            a,
            IntType {
                bits: F::WIDTH,
                signed: SIGNED,
            },
            imm,
        )
    }
}

/// As [`FromInt`], from a general register of 64 bits (`X`) or 32.
#[derive(Debug)]
pub(super) struct FromGeneral<const SIGNED: bool, const X: bool>;

impl<const SIGNED: bool, const X: bool> Fp1 for FromGeneral<SIGNED, X> {
    #[inline(always)]
    fn eval<F: Arith>(env: &mut FpEnv, imm: u32, a: u64) -> u64 {
        let from = IntType {
            bits: if X { 64 } else { 32 },
            signed: SIGNED,
        };
        fp::from_int::<F>(env, a, from, imm)
    }
}
