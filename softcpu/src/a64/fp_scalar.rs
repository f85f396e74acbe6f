//! Scalar FP data processing (C4.1.96, "Floating-point data-processing" and its neighbours): one,
//! two and three sources, compare, conditional compare and select, immediate.
//!
//! Half precision of FCVT is [`Half`], which FPCR.AHP changes; of everything else, [`Fp16`].

use core::marker::PhantomData;

use super::field::{bit, bits, reg};
use super::fp_lanes::{Done, scalar1, scalar2, scalar3, size};
use super::fp_ops::{
    Add, Div, Max, MaxNum, Min, MinNum, Mul, MulAdd, MulSub, NegMulAdd, NegMulSub, Nmul, RoundInt,
    Sqrt, Sub, mode,
};
use crate::emitter::{Args, Emitter, Int2, Scalar1, Scalar2, Scalar3};
use crate::fp::{self, Arith, Double, Format, Fp16, FpEnv, Half, Single};
use crate::table::{Kind, Table};

/// Rd, Rn and Rm as vector registers.
pub(super) fn dnm_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        m: reg(insn, 16),
        ..Args::default()
    })
}

/// Rd and Rn as vector registers.
pub(super) fn dn_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        ..Args::default()
    })
}

fn dnma_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        a: reg(insn, 10),
        ..a
    })
}

fn fmov<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    e.putv(size::<F>(), a.d, n);
    Ok(())
}

fn fabs<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    let mask = e.imm(F::MAGNITUDE);
    let r = e.and(n, mask);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

fn fneg<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    let sign = e.imm(F::SIGN);
    let r = e.int2(Int2::Xor, n, sign);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// FCVT between formats.
struct Convert<From, To>(PhantomData<(From, To)>);

impl<From: Format, To: Format> Scalar1 for Convert<From, To> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, _imm: u32, a: u64) -> u64 {
        fp::convert::<From, To>(env, a)
    }
}

fn fcvt<E: Emitter, From: Format, To: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<From>(), a.n);
    let r = e.scalar1::<Convert<From, To>>(0, n);
    e.putv(size::<To>(), a.d, r);
    Ok(())
}

/// FCMP and FCMPE: NZCV in bits 31:28.
struct Compare<F, const SIGNAL: bool>(PhantomData<F>);

impl<F: Arith, const SIGNAL: bool> Scalar2 for Compare<F, SIGNAL> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, _imm: u32, a: u64, b: u64) -> u64 {
        u64::from(fp::compare::<F>(env, a, b, SIGNAL)) << 28
    }
}

fn fcmp<E: Emitter, F: Arith, const SIGNAL: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), e.getv(size::<F>(), a.m));
    let flags = e.scalar2::<Compare<F, SIGNAL>>(0, n, m);
    e.set_nzcv(flags);
    Ok(())
}

fn fcmp_zero<E: Emitter, F: Arith, const SIGNAL: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, zero) = (e.getv(size::<F>(), a.n), e.imm(0));
    let flags = e.scalar2::<Compare<F, SIGNAL>>(0, n, zero);
    e.set_nzcv(flags);
    Ok(())
}

/// FCCMP and FCCMPE. The condition is an operand, since a comparison that is not made must not
/// raise anything in FPSR. `imm` is NZCV for that case.
struct ConditionalCompare<F, const SIGNAL: bool>(PhantomData<F>);

impl<F: Arith, const SIGNAL: bool> Scalar3 for ConditionalCompare<F, SIGNAL> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, holds: u64, a: u64, b: u64) -> u64 {
        let flags = if holds != 0 {
            fp::compare::<F>(env, a, b, SIGNAL)
        } else {
            imm
        };
        u64::from(flags) << 28
    }
}

/// `k` is the condition, `imm` the NZCV.
fn fccmp_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        k: bits(insn, 12, 4) as u16,
        imm: bits(insn, 0, 4).into(),
        ..a
    })
}

