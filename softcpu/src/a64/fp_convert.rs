//! Conversion between scalar FP and general registers (C4.1.96, "Conversion between floating-point
//! and integer", "and fixed-point"), and the FMOVs between them.

use super::field::{bit, bits, rd, reg, rn};
use super::fp_lanes::{Done, One, size};
use super::fp_ops::{FromGeneral, ToGeneral, mode};
use crate::emitter::{Args, Emitter};
use crate::fp::{Arith, Double, Format, Fp16, Single};
use crate::table::{Kind, Table};

fn to_general_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: rd(insn),
        n: reg(insn, 5),
        ..Args::default()
    })
}

fn from_general_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: rn(insn),
        ..Args::default()
    })
}

/// The number of fraction bits, at most the width of the general register.
fn fraction_bits(insn: u32) -> Option<u16> {
    let scale = bits(insn, 10, 6) as u16;
    (bit(insn, 31) || scale >= 32).then_some(64 - scale)
}

fn to_fixed_args(insn: u32) -> Option<Args> {
    Some(Args {
        k: fraction_bits(insn)?,
        ..to_general_args(insn)?
    })
}

fn from_fixed_args(insn: u32) -> Option<Args> {
    Some(Args {
        k: fraction_bits(insn)?,
        ..from_general_args(insn)?
    })
}

fn to_general<E: Emitter, F: Arith, const MODE: u8, const SIGNED: bool, const X: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    let r = e.scalar1::<One<F, ToGeneral<MODE, SIGNED, X>>>(u32::from(a.k), n);
    e.put(a.d, r);
    Ok(())
}

fn from_general<E: Emitter, F: Arith, const SIGNED: bool, const X: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let n = e.get(a.n);
    let r = e.scalar1::<One<F, FromGeneral<SIGNED, X>>>(u32::from(a.k), n);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

fn fmov_to_general<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    e.put(a.d, n);
    Ok(())
}

fn fmov_from_general<E: Emitter, F: Format>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.get(a.n);
    e.putv(size::<F>(), a.d, n);
    Ok(())
}

fn fmov_from_top<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getq(a.n);
    let top = e.half(n, 1);
    e.put(a.d, top);
    Ok(())
}

fn fmov_to_top<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n) = (e.getq(a.d), e.get(a.n));
    let low = e.half(d, 0);
    let r = e.pack(low, n);
    e.putq(a.d, r);
    Ok(())
}

const K: Kind = Kind::Simd;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    t.row(K, "FMOV (H to W)", "00011110 11100110 000000.. ........", to_general_args, fmov_to_general::<E, Fp16>);
    t.row(K, "FMOV (W to H)", "00011110 11100111 000000.. ........", from_general_args, fmov_from_general::<E, Fp16>);
    t.row(K, "FMOV (H to X)", "10011110 11100110 000000.. ........", to_general_args, fmov_to_general::<E, Fp16>);
    t.row(K, "FMOV (X to H)", "10011110 11100111 000000.. ........", from_general_args, fmov_from_general::<E, Fp16>);
    t.row(K, "FMOV (S to W)", "00011110 00100110 000000.. ........", to_general_args, fmov_to_general::<E, Single>);
    t.row(K, "FMOV (W to S)", "00011110 00100111 000000.. ........", from_general_args, fmov_from_general::<E, Single>);
    t.row(K, "FMOV (D to X)", "10011110 01100110 000000.. ........", to_general_args, fmov_to_general::<E, Double>);
    t.row(K, "FMOV (X to D)", "10011110 01100111 000000.. ........", from_general_args, fmov_from_general::<E, Double>);
    t.row(K, "FMOV (D[1] to X)", "10011110 10101110 000000.. ........", to_general_args, fmov_from_top);
    t.row(K, "FMOV (X to D[1])", "10011110 10101111 000000.. ........", from_general_args, fmov_to_top);

    macro_rules! forms {
        ($name:literal $type21:literal $fields:literal $args:ident $exec:ident $($param:expr),*) => {
            t.row(K, concat!($name, " (W, H)"), concat!("00011110 11", $type21, $fields), $args, $exec::<E, Fp16, $({ $param }),*, false>);
            t.row(K, concat!($name, " (X, H)"), concat!("10011110 11", $type21, $fields), $args, $exec::<E, Fp16, $({ $param }),*, true>);
            t.row(K, concat!($name, " (W, S)"), concat!("00011110 00", $type21, $fields), $args, $exec::<E, Single, $({ $param }),*, false>);
            t.row(K, concat!($name, " (W, D)"), concat!("00011110 01", $type21, $fields), $args, $exec::<E, Double, $({ $param }),*, false>);
            t.row(K, concat!($name, " (X, S)"), concat!("10011110 00", $type21, $fields), $args, $exec::<E, Single, $({ $param }),*, true>);
            t.row(K, concat!($name, " (X, D)"), concat!("10011110 01", $type21, $fields), $args, $exec::<E, Double, $({ $param }),*, true>);
        };
    }
    forms!("FCVTNS (scalar)" "1" "00000 000000.. ........" to_general_args to_general mode::N, true);
    forms!("FCVTNU (scalar)" "1" "00001 000000.. ........" to_general_args to_general mode::N, false);
    forms!("SCVTF (integer)" "1" "00010 000000.. ........" from_general_args from_general true);
    forms!("UCVTF (integer)" "1" "00011 000000.. ........" from_general_args from_general false);
    forms!("FCVTAS (scalar)" "1" "00100 000000.. ........" to_general_args to_general mode::A, true);
    forms!("FCVTAU (scalar)" "1" "00101 000000.. ........" to_general_args to_general mode::A, false);
    forms!("FCVTPS (scalar)" "1" "01000 000000.. ........" to_general_args to_general mode::P, true);
    forms!("FCVTPU (scalar)" "1" "01001 000000.. ........" to_general_args to_general mode::P, false);
    forms!("FCVTMS (scalar)" "1" "10000 000000.. ........" to_general_args to_general mode::M, true);
    forms!("FCVTMU (scalar)" "1" "10001 000000.. ........" to_general_args to_general mode::M, false);
    forms!("FCVTZS (integer)" "1" "11000 000000.. ........" to_general_args to_general mode::Z, true);
    forms!("FCVTZU (integer)" "1" "11001 000000.. ........" to_general_args to_general mode::Z, false);
    forms!("SCVTF (fixed-point)" "0" "00010 ........ ........" from_fixed_args from_general true);
    forms!("UCVTF (fixed-point)" "0" "00011 ........ ........" from_fixed_args from_general false);
    forms!("FCVTZS (fixed-point)" "0" "11000 ........ ........" to_fixed_args to_general mode::Z, true);
    forms!("FCVTZU (fixed-point)" "0" "11001 ........ ........" to_fixed_args to_general mode::Z, false);
}
