//! Loads and stores of general registers (C4.1.95): literal, immediate, register offset,
//! unprivileged, pairs, prefetch.

use aarch64::Size;

use super::dp_reg::extend;
use super::field::{bit, bits, dest, reg, rm, rn_sp, signed};
use crate::emitter::{Access, Args, Emitter, Int1, SP};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

/// Addressing: base plus immediate.
pub(super) const OFFSET: u8 = 0;
/// Base plus immediate, base updated.
pub(super) const PRE: u8 = 1;
/// Base, then updated by the immediate.
pub(super) const POST: u8 = 2;
/// Base plus extended register: `m`, `k` = extension and shift.
pub(super) const REGISTER: u8 = 3;

/// Loads: zero-extend.
const ZERO: u8 = 0;
/// Loads: sign-extend to 32 bits.
const SIGN32: u8 = 1;
/// Loads: sign-extend to 64 bits.
const SIGN64: u8 = 2;

/// The access size of a const parameter: log2 of the bytes.
#[inline(always)]
pub(super) const fn size_of(log2: u8) -> Size {
    match log2 {
        0 => Size::B,
        1 => Size::H,
        2 => Size::W,
        _ => Size::D,
    }
}

/// The address, and the base's new value.
#[inline(always)]
pub(super) fn address<E: Emitter, const MODE: u8>(
    e: &mut E,
    a: &Args,
) -> Result<(E::X, E::X), E::Stop> {
    let base = e.get(a.n);
    if a.n == SP {
        e.check_sp(base)?;
    }
    if MODE == REGISTER {
        let m = e.get(a.m);
        let offset = extend(e, m, a.k, a.imm);
        let va = e.add(base, offset);
        return Ok((va, va));
    }
    let moved = e.offset(base, a.imm);
    Ok((if MODE == POST { base } else { moved }, moved))
}

#[inline(always)]
pub(super) fn write_back<E: Emitter, const MODE: u8>(e: &mut E, a: &Args, moved: E::X) {
    if MODE == PRE || MODE == POST {
        e.put(a.n, moved);
    }
}

#[inline(always)]
fn extend_loaded<E: Emitter, const LOG2: u8, const SIGN: u8>(e: &mut E, value: E::X) -> E::X {
    if SIGN == ZERO {
        return value;
    }
    let value = e.int1(Int1::Sext(size_of(LOG2)), value);
    if SIGN == SIGN32 {
        e.zext32(value)
    } else {
        value
    }
}

fn ldr<E: Emitter, const LOG2: u8, const SIGN: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let value = e.load(size_of(LOG2), Access::Plain, va)?;
    let value = extend_loaded::<E, LOG2, SIGN>(e, value);
    write_back::<E, MODE>(e, a, moved);
    e.put(a.d, value);
    Ok(())
}

fn str<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let value = e.get(a.d);
    e.store(size_of(LOG2), Access::Plain, va, value)?;
    write_back::<E, MODE>(e, a, moved);
    Ok(())
}

fn ldtr<E: Emitter, const LOG2: u8, const SIGN: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, _) = address::<E, OFFSET>(e, a)?;
    let value = e.load(size_of(LOG2), Access::Unprivileged, va)?;
    let value = extend_loaded::<E, LOG2, SIGN>(e, value);
    e.put(a.d, value);
    Ok(())
}

fn sttr<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, _) = address::<E, OFFSET>(e, a)?;
    let value = e.get(a.d);
    e.store(size_of(LOG2), Access::Unprivileged, va, value)
}

fn ldr_literal<E: Emitter, const LOG2: u8, const SIGN: u8>(e: &mut E, a: &Args) -> Done<E> {
    let pc = e.pc(a);
    let va = e.offset(pc, a.imm);
    let value = e.load(size_of(LOG2), Access::Plain, va)?;
    let value = extend_loaded::<E, LOG2, SIGN>(e, value);
    e.put(a.d, value);
    Ok(())
}

fn prefetch<E: Emitter>(_: &mut E, _: &Args) -> Done<E> {
    Ok(())
}

#[inline(always)]
fn load_pair<E: Emitter, const LOG2: u8>(e: &mut E, va: E::X) -> Result<(E::X, E::X), E::Stop> {
    let first = e.load(size_of(LOG2), Access::Plain, va)?;
    let next = e.offset(va, 1 << LOG2);
    let second = e.load(size_of(LOG2), Access::Plain, next)?;
    Ok((first, second))
}

