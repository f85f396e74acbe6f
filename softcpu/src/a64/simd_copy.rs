//! Advanced SIMD copy, scalar copy and modified immediate (C4.1.97).
//!
//! Of the modified immediates, FMOV of half precision stands apart: its `cmode` is that of the
//! others, and bit 11 tells them apart.

use aarch64::Size;

use super::field::{bit, bits, dest, reg};
use super::ldst::size_of;
use super::simd_op::{Done, Dup, v1};
use crate::emitter::{Args, Emitter, Int1, Int2};
use crate::table::{Kind, Table};

/// `imm5` holds the lane number above a one and `LOG2` zeros.
fn lane_args<const LOG2: u32>(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        imm: u64::from(bits(insn, 16, 5) >> (LOG2 + 1)),
        ..Args::default()
    })
}

fn to_general_args<const LOG2: u32>(insn: u32) -> Option<Args> {
    lane_args::<LOG2>(insn).map(|a| Args { d: dest(a.d), ..a })
}

/// `INS` (element): `imm` is the lane written, `k` the one read.
fn ins_args<const LOG2: u32>(insn: u32) -> Option<Args> {
    lane_args::<LOG2>(insn).map(|a| Args {
        k: (bits(insn, 11, 4) >> LOG2) as u16,
        ..a
    })
}

fn dup_general<E: Emitter, O: crate::emitter::Vec1>(e: &mut E, a: &Args) -> Done<E> {
    let x = e.get(a.n);
    let q = e.pack(x, x);
    let r = e.vec1::<O>(0, q);
    e.putq(a.d, r);
    Ok(())
}

/// Which half of a vector lane `lane` is in, and at which bit of it.
#[inline(always)]
fn place(size: Size, lane: u64) -> (u8, u64) {
    let at = lane * u64::from(size.bits());
    ((at / 64) as u8, at % 64)
}

/// Lane `lane`, with what is above it in its half.
#[inline(always)]
fn extract_dirty<E: Emitter>(e: &mut E, q: E::Q, size: Size, lane: u64) -> E::X {
    let (half, at) = place(size, lane);
    let (x, at) = (e.half(q, half), e.imm(at));
    e.int2(Int2::Lsr, x, at)
}

/// Lane `lane`, zero-extended.
#[inline(always)]
pub(super) fn extract<E: Emitter>(e: &mut E, q: E::Q, size: Size, lane: u64) -> E::X {
    let x = extract_dirty(e, q, size, lane);
    e.int1(Int1::Zext(size), x)
}

/// `q` with lane `lane` replaced by `x`, which is zero-extended.
#[inline(always)]
pub(super) fn insert<E: Emitter>(e: &mut E, q: E::Q, size: Size, lane: u64, x: E::X) -> E::Q {
    let (half, at) = place(size, lane);
    let (low, high) = (e.half(q, 0), e.half(q, 1));
    let old = if half == 0 { low } else { high };
    let (keep, at) = (e.imm(!(size.mask() << at)), e.imm(at));
    let old = e.and(old, keep);
    let new = e.int2(Int2::Lsl, x, at);
    let new = e.or(old, new);
    if half == 0 {
        e.pack(new, high)
    } else {
        e.pack(low, new)
    }
}

fn umov<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let q = e.getq(a.n);
    let r = extract(e, q, size_of(LOG2), a.imm);
    e.put(a.d, r);
    Ok(())
}

fn smov<E: Emitter, const LOG2: u8, const X: bool>(e: &mut E, a: &Args) -> Done<E> {
    let q = e.getq(a.n);
    let x = extract_dirty(e, q, size_of(LOG2), a.imm);
    let r = e.int1(Int1::Sext(size_of(LOG2)), x);
    let r = e.fit(X, r);
    e.put(a.d, r);
    Ok(())
}

fn ins_general<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (x, d) = (e.get(a.n), e.getq(a.d));
    let x = e.int1(Int1::Zext(size_of(LOG2)), x);
    let r = insert(e, d, size_of(LOG2), a.imm, x);
    e.putq(a.d, r);
    Ok(())
}

fn ins_element<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (n, d) = (e.getq(a.n), e.getq(a.d));
    let x = extract(e, n, size_of(LOG2), u64::from(a.k));
    let r = insert(e, d, size_of(LOG2), a.imm, x);
    e.putq(a.d, r);
    Ok(())
}