fn fccmp<E: Emitter, F: Arith, const SIGNAL: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), e.getv(size::<F>(), a.m));
    let (yes, no) = (e.imm(1), e.imm(0));
    let cond = e.cond(a.k as u8);
    let holds = e.select(cond, yes, no);
    let flags = e.scalar3::<ConditionalCompare<F, SIGNAL>>(a.imm as u32, holds, n, m);
    e.set_nzcv(flags);
    Ok(())
}

fn fcsel_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        k: bits(insn, 12, 4) as u16,
        ..a
    })
}

fn fcsel<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), e.getv(size::<F>(), a.m));
    let cond = e.cond(a.k as u8);
    let r = e.select(cond, n, m);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// VFPExpandImm: sign, three exponent bits and four fraction bits as a number.
fn fmov_imm_args<F: Format>(insn: u32) -> Option<Args> {
    let imm8 = u64::from(bits(insn, 13, 8));
    // Exponent NOT(b):b..b:cd for imm8 = abcdefgh.
    let b = bit(insn, 19);
    let high = if b {
        (F::EXP_ONES >> 1) & !3
    } else {
        1 << (F::EXP - 1)
    };
    let exponent = high | (imm8 >> 4 & 3);
    let fraction = (imm8 & 0xf) << (F::FRAC - 4);
    let imm = F::with_sign(bit(insn, 20), exponent << F::FRAC | fraction);
    Some(Args {
        d: reg(insn, 0),
        imm,
        ..Args::default()
    })
}

fn fmov_imm<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let imm = e.imm(a.imm);
    e.putv(size::<F>(), a.d, imm);
    Ok(())
}

/// Adds the rows of this class.
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    one_source_rows(t);
    source_rows(t);
    compare_rows(t);
}

const K: Kind = Kind::Simd;

#[rustfmt::skip]
fn one_source_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! unary {
        ($name:literal $opcode:literal $($exec:tt)*) => {
            t.row(K, concat!($name, " (scalar, H)"), concat!("00011110 111", $opcode, "10000.. ........"), dn_args, unary!(@ Fp16 $($exec)*));
            t.row(K, concat!($name, " (scalar, S)"), concat!("00011110 001", $opcode, "10000.. ........"), dn_args, unary!(@ Single $($exec)*));
            t.row(K, concat!($name, " (scalar, D)"), concat!("00011110 011", $opcode, "10000.. ........"), dn_args, unary!(@ Double $($exec)*));
        };
        (@ $f:ident bits $exec:ident) => { $exec::<E, $f> };
        (@ $f:ident $op:ty) => { scalar1::<E, $f, $op> };
    }
    unary!("FMOV (register)" "000000" bits fmov);
    unary!("FABS" "000001" bits fabs);
    unary!("FNEG" "000010" bits fneg);
    unary!("FSQRT" "000011" Sqrt);
    unary!("FRINTN" "001000" RoundInt<{ mode::N }>);
    unary!("FRINTP" "001001" RoundInt<{ mode::P }>);
    unary!("FRINTM" "001010" RoundInt<{ mode::M }>);
    unary!("FRINTZ" "001011" RoundInt<{ mode::Z }>);
    unary!("FRINTA" "001100" RoundInt<{ mode::A }>);
    unary!("FRINTX" "001110" RoundInt<{ mode::X }>);
    unary!("FRINTI" "001111" RoundInt<{ mode::I }>);
    t.row(K, "FCVT (S to D)", "00011110 00100010 110000.. ........", dn_args, fcvt::<E, Single, Double>);
    t.row(K, "FCVT (S to H)", "00011110 00100011 110000.. ........", dn_args, fcvt::<E, Single, Half>);
    t.row(K, "FCVT (D to S)", "00011110 01100010 010000.. ........", dn_args, fcvt::<E, Double, Single>);
    t.row(K, "FCVT (D to H)", "00011110 01100011 110000.. ........", dn_args, fcvt::<E, Double, Half>);
    t.row(K, "FCVT (H to S)", "00011110 11100010 010000.. ........", dn_args, fcvt::<E, Half, Single>);
    t.row(K, "FCVT (H to D)", "00011110 11100010 110000.. ........", dn_args, fcvt::<E, Half, Double>);
    t.row(K, "FMOV (scalar, immediate, H)", "00011110 111..... ...10000 000.....", fmov_imm_args::<Fp16>, fmov_imm::<E, Fp16>);
    t.row(K, "FMOV (scalar, immediate, S)", "00011110 001..... ...10000 000.....", fmov_imm_args::<Single>, fmov_imm::<E, Single>);
    t.row(K, "FMOV (scalar, immediate, D)", "00011110 011..... ...10000 000.....", fmov_imm_args::<Double>, fmov_imm::<E, Double>);
}

