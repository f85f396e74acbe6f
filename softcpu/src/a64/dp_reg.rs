//! Data processing, register (C4.1.96): logical, add and subtract, carry, conditional, one to
//! three sources, CRC32.

use aarch64::Size;

use super::field::{bit, bits, rd, rd_sp, reg, rm, rn, rn_sp};
use crate::emitter::{Args, Emitter, Int1, Int2, Scalar2};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

const LSL: u8 = 0;
const LSR: u8 = 1;
const ASR: u8 = 2;

/// The operation of a logical or add/sub row.
const AND: u8 = 0;
const ORR: u8 = 1;
const EOR: u8 = 2;

fn shifted_args(insn: u32) -> Option<Args> {
    let k = bits(insn, 10, 6) as u16;
    if !bit(insn, 31) && k >= 32 {
        return None;
    }
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        m: rm(insn),
        k,
        ..Args::default()
    })
}

fn addsub_shifted_args(insn: u32) -> Option<Args> {
    (bits(insn, 22, 2) != 3).then_some(())?;
    shifted_args(insn)
}

#[inline(always)]
fn shifted<E: Emitter, const X: bool, const SHIFT: u8>(e: &mut E, a: &Args) -> E::X {
    let m = e.get(a.m);
    let by = e.imm(u64::from(a.k));
    let op = match (SHIFT, X) {
        (LSL, true) => Int2::Lsl,
        (LSL, false) => Int2::LslW,
        (LSR, true) => Int2::Lsr,
        (LSR, false) => Int2::LsrW,
        (ASR, true) => Int2::Asr,
        (ASR, false) => Int2::AsrW,
        (_, true) => Int2::Ror,
        (_, false) => Int2::RorW,
    };
    e.int2(op, m, by)
}

fn logical<E: Emitter, const X: bool, const OP: u8, const INVERT: bool, const SHIFT: u8>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let m = shifted::<E, X, SHIFT>(e, a);
    logical_with::<E, X, OP, INVERT>(e, a, m);
    Ok(())
}

/// With no shift, which is the common case.
fn logical_plain<E: Emitter, const X: bool, const OP: u8, const INVERT: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let m = e.get(a.m);
    logical_with::<E, X, OP, INVERT>(e, a, m);
    Ok(())
}

#[inline(always)]
fn logical_with<E: Emitter, const X: bool, const OP: u8, const INVERT: bool>(
    e: &mut E,
    a: &Args,
    m: E::X,
) {
    let n = e.get(a.n);
    let m = if INVERT { e.int1(Int1::Not, m) } else { m };
    let op = match OP {
        ORR => Int2::Or,
        EOR => Int2::Xor,
        _ => Int2::And,
    };
    let r = e.int2(op, n, m);
    let r = e.fit(X, r);
    e.put(a.d, r);
}

fn ands<E: Emitter, const X: bool, const INVERT: bool>(e: &mut E, a: &Args) -> Done<E> {
    let m = match a.imm {
        0 => shifted::<E, X, LSL>(e, a),
        1 => shifted::<E, X, LSR>(e, a),
        2 => shifted::<E, X, ASR>(e, a),
        _ => shifted::<E, X, 3>(e, a),
    };
    let m = if INVERT { e.int1(Int1::Not, m) } else { m };
    let n = e.get(a.n);
    let r = e.and(n, m);
    let r = e.fit(X, r);
    e.logic_flags(X, r);
    e.put(a.d, r);
    Ok(())
}

fn ands_args(insn: u32) -> Option<Args> {
    shifted_args(insn).map(|a| Args {
        imm: u64::from(bits(insn, 22, 2)),
        ..a
    })
}

fn ands_plain<E: Emitter, const X: bool, const INVERT: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.get(a.n), e.get(a.m));
    let m = if INVERT { e.int1(Int1::Not, m) } else { m };
    let r = e.and(n, m);
    let r = e.fit(X, r);
    e.logic_flags(X, r);
    e.put(a.d, r);
    Ok(())
}