/// `AdvSIMDExpandImm` of the manual, without the complement of `MVNI` and `BIC`.
fn expand(op: bool, cmode: u32, abcdefgh: u32) -> u64 {
    let imm8 = u64::from(abcdefgh);
    let words = |w: u64| w << 32 | w;
    let halfwords = |h: u64| words(h << 16 | h);
    match cmode {
        0..8 => words(imm8 << (8 * (cmode >> 1))),
        8..12 => halfwords(imm8 << (8 * (cmode >> 1 & 1))),
        12 => words(imm8 << 8 | 0xff),
        13 => words(imm8 << 16 | 0xffff),
        14 if op => (0..8)
            .filter(|i| bit(abcdefgh, *i))
            .fold(0, |mask, i| mask | 0xff << (8 * i)),
        14 => imm8 * 0x0101_0101_0101_0101,
        _ if op => expand_double(abcdefgh),
        _ => words(u64::from(expand_single(abcdefgh))),
    }
}

fn expand_single(imm8: u32) -> u32 {
    let exponent = if bit(imm8, 6) { 0x1f } else { 0x20 };
    bits(imm8, 7, 1) << 31 | exponent << 25 | bits(imm8, 0, 6) << 19
}

fn expand_double(imm8: u32) -> u64 {
    let exponent = if bit(imm8, 6) { 0xff } else { 0x100 };
    u64::from(bits(imm8, 7, 1)) << 63 | exponent << 54 | u64::from(bits(imm8, 0, 6)) << 48
}

fn expand_half(imm8: u32) -> u64 {
    let exponent = if bit(imm8, 6) { 0x3 } else { 0x4 };
    u64::from(bits(imm8, 7, 1) << 15 | exponent << 12 | bits(imm8, 0, 6) << 6)
}

/// `k` is Q.
fn half_imm_args(insn: u32) -> Option<Args> {
    let half = expand_half(bits(insn, 16, 3) << 5 | bits(insn, 5, 5));
    Some(Args {
        d: reg(insn, 0),
        imm: half * 0x0001_0001_0001_0001,
        k: bits(insn, 30, 1) as u16,
        ..Args::default()
    })
}

/// `k` is Q. The complement is taken here.
fn imm_args(insn: u32) -> Option<Args> {
    let (op, cmode) = (bit(insn, 29), bits(insn, 12, 4));
    let imm = expand(op, cmode, bits(insn, 16, 3) << 5 | bits(insn, 5, 5));
    Some(Args {
        d: reg(insn, 0),
        imm: if op && cmode < 14 { !imm } else { imm },
        k: bits(insn, 30, 1) as u16,
        ..Args::default()
    })
}

fn movi<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let low = e.imm(a.imm);
    let high = if a.k == 0 { e.imm(0) } else { low };
    let r = e.pack(low, high);
    e.putq(a.d, r);
    Ok(())
}

