//! Advanced SIMD vector by indexed element and scalar by indexed element (C4.1.97), integer forms.
//!
//! The element is copied into every lane; the rest is the operation on whole registers.

use super::field::{bits, reg};
use super::simd_op::{Done, Dup, Long, Map, halves, scalars, vectors};
use super::simd_three_diff::{Qdmlal, Qdmlsl, Qdmull};
use super::simd_three_same::{Dot, Mla, Mls, Mul, Qdmulh, Qrdmlah, Qrdmlsh, Qrdmulh};
use crate::emitter::{Args, Emitter, Vec1, Vec2, Vec3};
use crate::table::{Kind, Table};

/// `imm` is the index: `H:L:M` with a 4-bit Rm for halfwords, `H:L` for words.
fn args(insn: u32) -> Option<Args> {
    let hl = bits(insn, 11, 1) << 1 | bits(insn, 21, 1);
    let (m, index) = if bits(insn, 22, 2) == 1 {
        (reg(insn, 16) & 15, hl << 1 | bits(insn, 20, 1))
    } else {
        (reg(insn, 16), hl)
    };
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        m,
        imm: u64::from(index),
        ..Args::default()
    })
}

/// `Vd = O(Vn, element)`
fn e2<E: Emitter, O: Vec2, D: Vec1>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getq(a.n), e.getq(a.m));
    let m = e.vec1::<D>(a.imm as u32, m);
    let r = e.vec2::<O>(0, n, m);
    e.putq(a.d, r);
    Ok(())
}

/// `Vd = O(Vd, Vn, element)`
fn e3<E: Emitter, O: Vec3, D: Vec1>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n, m) = (e.getq(a.d), e.getq(a.n), e.getq(a.m));
    let m = e.vec1::<D>(a.imm as u32, m);
    let r = e.vec3::<O>(0, d, n, m);
    e.putq(a.d, r);
    Ok(())
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (by element, ", $suffix, ")"), concat!("0", $q, $u, "01111", $size, "......", $opcode, ".0.........."), args, $f::<E, Map<$op, $t, $n>, Dup<$t, $n>>);
        };
    }
    vectors!(row ("MUL" "0" "1000" e2 Mul) u16 u32);
    vectors!(row ("MLA" "1" "0000" e3 Mla) u16 u32);
    vectors!(row ("MLS" "1" "0100" e3 Mls) u16 u32);
    vectors!(row ("SQDMULH" "0" "1100" e2 Qdmulh) i16 i32);
    vectors!(row ("SQRDMULH" "0" "1101" e2 Qrdmulh) i16 i32);
    vectors!(row ("SQRDMLAH" "1" "1101" e3 Qrdmlah) i16 i32);
    vectors!(row ("SQRDMLSH" "1" "1111" e3 Qrdmlsh) i16 i32);
    macro_rules! long {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(S, concat!($name, " (by element, ", $suffix, ")"), concat!("0", $q, $u, "01111", $size, "......", $opcode, ".0.........."), args, $f::<E, Long<$op, $t, $n, $high>, Dup<$t, { 2 * $n }>>);
        };
    }
    halves!(long ("SMLAL" "0" "0010" e3 Mla) i16 i32);
    halves!(long ("UMLAL" "1" "0010" e3 Mla) u16 u32);
    halves!(long ("SMLSL" "0" "0110" e3 Mls) i16 i32);
    halves!(long ("UMLSL" "1" "0110" e3 Mls) u16 u32);
    halves!(long ("SMULL" "0" "1010" e2 Mul) i16 i32);
    halves!(long ("UMULL" "1" "1010" e2 Mul) u16 u32);
    halves!(long ("SQDMLAL" "0" "0011" e3 Qdmlal) i16 i32);
    halves!(long ("SQDMLSL" "0" "0111" e3 Qdmlsl) i16 i32);
    halves!(long ("SQDMULL" "0" "1011" e2 Qdmull) i16 i32);

    t.row(S, "SDOT (by element, 2S)", "00001111 10...... 1110.0.. ........", args, e3::<E, Dot<i8, 2>, Dup<u32, 4>>);
    t.row(S, "SDOT (by element, 4S)", "01001111 10...... 1110.0.. ........", args, e3::<E, Dot<i8, 4>, Dup<u32, 4>>);
    t.row(S, "UDOT (by element, 2S)", "00101111 10...... 1110.0.. ........", args, e3::<E, Dot<u8, 2>, Dup<u32, 4>>);
    t.row(S, "UDOT (by element, 4S)", "01101111 10...... 1110.0.. ........", args, e3::<E, Dot<u8, 4>, Dup<u32, 4>>);

    macro_rules! scalar {
        (($name:literal $u:literal $opcode:literal $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(S, concat!($name, " (by element, scalar, ", $suffix, ")"), concat!("01", $u, "11111", $size, "......", $opcode, ".0.........."), args, $f::<E, Map<$op, $t, 1>, Dup<$t, 1>>);
        };
    }
    scalars!(scalar ("SQDMULH" "0" "1100" e2 Qdmulh) i16 i32);
    scalars!(scalar ("SQRDMULH" "0" "1101" e2 Qrdmulh) i16 i32);
    scalars!(scalar ("SQRDMLAH" "1" "1101" e3 Qrdmlah) i16 i32);
    scalars!(scalar ("SQRDMLSH" "1" "1111" e3 Qrdmlsh) i16 i32);
    macro_rules! scalar_long {
        (($name:literal $opcode:literal $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(S, concat!($name, " (by element, scalar, ", $suffix, ")"), concat!("01011111", $size, "......", $opcode, ".0.........."), args, $f::<E, Long<$op, $t, 1, false>, Dup<$t, 1>>);
        };
    }
    scalars!(scalar_long ("SQDMLAL" "0011" e3 Qdmlal) i16 i32);
    scalars!(scalar_long ("SQDMLSL" "0111" e3 Qdmlsl) i16 i32);
    scalars!(scalar_long ("SQDMULL" "1011" e2 Qdmull) i16 i32);
}
