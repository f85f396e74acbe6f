//! Advanced SIMD shift by immediate and scalar shift by immediate (C4.1.97), integer forms.
//!
//! `immh` says the element size by its leading one, and with `immb` the amount: from the element
//! size up for left shifts, from twice of it down for right shifts. An `immh` of 0 belongs to
//! another class. Conversions between fixed-point and floating-point numbers are not here.

use super::field::{bits, reg};
use super::simd_lane::{Flip, Lane, Narrow};
use super::simd_op::{Long, Map, dn, halves, narrow1, ops, scalars, v1, vectors};
use crate::emitter::{Args, Emitter};
use crate::table::{Kind, Table};

ops! {
    /// `SSHR`, `USHR`
    Shr<T: Lane>(a; n, _) -> T = a.shr(n);
    /// `SRSHR`, `URSHR`
    Rshr<T: Lane>(a; n, _) -> T = a.rounding_shr(n);
    /// `SSRA`, `USRA`
    Sra<T: Lane>(d, a; n, _) -> T = d.add(a.shr(n));
    /// `SRSRA`, `URSRA`
    Rsra<T: Lane>(d, a; n, _) -> T = d.add(a.rounding_shr(n));
    /// `SHL`, and `SSHLL`, `USHLL`, `SHLL` on widened lanes.
    Shl<T: Lane>(a; n, _) -> T = a.shl(n);
    /// `SLI`
    Sli<T: Lane>(d, a; n, _) -> T = a.shl(n) | (d & !(!T::ZERO).shl(n));
    /// `SRI`, on unsigned lanes.
    Sri<T: Lane>(d, a; n, _) -> T = a.shr(n) | (d & !(!T::ZERO).shr(n));
    /// `SQSHL`, `UQSHL`
    Qshl<T: Lane>(a; n, qc) -> T = a.sat_shl(n, qc);
    /// `SQSHLU`: of signed lanes to unsigned ones.
    Qshlu<T: Flip>(a; n, qc) -> T::Other = {
        *qc |= a < T::ZERO;
        a.max(T::ZERO).flip().sat_shl(n, qc)
    };
    /// `SHRN`
    Shrn<T: Narrow>(a; n, _) -> T::Half = a.shr(n).truncate();
    /// `RSHRN`
    Rshrn<T: Narrow>(a; n, _) -> T::Half = a.rounding_shr(n).truncate();
    /// `SQSHRN`, `UQSHRN`
    Qshrn<T: Narrow>(a; n, qc) -> T::Half = a.shr(n).saturate(qc);
    /// `SQRSHRN`, `UQRSHRN`
    Qrshrn<T: Narrow>(a; n, qc) -> T::Half = a.rounding_shr(n).saturate(qc);
    /// `SQSHRUN`
    Qshrun<T: Narrow>(a; n, qc) -> T::Half = a.shr(n).saturate_unsigned(qc);
    /// `SQRSHRUN`
    Qrshrun<T: Narrow>(a; n, qc) -> T::Half = a.rounding_shr(n).saturate_unsigned(qc);
}

fn args(insn: u32, amount: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        imm: u64::from(amount),
        ..Args::default()
    })
}

/// The amount without its leading one, and that one.
fn amount(insn: u32) -> (u32, u32) {
    let (immh, all) = (bits(insn, 19, 4), bits(insn, 16, 7));
    let size = 8 << immh.checked_ilog2().unwrap_or(0);
    (all - size, size)
}

fn left(insn: u32) -> Option<Args> {
    args(insn, amount(insn).0)
}

fn right(insn: u32) -> Option<Args> {
    let (amount, size) = amount(insn);
    args(insn, size - amount)
}

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $args:ident $f:ident $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(Kind::Simd, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "011110", $immh, $opcode, "1.........."), $args, $f::<E, Map<$op, $t, $n>>);
        };
    }
    macro_rules! same {
        ($($name:literal $u:literal $opcode:literal $args:ident $f:ident $op:ident: $($t:ident)*;)*) => {$(
            vectors!(row ($name $u $opcode $args $f $op) $($t)*);
        )*};
    }
    same! {
        "SSHR" "0" "00000" right v1 Shr: i8 i16 i32 i64;
        "USHR" "1" "00000" right v1 Shr: u8 u16 u32 u64;
        "SSRA" "0" "00010" right dn Sra: i8 i16 i32 i64;
        "USRA" "1" "00010" right dn Sra: u8 u16 u32 u64;
        "SRSHR" "0" "00100" right v1 Rshr: i8 i16 i32 i64;
        "URSHR" "1" "00100" right v1 Rshr: u8 u16 u32 u64;
        "SRSRA" "0" "00110" right dn Rsra: i8 i16 i32 i64;
        "URSRA" "1" "00110" right dn Rsra: u8 u16 u32 u64;
        "SRI" "1" "01000" right dn Sri: u8 u16 u32 u64;
        "SHL" "0" "01010" left v1 Shl: u8 u16 u32 u64;
        "SLI" "1" "01010" left dn Sli: u8 u16 u32 u64;
        "SQSHLU" "1" "01100" left v1 Qshlu: i8 i16 i32 i64;
        "SQSHL (immediate)" "0" "01110" left v1 Qshl: i8 i16 i32 i64;
        "UQSHL (immediate)" "1" "01110" left v1 Qshl: u8 u16 u32 u64;
    }
    narrow_and_long(t);
    scalar(t);
}