/// `ORR`, and `BIC` as the `AND` of the complement.
fn logical<E: Emitter, const AND: bool>(e: &mut E, a: &Args) -> Done<E> {
    let op = if AND { Int2::And } else { Int2::Or };
    let (d, imm) = (e.getq(a.d), e.imm(a.imm));
    let (low, high) = (e.half(d, 0), e.half(d, 1));
    let low = e.int2(op, low, imm);
    let high = if a.k == 0 {
        e.imm(0)
    } else {
        e.int2(op, high, imm)
    };
    let r = e.pack(low, high);
    e.putq(a.d, r);
    Ok(())
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! lanes {
        ($($suffix:literal $imm5:literal $t:ident $log2:literal;)*) => {$(
            t.row(S, concat!("DUP (element, scalar, ", $suffix, ")"), concat!("01011110000", $imm5, "000001.........."), lane_args::<$log2>, v1::<E, Dup<$t, 1>>);
            t.row(S, concat!("DUP (element, Q, ", $suffix, ")"), concat!("01001110000", $imm5, "000001.........."), lane_args::<$log2>, v1::<E, Dup<$t, { 16 >> $log2 }>>);
            t.row(S, concat!("DUP (general, Q, ", $suffix, ")"), concat!("01001110000", $imm5, "000011.........."), lane_args::<$log2>, dup_general::<E, Dup<$t, { 16 >> $log2 }>>);
            t.row(S, concat!("INS (general, ", $suffix, ")"), concat!("01001110000", $imm5, "000111.........."), lane_args::<$log2>, ins_general::<E, $log2>);
            t.row(S, concat!("INS (element, ", $suffix, ")"), concat!("01101110000", $imm5, "0....1.........."), ins_args::<$log2>, ins_element::<E, $log2>);
        )*};
    }
    lanes! { "B" "....1" u8 0; "H" "...10" u16 1; "S" "..100" u32 2; "D" ".1000" u64 3; }
    macro_rules! narrow {
        ($($suffix:literal $imm5:literal $t:ident $log2:literal;)*) => {$(
            t.row(S, concat!("DUP (element, ", $suffix, ")"), concat!("00001110000", $imm5, "000001.........."), lane_args::<$log2>, v1::<E, Dup<$t, { 8 >> $log2 }>>);
            t.row(S, concat!("DUP (general, ", $suffix, ")"), concat!("00001110000", $imm5, "000011.........."), lane_args::<$log2>, dup_general::<E, Dup<$t, { 8 >> $log2 }>>);
            t.row(S, concat!("UMOV (", $suffix, ")"), concat!("00001110000", $imm5, "001111.........."), to_general_args::<$log2>, umov::<E, $log2>);
            t.row(S, concat!("SMOV (X, ", $suffix, ")"), concat!("01001110000", $imm5, "001011.........."), to_general_args::<$log2>, smov::<E, $log2, true>);
        )*};
    }
    narrow! { "B" "....1" u8 0; "H" "...10" u16 1; "S" "..100" u32 2; }
    t.row(S, "UMOV (D)", "01001110 000.1000 001111.. ........", to_general_args::<3>, umov::<E, 3>);
    t.row(S, "SMOV (W, B)", "00001110 000....1 001011.. ........", to_general_args::<0>, smov::<E, 0, false>);
    t.row(S, "SMOV (W, H)", "00001110 000...10 001011.. ........", to_general_args::<1>, smov::<E, 1, false>);

    t.row(S, "FMOV (vector, immediate, half)", "0.001111 00000... 111111.. ........", half_imm_args, movi);
    macro_rules! imm {
        ($($name:literal $q:literal $op:literal $cmode:literal $f:expr;)*) => {$(
            t.row(S, $name, concat!("0", $q, $op, "0111100000...", $cmode, "01.........."), imm_args, $f);
        )*};
    }
    imm! {
        "MOVI (words)" "." "0" "0..0" movi;
        "MVNI (words)" "." "1" "0..0" movi;
        "ORR (immediate, words)" "." "0" "0..1" logical::<E, false>;
        "BIC (immediate, words)" "." "1" "0..1" logical::<E, true>;
        "MOVI (halfwords)" "." "0" "10.0" movi;
        "MVNI (halfwords)" "." "1" "10.0" movi;
        "ORR (immediate, halfwords)" "." "0" "10.1" logical::<E, false>;
        "BIC (immediate, halfwords)" "." "1" "10.1" logical::<E, true>;
        "MOVI (words, ones)" "." "0" "110." movi;
        "MVNI (words, ones)" "." "1" "110." movi;
        "MOVI (bytes)" "." "0" "1110" movi;
        "MOVI (doublewords)" "." "1" "1110" movi;
        "FMOV (vector, immediate, single)" "." "0" "1111" movi;
        "FMOV (vector, immediate, double)" "1" "1" "1111" movi;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn immediates_expand() {
        assert_eq!(expand(false, 2, 0xab), 0x0000_ab00_0000_ab00);
        assert_eq!(expand(false, 10, 0xab), 0xab00_ab00_ab00_ab00);
        assert_eq!(expand(false, 13, 0xab), 0x00ab_ffff_00ab_ffff);
        assert_eq!(expand(true, 14, 0x81), 0xff00_0000_0000_00ff);
        assert_eq!(expand(false, 15, 0x70) as u32, 1.0f32.to_bits());
        assert_eq!(expand(true, 15, 0x80), (-2.0f64).to_bits());
    }
}
