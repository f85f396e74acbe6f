//! Data processing, immediate (C4.1.93): addresses, add and subtract, logical, wide moves,
//! bitfields, extract.

use aarch64::Size;

use super::field::{bit, bit_masks, bits, rd, rd_sp, reg, rm, rn, rn_sp, signed};
use crate::emitter::{Args, Emitter, Int1, Int2};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

fn adr_args(insn: u32) -> Option<Args> {
    let imm = signed(insn, 5, 19) << 2 | u64::from(bits(insn, 29, 2));
    Some(Args {
        d: rd(insn),
        imm,
        ..Args::default()
    })
}

fn adrp_args(insn: u32) -> Option<Args> {
    adr_args(insn).map(|a| Args {
        imm: a.imm << 12,
        ..a
    })
}

fn adr<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let pc = e.pc(a);
    let value = e.offset(pc, a.imm);
    e.put(a.d, value);
    Ok(())
}

fn adrp<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let pc = e.pc(a);
    let mask = e.imm(!0xfff);
    let page = e.and(pc, mask);
    let value = e.offset(page, a.imm);
    e.put(a.d, value);
    Ok(())
}

fn addsub_args(insn: u32) -> Option<Args> {
    let imm = u64::from(bits(insn, 10, 12)) << if bit(insn, 22) { 12 } else { 0 };
    let d = if bit(insn, 29) { rd(insn) } else { rd_sp(insn) };
    Some(Args {
        d,
        n: rn_sp(insn),
        imm,
        ..Args::default()
    })
}

fn add<E: Emitter, const X: bool, const SUB: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, imm) = (e.get(a.n), e.imm(a.imm));
    let r = e.int2(if SUB { Int2::Sub } else { Int2::Add }, n, imm);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn adds<E: Emitter, const X: bool, const SUB: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, imm) = (e.get(a.n), e.imm(a.imm));
    let r = if SUB {
        e.subs(X, n, imm)
    } else {
        e.adds(X, n, imm)
    };
    e.put(a.d, r);
    Ok(())
}

fn logical_args(insn: u32) -> Option<Args> {
    let width = if bit(insn, 31) { 64 } else { 32 };
    let (imm, _) = bit_masks(
        bits(insn, 22, 1),
        bits(insn, 10, 6),
        bits(insn, 16, 6),
        true,
        width,
    )?;
    let d = if bits(insn, 29, 2) == 3 {
        rd(insn)
    } else {
        rd_sp(insn)
    };
    Some(Args {
        d,
        n: rn(insn),
        imm,
        ..Args::default()
    })
}

fn and<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    logical(e, a, Int2::And)
}

fn orr<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    // ORR from a 32-bit register: its upper half must not show.
    let n = e.get(a.n);
    let n = e.fit(X, n);
    let imm = e.imm(a.imm);
    let r = e.or(n, imm);
    e.put(a.d, r);
    Ok(())
}

fn eor<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.get(a.n);
    let n = e.fit(X, n);
    let imm = e.imm(a.imm);
    let r = e.int2(Int2::Xor, n, imm);
    e.put(a.d, r);
    Ok(())
}

#[inline(always)]
fn logical<E: Emitter>(e: &mut E, a: &Args, op: Int2) -> Done<E> {
    let (n, imm) = (e.get(a.n), e.imm(a.imm));
    let r = e.int2(op, n, imm);
    e.put(a.d, r);
    Ok(())
}

fn ands<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, imm) = (e.get(a.n), e.imm(a.imm));
    let r = e.and(n, imm);
    e.logic_flags(X, r);
    e.put(a.d, r);
    Ok(())
}

fn wide_args(insn: u32) -> Option<Args> {
    let shift = 16 * bits(insn, 21, 2);
    if !bit(insn, 31) && shift >= 32 {
        return None;
    }
    let imm = u64::from(bits(insn, 5, 16)) << shift;
    Some(Args {
        d: rd(insn),
        imm,
        k: shift as u16,
        ..Args::default()
    })
}

fn movn_args(insn: u32) -> Option<Args> {
    let width = if bit(insn, 31) { u64::MAX } else { 0xffff_ffff };
    wide_args(insn).map(|a| Args {
        imm: !a.imm & width,
        ..a
    })
}

fn mov<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let imm = e.imm(a.imm);
    e.put(a.d, imm);
    Ok(())
}