#[inline(always)]
fn addsub_with<E: Emitter, const X: bool, const SUB: bool, const SET: bool>(
    e: &mut E,
    a: &Args,
    m: E::X,
) {
    let n = e.get(a.n);
    let r = match (SET, SUB) {
        (true, true) => e.subs(X, n, m),
        (true, false) => e.adds(X, n, m),
        (false, sub) => {
            let r = e.int2(if sub { Int2::Sub } else { Int2::Add }, n, m);
            e.fit(X, r)
        }
    };
    e.put(a.d, r);
}

fn addsub<E: Emitter, const X: bool, const SUB: bool, const SET: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let m = e.get(a.m);
    addsub_with::<E, X, SUB, SET>(e, a, m);
    Ok(())
}

fn addsub_shifted<E: Emitter, const X: bool, const SUB: bool, const SET: bool, const SHIFT: u8>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let m = shifted::<E, X, SHIFT>(e, a);
    addsub_with::<E, X, SUB, SET>(e, a, m);
    Ok(())
}

/// `k` is the extension (3 bits), `imm` the shift.
fn extended_args(insn: u32) -> Option<Args> {
    let shift = bits(insn, 10, 3);
    if shift > 4 {
        return None;
    }
    let d = if bit(insn, 29) { rd(insn) } else { rd_sp(insn) };
    let (k, imm) = (bits(insn, 13, 3) as u16, u64::from(shift));
    Some(Args {
        d,
        n: rn_sp(insn),
        m: rm(insn),
        k,
        imm,
        ..Args::default()
    })
}

/// `ExtendReg` of the manual: extends by `option` and shifts left.
#[inline(always)]
pub(super) fn extend<E: Emitter>(e: &mut E, m: E::X, option: u16, shift: u64) -> E::X {
    let extended = match option & 7 {
        0 => e.int1(Int1::Zext(Size::B), m),
        1 => e.int1(Int1::Zext(Size::H), m),
        2 => e.zext32(m),
        4 => e.int1(Int1::Sext(Size::B), m),
        5 => e.int1(Int1::Sext(Size::H), m),
        6 => e.int1(Int1::Sext(Size::W), m),
        _ => m,
    };
    let by = e.imm(shift);
    e.int2(Int2::Lsl, extended, by)
}

fn addsub_extended<E: Emitter, const X: bool, const SUB: bool, const SET: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let m = e.get(a.m);
    let m = extend(e, m, a.k, a.imm);
    addsub_with::<E, X, SUB, SET>(e, a, m);
    Ok(())
}

fn dnm_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        m: rm(insn),
        ..Args::default()
    })
}

fn adc<E: Emitter, const X: bool, const SUB: bool, const SET: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let (n, m) = (e.get(a.n), e.get(a.m));
    let m = if SUB { e.int1(Int1::Not, m) } else { m };
    let r = e.adc(X, SET, n, m);
    e.put(a.d, r);
    Ok(())
}

/// `k` is the condition, `a` the flags if it fails, `imm` the immediate if there is one.
fn ccmp_args(insn: u32) -> Option<Args> {
    let (k, a) = (bits(insn, 12, 4) as u16, bits(insn, 0, 4) as u8);
    let imm = u64::from(bits(insn, 16, 5));
    Some(Args {
        n: rn(insn),
        m: rm(insn),
        k,
        a,
        imm,
        ..Args::default()
    })
}

fn ccmp<E: Emitter, const X: bool, const ADD: bool, const IMM: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let n = e.get(a.n);
    let m = if IMM { e.imm(a.imm) } else { e.get(a.m) };
    e.ccmp(a.k as u8, X, ADD, n, m, a.a);
    Ok(())
}

fn csel_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        k: bits(insn, 12, 4) as u16,
        ..a
    })
}

fn csel<E: Emitter, const X: bool, const INVERT: bool, const INC: bool>(
    e: &mut E,
    a: &Args,
) -> Done<E> {
    let (yes, mut no) = (e.get(a.n), e.get(a.m));
    if INVERT {
        no = e.int1(Int1::Not, no);
    }
    if INC {
        no = e.offset(no, 1);
    }
    let cond = e.cond(a.k as u8);
    let r = e.select(cond, yes, no);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn dn_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        ..Args::default()
    })
}

