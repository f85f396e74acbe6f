//! AdvSIMD FP with operands of the same shape: three registers (C4.1.95, "three same"), vector and
//! scalar, pairwise, by element and across lanes.

use super::field::{bit, bits};
use super::fp_lanes::{
    Across, ByElement, Done, Each, One, Pairs, scalar2, size, vector1, vector2, vector3,
};
use super::fp_ops::{
    AbsDiff, AbsGe, AbsGt, Add, CmpEq, CmpGe, CmpGt, Div, Fp2, Fp3, Max, MaxNum, Min, MinNum, Mul,
    MulAdd, MulSub, Mulx, RecipStep, RsqrtStep, Sub,
};
use super::fp_scalar::{dn_args, dnm_args};
use crate::emitter::{Args, Emitter, Int2};
use crate::fp::{Arith, Double, Fp16, Single};
use crate::table::{Kind, Table};

/// `k` is the lane of Vm.
fn element_args(insn: u32) -> Option<Args> {
    let (l, h) = (bits(insn, 21, 1), bits(insn, 11, 1));
    let double = bit(insn, 22);
    let k = if double { h } else { h << 1 | l };
    if double && l != 0 {
        return None;
    }
    dnm_args(insn).map(|a| Args { k: k as u16, ..a })
}

/// As [`element_args`] for halves, where one bit of Vm belongs to the lane.
fn half_element_args(insn: u32) -> Option<Args> {
    let k = bits(insn, 11, 1) << 2 | bits(insn, 20, 2);
    dnm_args(insn).map(|a| Args {
        m: a.m & 0xf,
        k: k as u16,
        ..a
    })
}

/// One lane of a vector register as a scalar.
#[inline(always)]
fn get_lane<E: Emitter, F: Arith>(e: &mut E, reg: u8, lane: u16) -> E::X {
    let per_half = (64 / F::WIDTH) as u16;
    let vector = e.getq(reg);
    let half = e.half(vector, (lane / per_half) as u8);
    if per_half == 1 {
        return half;
    }
    let shift = e.imm(u64::from(lane % per_half * F::WIDTH as u16));
    let low = e.int2(Int2::Lsr, half, shift);
    let mask = e.imm(F::MASK);
    e.and(low, mask)
}

/// Scalar `d = O(n, m[lane])`.
fn element2<E: Emitter, F: Arith, O: Fp2>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), get_lane::<E, F>(e, a.m, a.k));
    let r = e.scalar2::<One<F, O>>(0, n, m);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// Scalar `d = O(d, n, m[lane])`.
fn element3<E: Emitter, F: Arith, O: Fp3>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), get_lane::<E, F>(e, a.m, a.k));
    let d = e.getv(size::<F>(), a.d);
    let r = e.scalar3::<One<F, O>>(0, d, n, m);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// Scalar `d = O(n[0], n[1])`.
fn pair<E: Emitter, F: Arith, O: Fp2>(e: &mut E, a: &Args) -> Done<E> {
    let (low, high) = (get_lane::<E, F>(e, a.n, 0), get_lane::<E, F>(e, a.n, 1));
    let r = e.scalar2::<One<F, O>>(0, low, high);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

const K: Kind = Kind::Simd;

/// Adds the rows of this class.
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    vector_rows(t);
    scalar_rows(t);
    element_rows(t);
    reduce_rows(t);
}