fn ldp<E: Emitter, const LOG2: u8, const SIGN: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let (first, second) = load_pair::<E, LOG2>(e, va)?;
    let first = extend_loaded::<E, LOG2, SIGN>(e, first);
    let second = extend_loaded::<E, LOG2, SIGN>(e, second);
    write_back::<E, MODE>(e, a, moved);
    e.put(a.d, first);
    e.put(a.a, second);
    Ok(())
}

fn stp<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let (first, second) = (e.get(a.d), e.get(a.a));
    e.store(size_of(LOG2), Access::Plain, va, first)?;
    let next = e.offset(va, 1 << LOG2);
    e.store(size_of(LOG2), Access::Plain, next, second)?;
    write_back::<E, MODE>(e, a, moved);
    Ok(())
}

/// Rt as a destination if the row loads (bits 23:22 not 0), else as a source.
fn rt(insn: u32) -> u8 {
    if bits(insn, 22, 2) == 0 {
        reg(insn, 0)
    } else {
        dest(reg(insn, 0))
    }
}

fn unsigned_args(insn: u32) -> Option<Args> {
    let imm = u64::from(bits(insn, 10, 12)) << bits(insn, 30, 2);
    Some(Args {
        d: rt(insn),
        n: rn_sp(insn),
        imm,
        ..Args::default()
    })
}

fn unscaled_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: rt(insn),
        n: rn_sp(insn),
        imm: signed(insn, 12, 9),
        ..Args::default()
    })
}

fn register_args(insn: u32) -> Option<Args> {
    let option = bits(insn, 13, 3) as u16;
    let shift = if bit(insn, 12) {
        u64::from(bits(insn, 30, 2))
    } else {
        0
    };
    let args = Args {
        d: rt(insn),
        n: rn_sp(insn),
        m: rm(insn),
        k: option,
        ..Args::default()
    };
    (option & 2 != 0).then_some(Args { imm: shift, ..args })
}

fn literal_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: dest(reg(insn, 0)),
        imm: signed(insn, 5, 19) << 2,
        ..Args::default()
    })
}

/// Pairs: `a` is Rt2, the offset is scaled by the size (bit 31 selects 8 bytes over 4).
fn pair_args(insn: u32) -> Option<Args> {
    let load = bit(insn, 22);
    let slot = |r| if load { dest(r) } else { r };
    let imm = signed(insn, 15, 7) << if bit(insn, 31) { 3 } else { 2 };
    let (d, a) = (slot(reg(insn, 0)), slot(reg(insn, 10)));
    Some(Args {
        d,
        a,
        n: rn_sp(insn),
        imm,
        ..Args::default()
    })
}

fn ldpsw_args(insn: u32) -> Option<Args> {
    pair_args(insn & !(1 << 31))
}