/// Rd is also a source here; as such, the zero register reads as zero.
fn movk_args(insn: u32) -> Option<Args> {
    wide_args(insn).map(|a| Args {
        n: reg(insn, 0),
        ..a
    })
}

fn movk<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let old = e.get(a.n);
    let mask = e.imm(!(0xffff << a.k));
    let kept = e.and(old, mask);
    let imm = e.imm(a.imm);
    let r = e.or(kept, imm);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn bitfield_fields(insn: u32) -> Option<(u32, u32)> {
    let x = bit(insn, 31);
    let (immr, imms) = (bits(insn, 16, 6), bits(insn, 10, 6));
    let ok = bit(insn, 22) == x && (x || (immr < 32 && imms < 32));
    ok.then_some((immr, imms))
}

/// `imm` is the mask of the result bits that come from the source.
fn bfm_args(insn: u32) -> Option<Args> {
    let (immr, imms) = bitfield_fields(insn)?;
    let width = if bit(insn, 31) { 64 } else { 32 };
    let n = bits(insn, 22, 1);
    let (wmask, tmask) = bit_masks(n, imms, immr, false, width)?;
    let imm = wmask & tmask;
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        m: reg(insn, 0),
        imm,
        k: immr as u16,
        ..Args::default()
    })
}

fn rotate<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> E::X {
    let n = e.get(a.n);
    let by = e.imm(u64::from(a.k));
    e.int2(if X { Int2::Ror } else { Int2::RorW }, n, by)
}

fn bfm<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let rotated = rotate::<E, X>(e, a);
    let mask = e.imm(a.imm);
    let new = e.and(rotated, mask);
    let old = e.get(a.m);
    let mask = e.imm(!a.imm);
    let old = e.and(old, mask);
    let r = e.or(old, new);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn ubfm<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let rotated = rotate::<E, X>(e, a);
    let mask = e.imm(a.imm);
    let r = e.and(rotated, mask);
    e.put(a.d, r);
    Ok(())
}

/// SBFM as a shift left by `k` and an arithmetic shift right by `imm`.
fn sbfm_args(insn: u32) -> Option<Args> {
    let (immr, imms) = bitfield_fields(insn)?;
    let top = if bit(insn, 31) { 63 } else { 31 };
    // Extract (imms >= immr): the field's top bit goes to the top, then down to bit 0.
    // Insert: the field's top bit goes to the top, then down to bit width - immr.
    let left = top - imms;
    let right = if imms >= immr {
        left + immr
    } else {
        left - (top + 1 - immr)
    };
    let (k, imm) = (left as u16, u64::from(right));
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        k,
        imm,
        ..Args::default()
    })
}

fn sbfm<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.get(a.n);
    let left = e.imm(u64::from(a.k));
    let up = e.int2(if X { Int2::Lsl } else { Int2::LslW }, n, left);
    let right = e.imm(a.imm);
    let r = e.int2(if X { Int2::Asr } else { Int2::AsrW }, up, right);
    e.put(a.d, r);
    Ok(())
}

fn unary_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        ..Args::default()
    })
}

fn sxtw<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.get(a.n);
    let r = e.int1(Int1::Sext(Size::W), n);
    e.put(a.d, r);
    Ok(())
}

/// UBFM as a plain shift, which it mostly is: `LSR #k`.
fn lsr_args(insn: u32) -> Option<Args> {
    let k = bits(insn, 16, 6) as u16;
    if !bit(insn, 31) && k >= 32 {
        return None;
    }
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        k,
        ..Args::default()
    })
}

fn lsr<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.get(a.n);
    let by = e.imm(u64::from(a.k));
    let r = e.int2(if X { Int2::Lsr } else { Int2::LsrW }, n, by);
    e.put(a.d, r);
    Ok(())
}

fn extr_args(insn: u32) -> Option<Args> {
    let k = bits(insn, 10, 6);
    let x = bit(insn, 31);
    if bit(insn, 22) != x || (!x && k >= 32) {
        return None;
    }
    Some(Args {
        d: rd(insn),
        n: rn(insn),
        m: rm(insn),
        k: k as u16,
        ..Args::default()
    })
}