#[rustfmt::skip]
fn vector_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! vector {
        ($name:literal $u:literal $a:literal $opcode:literal $exec:ident $shape:ident $op:ident) => {
            t.row(K, concat!($name, " (vector, 4H)"), concat!("00", $u, "01110 ", $a, "10..... 00", $opcode, "1.. ........"), dnm_args, $exec::<E, $shape<Fp16, $op, false>>);
            t.row(K, concat!($name, " (vector, 8H)"), concat!("01", $u, "01110 ", $a, "10..... 00", $opcode, "1.. ........"), dnm_args, $exec::<E, $shape<Fp16, $op, true>>);
            t.row(K, concat!($name, " (vector, 2S)"), concat!("00", $u, "01110 ", $a, "01..... 11", $opcode, "1.. ........"), dnm_args, $exec::<E, $shape<Single, $op, false>>);
            t.row(K, concat!($name, " (vector, 4S)"), concat!("01", $u, "01110 ", $a, "01..... 11", $opcode, "1.. ........"), dnm_args, $exec::<E, $shape<Single, $op, true>>);
            t.row(K, concat!($name, " (vector, 2D)"), concat!("01", $u, "01110 ", $a, "11..... 11", $opcode, "1.. ........"), dnm_args, $exec::<E, $shape<Double, $op, true>>);
        };
    }
    vector!("FMAXNM" "0" "0" "000" vector2 Each MaxNum);
    vector!("FMLA" "0" "0" "001" vector3 Each MulAdd);
    vector!("FADD" "0" "0" "010" vector2 Each Add);
    vector!("FMULX" "0" "0" "011" vector2 Each Mulx);
    vector!("FCMEQ" "0" "0" "100" vector2 Each CmpEq);
    vector!("FMAX" "0" "0" "110" vector2 Each Max);
    vector!("FRECPS" "0" "0" "111" vector2 Each RecipStep);
    vector!("FMINNM" "0" "1" "000" vector2 Each MinNum);
    vector!("FMLS" "0" "1" "001" vector3 Each MulSub);
    vector!("FSUB" "0" "1" "010" vector2 Each Sub);
    vector!("FMIN" "0" "1" "110" vector2 Each Min);
    vector!("FRSQRTS" "0" "1" "111" vector2 Each RsqrtStep);
    vector!("FMAXNMP" "1" "0" "000" vector2 Pairs MaxNum);
    vector!("FADDP" "1" "0" "010" vector2 Pairs Add);
    vector!("FMUL" "1" "0" "011" vector2 Each Mul);
    vector!("FCMGE" "1" "0" "100" vector2 Each CmpGe);
    vector!("FACGE" "1" "0" "101" vector2 Each AbsGe);
    vector!("FMAXP" "1" "0" "110" vector2 Pairs Max);
    vector!("FDIV" "1" "0" "111" vector2 Each Div);
    vector!("FMINNMP" "1" "1" "000" vector2 Pairs MinNum);
    vector!("FABD" "1" "1" "010" vector2 Each AbsDiff);
    vector!("FCMGT" "1" "1" "100" vector2 Each CmpGt);
    vector!("FACGT" "1" "1" "101" vector2 Each AbsGt);
    vector!("FMINP" "1" "1" "110" vector2 Pairs Min);
}

#[rustfmt::skip]
fn scalar_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! scalar {
        ($name:literal $u:literal $a:literal $opcode:literal $op:ident) => {
            t.row(K, concat!($name, " (SIMD scalar, H)"), concat!("01", $u, "11110 ", $a, "10..... 00", $opcode, "1.. ........"), dnm_args, scalar2::<E, Fp16, $op>);
            t.row(K, concat!($name, " (SIMD scalar, S)"), concat!("01", $u, "11110 ", $a, "01..... 11", $opcode, "1.. ........"), dnm_args, scalar2::<E, Single, $op>);
            t.row(K, concat!($name, " (SIMD scalar, D)"), concat!("01", $u, "11110 ", $a, "11..... 11", $opcode, "1.. ........"), dnm_args, scalar2::<E, Double, $op>);
        };
    }
    scalar!("FMULX" "0" "0" "011" Mulx);
    scalar!("FCMEQ" "0" "0" "100" CmpEq);
    scalar!("FRECPS" "0" "0" "111" RecipStep);
    scalar!("FRSQRTS" "0" "1" "111" RsqrtStep);
    scalar!("FCMGE" "1" "0" "100" CmpGe);
    scalar!("FACGE" "1" "0" "101" AbsGe);
    scalar!("FABD" "1" "1" "010" AbsDiff);
    scalar!("FCMGT" "1" "1" "100" CmpGt);
    scalar!("FACGT" "1" "1" "101" AbsGt);
}