macro_rules! unary {
    ($($name:ident $x:ident $($op:expr),+;)*) => {$(
        fn $name<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
            let r = e.get(a.n);
            $( let r = e.int1($op, r); )+
            let r = e.fit($x, r);
            e.put(a.d, r);
            Ok(())
        }
    )*};
}
const X: bool = true;
const W: bool = false;
unary! {
    rbit_w W Int1::RbitW;
    rbit_x X Int1::Rbit;
    rev16_w W Int1::Rev16;
    rev16_x X Int1::Rev16;
    rev32 X Int1::Rev32;
    rev_w W Int1::Rev32;
    rev_x X Int1::Rev64;
    clz_w W Int1::ClzW;
    clz_x X Int1::Clz;
    cls_w W Int1::ClsW;
    cls_x X Int1::Cls;
}

macro_rules! binary {
    ($($name:ident $op:expr;)*) => {$(
        fn $name<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
            let (n, m) = (e.get(a.n), e.get(a.m));
            let r = e.int2($op, n, m);
            e.put(a.d, r);
            Ok(())
        }
    )*};
}
binary! {
    udiv_w Int2::UdivW;
    udiv_x Int2::Udiv;
    sdiv_w Int2::SdivW;
    sdiv_x Int2::Sdiv;
    lslv_w Int2::LslW;
    lslv_x Int2::Lsl;
    lsrv_w Int2::LsrW;
    lsrv_x Int2::Lsr;
    asrv_w Int2::AsrW;
    asrv_x Int2::Asr;
    rorv_w Int2::RorW;
    rorv_x Int2::Ror;
    umulh Int2::Umulh;
    smulh Int2::Smulh;
}

/// CRC-32 (`POLY` reversed) of `imm` bytes of `b` on top of `a`.
struct Crc<const POLY: u32>;

impl<const POLY: u32> Crc<POLY> {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ if crc & 1 != 0 { POLY } else { 0 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
}

impl<const POLY: u32> Scalar2 for Crc<POLY> {
    fn eval(_: &mut crate::fp::FpEnv, bytes: u32, a: u64, b: u64) -> u64 {
        let mut crc = a as u32;
        for byte in &b.to_le_bytes()[..bytes as usize] {
            let index = (crc as u8 ^ byte) as usize;
            crc = (crc >> 8) ^ Self::TABLE[index];
        }
        u64::from(crc)
    }
}

const CRC32: u32 = 0xedb8_8320;
const CRC32C: u32 = 0x82f6_3b78;

fn crc_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        k: 1 << bits(insn, 10, 2),
        ..a
    })
}

fn crc<E: Emitter, const POLY: u32>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.get(a.n), e.get(a.m));
    let r = e.scalar2::<Crc<POLY>>(u32::from(a.k), n, m);
    e.put(a.d, r);
    Ok(())
}

fn dnma_args(insn: u32) -> Option<Args> {
    dnm_args(insn).map(|a| Args {
        a: reg(insn, 10),
        ..a
    })
}

fn madd<E: Emitter, const X: bool, const SUB: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m, c) = (e.get(a.n), e.get(a.m), e.get(a.a));
    let product = e.int2(Int2::Mul, n, m);
    let r = e.int2(if SUB { Int2::Sub } else { Int2::Add }, c, product);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn maddl<E: Emitter, const SIGNED: bool, const SUB: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m, c) = (e.get(a.n), e.get(a.m), e.get(a.a));
    let widen = if SIGNED {
        Int1::Sext(Size::W)
    } else {
        Int1::Zext32
    };
    let (n, m) = (e.int1(widen, n), e.int1(widen, m));
    let product = e.int2(Int2::Mul, n, m);
    let r = e.int2(if SUB { Int2::Sub } else { Int2::Add }, c, product);
    e.put(a.d, r);
    Ok(())
}