fn extr<E: Emitter, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (high, low) = (e.get(a.n), e.get(a.m));
    let k = u64::from(a.k);
    let width = if X { 64 } else { 32 };
    let low = e.fit(X, low);
    if k == 0 {
        e.put(a.d, low);
        return Ok(());
    }
    let (right, left) = (e.imm(k), e.imm(width - k));
    let low = e.int2(Int2::Lsr, low, right);
    let high = e.int2(Int2::Lsl, high, left);
    let r = e.or(low, high);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::Plain;
    t.row(k, "ADR", "0..10000 ........ ........ ........", adr_args, adr);
    t.row(k, "ADRP", "1..10000 ........ ........ ........", adrp_args, adrp);

    t.row(k, "ADD (immediate, W)", "00010001 0....... ........ ........", addsub_args, add::<E, false, false>);
    t.row(k, "ADDS (immediate, W)", "00110001 0....... ........ ........", addsub_args, adds::<E, false, false>);
    t.row(k, "SUB (immediate, W)", "01010001 0....... ........ ........", addsub_args, add::<E, false, true>);
    t.row(k, "SUBS (immediate, W)", "01110001 0....... ........ ........", addsub_args, adds::<E, false, true>);
    t.row(k, "ADD (immediate, X)", "10010001 0....... ........ ........", addsub_args, add::<E, true, false>);
    t.row(k, "ADDS (immediate, X)", "10110001 0....... ........ ........", addsub_args, adds::<E, true, false>);
    t.row(k, "SUB (immediate, X)", "11010001 0....... ........ ........", addsub_args, add::<E, true, true>);
    t.row(k, "SUBS (immediate, X)", "11110001 0....... ........ ........", addsub_args, adds::<E, true, true>);

    t.row(k, "AND (immediate, W)", "00010010 00...... ........ ........", logical_args, and);
    t.row(k, "ORR (immediate, W)", "00110010 00...... ........ ........", logical_args, orr::<E, false>);
    t.row(k, "EOR (immediate, W)", "01010010 00...... ........ ........", logical_args, eor::<E, false>);
    t.row(k, "ANDS (immediate, W)", "01110010 00...... ........ ........", logical_args, ands::<E, false>);
    t.row(k, "AND (immediate, X)", "10010010 0....... ........ ........", logical_args, and);
    t.row(k, "ORR (immediate, X)", "10110010 0....... ........ ........", logical_args, orr::<E, true>);
    t.row(k, "EOR (immediate, X)", "11010010 0....... ........ ........", logical_args, eor::<E, true>);
    t.row(k, "ANDS (immediate, X)", "11110010 0....... ........ ........", logical_args, ands::<E, true>);

    t.row(k, "MOVN (W)", "00010010 1....... ........ ........", movn_args, mov);
    t.row(k, "MOVN (X)", "10010010 1....... ........ ........", movn_args, mov);
    t.row(k, "MOVZ (W)", "01010010 1....... ........ ........", wide_args, mov);
    t.row(k, "MOVZ (X)", "11010010 1....... ........ ........", wide_args, mov);
    t.row(k, "MOVK (W)", "01110010 1....... ........ ........", movk_args, movk::<E, false>);
    t.row(k, "MOVK (X)", "11110010 1....... ........ ........", movk_args, movk::<E, true>);

    t.row(k, "SXTW", "10010011 01000000 011111.. ........", unary_args, sxtw);
    t.row(k, "SBFM (W)", "00010011 0....... ........ ........", sbfm_args, sbfm::<E, false>);
    t.row(k, "SBFM (X)", "10010011 0....... ........ ........", sbfm_args, sbfm::<E, true>);
    t.row(k, "BFM (W)", "00110011 0....... ........ ........", bfm_args, bfm::<E, false>);
    t.row(k, "BFM (X)", "10110011 0....... ........ ........", bfm_args, bfm::<E, true>);
    t.row(k, "LSR (immediate, W)", "01010011 00...... 011111.. ........", lsr_args, lsr::<E, false>);
    t.row(k, "LSR (immediate, X)", "11010011 01...... 111111.. ........", lsr_args, lsr::<E, true>);
    t.row(k, "UBFM (W)", "01010011 0....... ........ ........", bfm_args, ubfm::<E, false>);
    t.row(k, "UBFM (X)", "11010011 0....... ........ ........", bfm_args, ubfm::<E, true>);

    t.row(k, "EXTR (W)", "00010011 1.0..... ........ ........", extr_args, extr::<E, false>);
    t.row(k, "EXTR (X)", "10010011 1.0..... ........ ........", extr_args, extr::<E, true>);
}