#[rustfmt::skip]
fn source_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! binary {
        ($name:literal $opcode:literal $op:ident) => {
            t.row(K, concat!($name, " (scalar, H)"), concat!("00011110 111.....", $opcode, "10.. ........"), dnm_args, scalar2::<E, Fp16, $op>);
            t.row(K, concat!($name, " (scalar, S)"), concat!("00011110 001.....", $opcode, "10.. ........"), dnm_args, scalar2::<E, Single, $op>);
            t.row(K, concat!($name, " (scalar, D)"), concat!("00011110 011.....", $opcode, "10.. ........"), dnm_args, scalar2::<E, Double, $op>);
        };
    }
    binary!("FMUL" "0000" Mul);
    binary!("FDIV" "0001" Div);
    binary!("FADD" "0010" Add);
    binary!("FSUB" "0011" Sub);
    binary!("FMAX" "0100" Max);
    binary!("FMIN" "0101" Min);
    binary!("FMAXNM" "0110" MaxNum);
    binary!("FMINNM" "0111" MinNum);
    binary!("FNMUL" "1000" Nmul);

    macro_rules! ternary {
        ($name:literal $o1:literal $o0:literal $op:ident) => {
            t.row(K, concat!($name, " (H)"), concat!("00011111 11", $o1, ".....", $o0, "....... ........"), dnma_args, scalar3::<E, Fp16, $op>);
            t.row(K, concat!($name, " (S)"), concat!("00011111 00", $o1, ".....", $o0, "....... ........"), dnma_args, scalar3::<E, Single, $op>);
            t.row(K, concat!($name, " (D)"), concat!("00011111 01", $o1, ".....", $o0, "....... ........"), dnma_args, scalar3::<E, Double, $op>);
        };
    }
    ternary!("FMADD" "0" "0" MulAdd);
    ternary!("FMSUB" "0" "1" MulSub);
    ternary!("FNMADD" "1" "0" NegMulAdd);
    ternary!("FNMSUB" "1" "1" NegMulSub);
}

#[rustfmt::skip]
fn compare_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! both {
        ($name:literal $fields:literal $args:ident $exec:ident $($signal:literal)?) => {
            t.row(K, concat!($name, " (H)"), concat!("00011110 111", $fields), $args, $exec::<E, Fp16 $(, { $signal })?>);
            t.row(K, concat!($name, " (S)"), concat!("00011110 001", $fields), $args, $exec::<E, Single $(, { $signal })?>);
            t.row(K, concat!($name, " (D)"), concat!("00011110 011", $fields), $args, $exec::<E, Double $(, { $signal })?>);
        };
    }
    both!("FCMP" "..... 001000.. ...00000" dnm_args fcmp false);
    both!("FCMPE" "..... 001000.. ...10000" dnm_args fcmp true);
    // Rm should be zero here, but the architecture does not make other values undefined.
    both!("FCMP (zero)" "..... 001000.. ...01000" dn_args fcmp_zero false);
    both!("FCMPE (zero)" "..... 001000.. ...11000" dn_args fcmp_zero true);
    both!("FCCMP" "..... ....01.. ...0...." fccmp_args fccmp false);
    both!("FCCMPE" "..... ....01.. ...1...." fccmp_args fccmp true);
    both!("FCSEL" "..... ....11.. ........" fcsel_args fcsel);
}