/// Adds the rows of this class.
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    logical_rows(t);
    addsub_rows(t);
    conditional_rows(t);
    source_rows(t);
}

const P: Kind = Kind::Plain;

#[rustfmt::skip]
fn logical_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! logical {
        ($name:literal $opc:literal $op:ident $invert:literal $n:literal) => {
            logical!($name $opc $op $invert $n false "0" "(W)");
            logical!($name $opc $op $invert $n true "1" "(X)");
        };
        ($name:literal $opc:literal $op:ident $invert:literal $n:literal $x:literal $sf:literal $w:literal) => {
            t.row(P, concat!($name, " ", $w), concat!($sf, $opc, "01010 00", $n, "..... 000000.. ........"), shifted_args, logical_plain::<E, $x, $op, $invert>);
            t.row(P, concat!($name, " LSL ", $w), concat!($sf, $opc, "01010 00", $n, "..... ........ ........"), shifted_args, logical::<E, $x, $op, $invert, 0>);
            t.row(P, concat!($name, " LSR ", $w), concat!($sf, $opc, "01010 01", $n, "..... ........ ........"), shifted_args, logical::<E, $x, $op, $invert, 1>);
            t.row(P, concat!($name, " ASR ", $w), concat!($sf, $opc, "01010 10", $n, "..... ........ ........"), shifted_args, logical::<E, $x, $op, $invert, 2>);
            t.row(P, concat!($name, " ROR ", $w), concat!($sf, $opc, "01010 11", $n, "..... ........ ........"), shifted_args, logical::<E, $x, $op, $invert, 3>);
        };
    }
    logical!("AND (register)" "00" AND false "0");
    logical!("BIC (register)" "00" AND true "1");
    logical!("ORR (register)" "01" ORR false "0");
    logical!("ORN (register)" "01" ORR true "1");
    logical!("EOR (register)" "10" EOR false "0");
    logical!("EON (register)" "10" EOR true "1");
    t.row(P, "ANDS (register, W)", "01101010 000..... 000000.. ........", shifted_args, ands_plain::<E, false, false>);
    t.row(P, "ANDS (register, X)", "11101010 000..... 000000.. ........", shifted_args, ands_plain::<E, true, false>);
    t.row(P, "ANDS (shifted, W)", "01101010 ..0..... ........ ........", ands_args, ands::<E, false, false>);
    t.row(P, "ANDS (shifted, X)", "11101010 ..0..... ........ ........", ands_args, ands::<E, true, false>);
    t.row(P, "BICS (shifted, W)", "01101010 ..1..... ........ ........", ands_args, ands::<E, false, true>);
    t.row(P, "BICS (shifted, X)", "11101010 ..1..... ........ ........", ands_args, ands::<E, true, true>);
}

#[rustfmt::skip]
fn addsub_rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! addsub {
        ($name:literal $bits:literal $x:literal $sub:literal $set:literal) => {
            t.row(P, concat!($name, " (register)"), concat!($bits, "01011 000..... 000000.. ........"), shifted_args, addsub::<E, $x, $sub, $set>);
            t.row(P, concat!($name, " (LSL)"), concat!($bits, "01011 000..... ........ ........"), addsub_shifted_args, addsub_shifted::<E, $x, $sub, $set, 0>);
            t.row(P, concat!($name, " (LSR)"), concat!($bits, "01011 010..... ........ ........"), addsub_shifted_args, addsub_shifted::<E, $x, $sub, $set, 1>);
            t.row(P, concat!($name, " (ASR)"), concat!($bits, "01011 100..... ........ ........"), addsub_shifted_args, addsub_shifted::<E, $x, $sub, $set, 2>);
            t.row(P, concat!($name, " (extended)"), concat!($bits, "01011 001..... ........ ........"), extended_args, addsub_extended::<E, $x, $sub, $set>);
        };
    }
    addsub!("ADD W" "000" false false false);
    addsub!("ADDS W" "001" false false true);
    addsub!("SUB W" "010" false true false);
    addsub!("SUBS W" "011" false true true);
    addsub!("ADD X" "100" true false false);
    addsub!("ADDS X" "101" true false true);
    addsub!("SUB X" "110" true true false);
    addsub!("SUBS X" "111" true true true);

    t.row(P, "ADC (W)", "00011010 000..... 000000.. ........", dnm_args, adc::<E, false, false, false>);
    t.row(P, "ADCS (W)", "00111010 000..... 000000.. ........", dnm_args, adc::<E, false, false, true>);
    t.row(P, "SBC (W)", "01011010 000..... 000000.. ........", dnm_args, adc::<E, false, true, false>);
    t.row(P, "SBCS (W)", "01111010 000..... 000000.. ........", dnm_args, adc::<E, false, true, true>);
    t.row(P, "ADC (X)", "10011010 000..... 000000.. ........", dnm_args, adc::<E, true, false, false>);
    t.row(P, "ADCS (X)", "10111010 000..... 000000.. ........", dnm_args, adc::<E, true, false, true>);
    t.row(P, "SBC (X)", "11011010 000..... 000000.. ........", dnm_args, adc::<E, true, true, false>);
    t.row(P, "SBCS (X)", "11111010 000..... 000000.. ........", dnm_args, adc::<E, true, true, true>);
}