#[rustfmt::skip]
fn narrow_and_long<E: Emitter>(t: &mut Table<E>) {
    macro_rules! narrow {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(Kind::Simd, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "011110", $immh, $opcode, "1.........."), right, narrow1::<E, Map<$op, $wide, $n>, $high>);
        };
    }
    halves!(narrow ("SHRN" "0" "10000" Shrn) u8 u16 u32);
    halves!(narrow ("RSHRN" "0" "10001" Rshrn) u8 u16 u32);
    halves!(narrow ("SQSHRN" "0" "10010" Qshrn) i8 i16 i32);
    halves!(narrow ("UQSHRN" "1" "10010" Qshrn) u8 u16 u32);
    halves!(narrow ("SQRSHRN" "0" "10011" Qrshrn) i8 i16 i32);
    halves!(narrow ("UQRSHRN" "1" "10011" Qrshrn) u8 u16 u32);
    halves!(narrow ("SQSHRUN" "1" "10000" Qshrun) i8 i16 i32);
    halves!(narrow ("SQRSHRUN" "1" "10001" Qrshrun) i8 i16 i32);
    macro_rules! long {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal $wide:ident $high:literal) => {
            t.row(Kind::Simd, concat!($name, " (", $suffix, ")"), concat!("0", $q, $u, "011110", $immh, $opcode, "1.........."), left, v1::<E, Long<$op, $t, $n, $high>>);
        };
    }
    halves!(long ("SSHLL" "0" "10100" Shl) i8 i16 i32);
    halves!(long ("USHLL" "1" "10100" Shl) u8 u16 u32);
}

#[rustfmt::skip]
fn scalar<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $u:literal $opcode:literal $args:ident $f:ident $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(Kind::Simd, concat!($name, " (scalar, ", $suffix, ")"), concat!("01", $u, "111110", $immh, $opcode, "1.........."), $args, $f::<E, Map<$op, $t, 1>>);
        };
    }
    macro_rules! narrow {
        (($name:literal $u:literal $opcode:literal $op:ident) $suffix:literal $size:literal $immh:literal $t:ident $wide:ident) => {
            t.row(Kind::Simd, concat!($name, " (scalar, ", $suffix, ")"), concat!("01", $u, "111110", $immh, $opcode, "1.........."), right, v1::<E, Map<$op, $wide, 1>>);
        };
    }
    macro_rules! same {
        ($($name:literal $u:literal $opcode:literal $args:ident $f:ident $op:ident: $($t:ident)*;)*) => {$(
            scalars!(row ($name $u $opcode $args $f $op) $($t)*);
        )*};
    }
    same! {
        "SSHR" "0" "00000" right v1 Shr: i64;
        "USHR" "1" "00000" right v1 Shr: u64;
        "SSRA" "0" "00010" right dn Sra: i64;
        "USRA" "1" "00010" right dn Sra: u64;
        "SRSHR" "0" "00100" right v1 Rshr: i64;
        "URSHR" "1" "00100" right v1 Rshr: u64;
        "SRSRA" "0" "00110" right dn Rsra: i64;
        "URSRA" "1" "00110" right dn Rsra: u64;
        "SRI" "1" "01000" right dn Sri: u64;
        "SHL" "0" "01010" left v1 Shl: u64;
        "SLI" "1" "01010" left dn Sli: u64;
        "SQSHLU" "1" "01100" left v1 Qshlu: i8 i16 i32 i64;
        "SQSHL (immediate)" "0" "01110" left v1 Qshl: i8 i16 i32 i64;
        "UQSHL (immediate)" "1" "01110" left v1 Qshl: u8 u16 u32 u64;
    }
    scalars!(narrow ("SQSHRN" "0" "10010" Qshrn) i8 i16 i32);
    scalars!(narrow ("UQSHRN" "1" "10010" Qshrn) u8 u16 u32);
    scalars!(narrow ("SQRSHRN" "0" "10011" Qrshrn) i8 i16 i32);
    scalars!(narrow ("UQRSHRN" "1" "10011" Qrshrn) u8 u16 u32);
    scalars!(narrow ("SQSHRUN" "1" "10000" Qshrun) i8 i16 i32);
    scalars!(narrow ("SQRSHRUN" "1" "10001" Qrshrun) i8 i16 i32);
}