const M: Kind = Kind::Memory;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! single {
        ($name:literal $size:literal $opc:literal, $f:ident $($c:literal)*) => {
            t.row(M, concat!($name, " (unsigned offset)"), concat!($size, "111001", $opc, "...... ........ ........"), unsigned_args, $f::<E, $($c,)* OFFSET>);
            t.row(M, concat!($name, " (unscaled)"), concat!($size, "111000", $opc, "0..... ....00.. ........"), unscaled_args, $f::<E, $($c,)* OFFSET>);
            t.row(M, concat!($name, " (post-index)"), concat!($size, "111000", $opc, "0..... ....01.. ........"), unscaled_args, $f::<E, $($c,)* POST>);
            t.row(M, concat!($name, " (pre-index)"), concat!($size, "111000", $opc, "0..... ....11.. ........"), unscaled_args, $f::<E, $($c,)* PRE>);
            t.row(M, concat!($name, " (register)"), concat!($size, "111000", $opc, "1..... ....10.. ........"), register_args, $f::<E, $($c,)* REGISTER>);
        };
    }
    single!("STRB" "00" "00", str 0);
    single!("LDRB" "00" "01", ldr 0 0);
    single!("LDRSB (X)" "00" "10", ldr 0 2);
    single!("LDRSB (W)" "00" "11", ldr 0 1);
    single!("STRH" "01" "00", str 1);
    single!("LDRH" "01" "01", ldr 1 0);
    single!("LDRSH (X)" "01" "10", ldr 1 2);
    single!("LDRSH (W)" "01" "11", ldr 1 1);
    single!("STR (W)" "10" "00", str 2);
    single!("LDR (W)" "10" "01", ldr 2 0);
    single!("LDRSW" "10" "10", ldr 2 2);
    single!("STR (X)" "11" "00", str 3);
    single!("LDR (X)" "11" "01", ldr 3 0);

    t.row(M, "PRFM (unsigned offset)", "11111001 10...... ........ ........", |_| Some(Args::default()), prefetch);
    t.row(M, "PRFUM", "11111000 100..... ....00.. ........", |_| Some(Args::default()), prefetch);
    t.row(M, "PRFM (register)", "11111000 101..... ....10.. ........", register_args, prefetch);
    t.row(M, "PRFM (literal)", "11011000 ........ ........ ........", |_| Some(Args::default()), prefetch);

    t.row(M, "STTRB", "00111000 000..... ....10.. ........", unscaled_args, sttr::<E, 0>);
    t.row(M, "LDTRB", "00111000 010..... ....10.. ........", unscaled_args, ldtr::<E, 0, ZERO>);
    t.row(M, "LDTRSB (X)", "00111000 100..... ....10.. ........", unscaled_args, ldtr::<E, 0, SIGN64>);
    t.row(M, "LDTRSB (W)", "00111000 110..... ....10.. ........", unscaled_args, ldtr::<E, 0, SIGN32>);
    t.row(M, "STTRH", "01111000 000..... ....10.. ........", unscaled_args, sttr::<E, 1>);
    t.row(M, "LDTRH", "01111000 010..... ....10.. ........", unscaled_args, ldtr::<E, 1, ZERO>);
    t.row(M, "LDTRSH (X)", "01111000 100..... ....10.. ........", unscaled_args, ldtr::<E, 1, SIGN64>);
    t.row(M, "LDTRSH (W)", "01111000 110..... ....10.. ........", unscaled_args, ldtr::<E, 1, SIGN32>);
    t.row(M, "STTR (W)", "10111000 000..... ....10.. ........", unscaled_args, sttr::<E, 2>);
    t.row(M, "LDTR (W)", "10111000 010..... ....10.. ........", unscaled_args, ldtr::<E, 2, ZERO>);
    t.row(M, "LDTRSW", "10111000 100..... ....10.. ........", unscaled_args, ldtr::<E, 2, SIGN64>);
    t.row(M, "STTR (X)", "11111000 000..... ....10.. ........", unscaled_args, sttr::<E, 3>);
    t.row(M, "LDTR (X)", "11111000 010..... ....10.. ........", unscaled_args, ldtr::<E, 3, ZERO>);

    t.row(M, "LDR (literal, W)", "00011000 ........ ........ ........", literal_args, ldr_literal::<E, 2, ZERO>);
    t.row(M, "LDR (literal, X)", "01011000 ........ ........ ........", literal_args, ldr_literal::<E, 3, ZERO>);
    t.row(M, "LDRSW (literal)", "10011000 ........ ........ ........", literal_args, ldr_literal::<E, 2, SIGN64>);

    macro_rules! pair {
        ($name:literal $opc:literal $l:literal, $args:ident, $f:ident $($c:literal)*) => {
            t.row(M, concat!($name, " (post-index)"), concat!($opc, "101000 1", $l, "...... ........ ........"), $args, $f::<E, $($c,)* POST>);
            t.row(M, concat!($name, " (offset)"), concat!($opc, "101001 0", $l, "...... ........ ........"), $args, $f::<E, $($c,)* OFFSET>);
            t.row(M, concat!($name, " (pre-index)"), concat!($opc, "101001 1", $l, "...... ........ ........"), $args, $f::<E, $($c,)* PRE>);
        };
    }
    pair!("STP (W)" "00" "0", pair_args, stp 2);
    pair!("LDP (W)" "00" "1", pair_args, ldp 2 0);
    pair!("LDPSW" "01" "1", ldpsw_args, ldp 2 2);
    pair!("STP (X)" "10" "0", pair_args, stp 3);
    pair!("LDP (X)" "10" "1", pair_args, ldp 3 0);
    t.row(M, "STNP (W)", "00101000 00...... ........ ........", pair_args, stp::<E, 2, OFFSET>);
    t.row(M, "LDNP (W)", "00101000 01...... ........ ........", pair_args, ldp::<E, 2, ZERO, OFFSET>);
    t.row(M, "STNP (X)", "10101000 00...... ........ ........", pair_args, stp::<E, 3, OFFSET>);
    t.row(M, "LDNP (X)", "10101000 01...... ........ ........", pair_args, ldp::<E, 3, ZERO, OFFSET>);
}