#[rustfmt::skip]
fn conditional_rows<E: Emitter>(t: &mut Table<E>) {
    t.row(P, "CCMN (register, W)", "00111010 010..... ....00.. ...0....", ccmp_args, ccmp::<E, false, true, false>);
    t.row(P, "CCMP (register, W)", "01111010 010..... ....00.. ...0....", ccmp_args, ccmp::<E, false, false, false>);
    t.row(P, "CCMN (register, X)", "10111010 010..... ....00.. ...0....", ccmp_args, ccmp::<E, true, true, false>);
    t.row(P, "CCMP (register, X)", "11111010 010..... ....00.. ...0....", ccmp_args, ccmp::<E, true, false, false>);
    t.row(P, "CCMN (immediate, W)", "00111010 010..... ....10.. ...0....", ccmp_args, ccmp::<E, false, true, true>);
    t.row(P, "CCMP (immediate, W)", "01111010 010..... ....10.. ...0....", ccmp_args, ccmp::<E, false, false, true>);
    t.row(P, "CCMN (immediate, X)", "10111010 010..... ....10.. ...0....", ccmp_args, ccmp::<E, true, true, true>);
    t.row(P, "CCMP (immediate, X)", "11111010 010..... ....10.. ...0....", ccmp_args, ccmp::<E, true, false, true>);

    t.row(P, "CSEL (W)", "00011010 100..... ....00.. ........", csel_args, csel::<E, false, false, false>);
    t.row(P, "CSINC (W)", "00011010 100..... ....01.. ........", csel_args, csel::<E, false, false, true>);
    t.row(P, "CSINV (W)", "01011010 100..... ....00.. ........", csel_args, csel::<E, false, true, false>);
    t.row(P, "CSNEG (W)", "01011010 100..... ....01.. ........", csel_args, csel::<E, false, true, true>);
    t.row(P, "CSEL (X)", "10011010 100..... ....00.. ........", csel_args, csel::<E, true, false, false>);
    t.row(P, "CSINC (X)", "10011010 100..... ....01.. ........", csel_args, csel::<E, true, false, true>);
    t.row(P, "CSINV (X)", "11011010 100..... ....00.. ........", csel_args, csel::<E, true, true, false>);
    t.row(P, "CSNEG (X)", "11011010 100..... ....01.. ........", csel_args, csel::<E, true, true, true>);
}