#[rustfmt::skip]
fn element_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! element {
        ($name:literal $u:literal $opcode:literal $vector:ident $scalar:ident $op:ident) => {
            t.row(K, concat!($name, " (by element, 4H)"), concat!("00", $u, "01111 00......", $opcode, ".0.. ........"), half_element_args, $vector::<E, ByElement<Fp16, $op, false>>);
            t.row(K, concat!($name, " (by element, 8H)"), concat!("01", $u, "01111 00......", $opcode, ".0.. ........"), half_element_args, $vector::<E, ByElement<Fp16, $op, true>>);
            t.row(K, concat!($name, " (by element, H)"), concat!("01", $u, "11111 00......", $opcode, ".0.. ........"), half_element_args, $scalar::<E, Fp16, $op>);
            t.row(K, concat!($name, " (by element, 2S)"), concat!("00", $u, "01111 10......", $opcode, ".0.. ........"), element_args, $vector::<E, ByElement<Single, $op, false>>);
            t.row(K, concat!($name, " (by element, 4S)"), concat!("01", $u, "01111 10......", $opcode, ".0.. ........"), element_args, $vector::<E, ByElement<Single, $op, true>>);
            t.row(K, concat!($name, " (by element, 2D)"), concat!("01", $u, "01111 11......", $opcode, ".0.. ........"), element_args, $vector::<E, ByElement<Double, $op, true>>);
            t.row(K, concat!($name, " (by element, S)"), concat!("01", $u, "11111 10......", $opcode, ".0.. ........"), element_args, $scalar::<E, Single, $op>);
            t.row(K, concat!($name, " (by element, D)"), concat!("01", $u, "11111 11......", $opcode, ".0.. ........"), element_args, $scalar::<E, Double, $op>);
        };
    }
    element!("FMLA" "0" "0001" vector3 element3 MulAdd);
    element!("FMLS" "0" "0101" vector3 element3 MulSub);
    element!("FMUL" "0" "1001" vector2 element2 Mul);
    element!("FMULX" "1" "1001" vector2 element2 Mulx);
}

#[rustfmt::skip]
fn reduce_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! pairwise {
        ($name:literal $a:literal $opcode:literal $op:ident) => {
            t.row(K, concat!($name, " (scalar, 2H)"), concat!("01011110 ", $a, "011000", $opcode, "10.. ........"), dn_args, pair::<E, Fp16, $op>);
            t.row(K, concat!($name, " (scalar, 2S)"), concat!("01111110 ", $a, "011000", $opcode, "10.. ........"), dn_args, pair::<E, Single, $op>);
            t.row(K, concat!($name, " (scalar, 2D)"), concat!("01111110 ", $a, "111000", $opcode, "10.. ........"), dn_args, pair::<E, Double, $op>);
        };
    }
    pairwise!("FMAXNMP" "0" "01100" MaxNum);
    pairwise!("FADDP" "0" "01101" Add);
    pairwise!("FMAXP" "0" "01111" Max);
    pairwise!("FMINNMP" "1" "01100" MinNum);
    pairwise!("FMINP" "1" "01111" Min);
    macro_rules! across {
        ($name:literal $a:literal $opcode:literal $op:ident) => {
            t.row(K, concat!($name, " (4H)"), concat!("00001110 ", $a, "0110000", $opcode, "10.. ........"), dn_args, vector1::<E, Across<Fp16, $op, false>>);
            t.row(K, concat!($name, " (8H)"), concat!("01001110 ", $a, "0110000", $opcode, "10.. ........"), dn_args, vector1::<E, Across<Fp16, $op, true>>);
            t.row(K, concat!($name, " (4S)"), concat!("01101110 ", $a, "0110000", $opcode, "10.. ........"), dn_args, vector1::<E, Across<Single, $op, true>>);
        };
    }
    across!("FMAXNMV" "0" "1100" MaxNum);
    across!("FMINNMV" "1" "1100" MinNum);
    across!("FMAXV" "0" "1111" Max);
    across!("FMINV" "1" "1111" Min);
}