#[rustfmt::skip]
fn source_rows<E: Emitter>(t: &mut Table<E>) {
    t.row(P, "RBIT (W)", "01011010 11000000 000000.. ........", dn_args, rbit_w);
    t.row(P, "RBIT (X)", "11011010 11000000 000000.. ........", dn_args, rbit_x);
    t.row(P, "REV16 (W)", "01011010 11000000 000001.. ........", dn_args, rev16_w);
    t.row(P, "REV16 (X)", "11011010 11000000 000001.. ........", dn_args, rev16_x);
    t.row(P, "REV (W)", "01011010 11000000 000010.. ........", dn_args, rev_w);
    t.row(P, "REV32 (X)", "11011010 11000000 000010.. ........", dn_args, rev32);
    t.row(P, "REV (X)", "11011010 11000000 000011.. ........", dn_args, rev_x);
    t.row(P, "CLZ (W)", "01011010 11000000 000100.. ........", dn_args, clz_w);
    t.row(P, "CLZ (X)", "11011010 11000000 000100.. ........", dn_args, clz_x);
    t.row(P, "CLS (W)", "01011010 11000000 000101.. ........", dn_args, cls_w);
    t.row(P, "CLS (X)", "11011010 11000000 000101.. ........", dn_args, cls_x);

    t.row(P, "UDIV (W)", "00011010 110..... 000010.. ........", dnm_args, udiv_w);
    t.row(P, "UDIV (X)", "10011010 110..... 000010.. ........", dnm_args, udiv_x);
    t.row(P, "SDIV (W)", "00011010 110..... 000011.. ........", dnm_args, sdiv_w);
    t.row(P, "SDIV (X)", "10011010 110..... 000011.. ........", dnm_args, sdiv_x);
    t.row(P, "LSLV (W)", "00011010 110..... 001000.. ........", dnm_args, lslv_w);
    t.row(P, "LSLV (X)", "10011010 110..... 001000.. ........", dnm_args, lslv_x);
    t.row(P, "LSRV (W)", "00011010 110..... 001001.. ........", dnm_args, lsrv_w);
    t.row(P, "LSRV (X)", "10011010 110..... 001001.. ........", dnm_args, lsrv_x);
    t.row(P, "ASRV (W)", "00011010 110..... 001010.. ........", dnm_args, asrv_w);
    t.row(P, "ASRV (X)", "10011010 110..... 001010.. ........", dnm_args, asrv_x);
    t.row(P, "RORV (W)", "00011010 110..... 001011.. ........", dnm_args, rorv_w);
    t.row(P, "RORV (X)", "10011010 110..... 001011.. ........", dnm_args, rorv_x);
    t.row(P, "CRC32B, CRC32H, CRC32W", "00011010 110..... 0100.... ........", |i| (bits(i, 10, 2) != 3).then(|| crc_args(i))?, crc::<E, CRC32>);
    t.row(P, "CRC32X", "10011010 110..... 010011.. ........", crc_args, crc::<E, CRC32>);
    t.row(P, "CRC32CB, CRC32CH, CRC32CW", "00011010 110..... 0101.... ........", |i| (bits(i, 10, 2) != 3).then(|| crc_args(i))?, crc::<E, CRC32C>);
    t.row(P, "CRC32CX", "10011010 110..... 010111.. ........", crc_args, crc::<E, CRC32C>);

    t.row(P, "MADD (W)", "00011011 000..... 0....... ........", dnma_args, madd::<E, false, false>);
    t.row(P, "MADD (X)", "10011011 000..... 0....... ........", dnma_args, madd::<E, true, false>);
    t.row(P, "MSUB (W)", "00011011 000..... 1....... ........", dnma_args, madd::<E, false, true>);
    t.row(P, "MSUB (X)", "10011011 000..... 1....... ........", dnma_args, madd::<E, true, true>);
    t.row(P, "SMADDL", "10011011 001..... 0....... ........", dnma_args, maddl::<E, true, false>);
    t.row(P, "SMSUBL", "10011011 001..... 1....... ........", dnma_args, maddl::<E, true, true>);
    t.row(P, "UMADDL", "10011011 101..... 0....... ........", dnma_args, maddl::<E, false, false>);
    t.row(P, "UMSUBL", "10011011 101..... 1....... ........", dnma_args, maddl::<E, false, true>);
    t.row(P, "SMULH", "10011011 010..... 0....... ........", dnm_args, smulh);
    t.row(P, "UMULH", "10011011 110..... 0....... ........", dnm_args, umulh);
}
