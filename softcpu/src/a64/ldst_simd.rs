//! Loads and stores of single FP and AdvSIMD registers, and pairs (C4.1.95).

use super::field::{bit, bits, reg, rm, rn_sp, signed};
use super::ldst::{OFFSET, POST, PRE, REGISTER, address, size_of, write_back};
use crate::emitter::{Access, Args, Emitter};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

/// log2 of the 16 bytes of a Q register.
const Q: u8 = 4;

#[inline(always)]
fn load<E: Emitter, const LOG2: u8>(e: &mut E, va: E::X) -> Result<E::Q, E::Stop> {
    if LOG2 == Q {
        return e.load_q(va);
    }
    let value = e.load(size_of(LOG2), Access::Plain, va)?;
    let zero = e.imm(0);
    Ok(e.pack(value, zero))
}

#[inline(always)]
fn store<E: Emitter, const LOG2: u8>(e: &mut E, va: E::X, reg: u8) -> Done<E> {
    if LOG2 == Q {
        let value = e.getq(reg);
        return e.store_q(va, value);
    }
    let value = e.getv(size_of(LOG2), reg);
    e.store(size_of(LOG2), Access::Plain, va, value)
}

fn ldr<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let value = load::<E, LOG2>(e, va)?;
    write_back::<E, MODE>(e, a, moved);
    e.putq(a.d, value);
    Ok(())
}

fn str<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    store::<E, LOG2>(e, va, a.d)?;
    write_back::<E, MODE>(e, a, moved);
    Ok(())
}

fn ldr_literal<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let pc = e.pc(a);
    let va = e.offset(pc, a.imm);
    let value = load::<E, LOG2>(e, va)?;
    e.putq(a.d, value);
    Ok(())
}

fn ldp<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    let first = load::<E, LOG2>(e, va)?;
    let next = e.offset(va, 1 << LOG2);
    let second = load::<E, LOG2>(e, next)?;
    write_back::<E, MODE>(e, a, moved);
    e.putq(a.d, first);
    e.putq(a.a, second);
    Ok(())
}

fn stp<E: Emitter, const LOG2: u8, const MODE: u8>(e: &mut E, a: &Args) -> Done<E> {
    let (va, moved) = address::<E, MODE>(e, a)?;
    store::<E, LOG2>(e, va, a.d)?;
    let next = e.offset(va, 1 << LOG2);
    store::<E, LOG2>(e, next, a.a)?;
    write_back::<E, MODE>(e, a, moved);
    Ok(())
}

/// log2 of the access size: bits 31:30, or 4 when bit 23 is set.
fn log2(insn: u32) -> u32 {
    if bit(insn, 23) { 4 } else { bits(insn, 30, 2) }
}

fn unsigned_args(insn: u32) -> Option<Args> {
    let imm = u64::from(bits(insn, 10, 12)) << log2(insn);
    Some(Args {
        d: reg(insn, 0),
        n: rn_sp(insn),
        imm,
        ..Args::default()
    })
}

fn unscaled_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: rn_sp(insn),
        imm: signed(insn, 12, 9),
        ..Args::default()
    })
}

fn register_args(insn: u32) -> Option<Args> {
    let k = bits(insn, 13, 3) as u16;
    let imm = if bit(insn, 12) {
        u64::from(log2(insn))
    } else {
        0
    };
    let args = Args {
        d: reg(insn, 0),
        n: rn_sp(insn),
        m: rm(insn),
        k,
        imm,
        ..Args::default()
    };
    (k & 2 != 0).then_some(args)
}

fn literal_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        imm: signed(insn, 5, 19) << 2,
        ..Args::default()
    })
}

fn pair_args(insn: u32) -> Option<Args> {
    let imm = signed(insn, 15, 7) << (2 + bits(insn, 30, 2));
    Some(Args {
        d: reg(insn, 0),
        a: reg(insn, 10),
        n: rn_sp(insn),
        imm,
        ..Args::default()
    })
}

const M: Kind = Kind::SimdMemory;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! single {
        ($($name:literal $size:literal $opc:literal, $f:ident $log2:literal;)*) => {$(
            t.row(M, concat!($name, " (unsigned offset)"), concat!($size, "111101", $opc, "...... ........ ........"), unsigned_args, $f::<E, $log2, OFFSET>);
            t.row(M, concat!($name, " (unscaled)"), concat!($size, "111100", $opc, "0..... ....00.. ........"), unscaled_args, $f::<E, $log2, OFFSET>);
            t.row(M, concat!($name, " (post-index)"), concat!($size, "111100", $opc, "0..... ....01.. ........"), unscaled_args, $f::<E, $log2, POST>);
            t.row(M, concat!($name, " (pre-index)"), concat!($size, "111100", $opc, "0..... ....11.. ........"), unscaled_args, $f::<E, $log2, PRE>);
            t.row(M, concat!($name, " (register)"), concat!($size, "111100", $opc, "1..... ....10.. ........"), register_args, $f::<E, $log2, REGISTER>);
        )*};
    }
    single! {
        "STR (B)" "00" "00", str 0; "LDR (B)" "00" "01", ldr 0;
        "STR (H)" "01" "00", str 1; "LDR (H)" "01" "01", ldr 1;
        "STR (S)" "10" "00", str 2; "LDR (S)" "10" "01", ldr 2;
        "STR (D)" "11" "00", str 3; "LDR (D)" "11" "01", ldr 3;
        "STR (Q)" "00" "10", str 4; "LDR (Q)" "00" "11", ldr 4;
    }
    t.row(M, "LDR (literal, S)", "00011100 ........ ........ ........", literal_args, ldr_literal::<E, 2>);
    t.row(M, "LDR (literal, D)", "01011100 ........ ........ ........", literal_args, ldr_literal::<E, 3>);
    t.row(M, "LDR (literal, Q)", "10011100 ........ ........ ........", literal_args, ldr_literal::<E, 4>);
    macro_rules! pair {
        ($($name:literal $opc:literal $l:literal, $f:ident $log2:literal;)*) => {$(
            t.row(M, concat!($name, " (no allocate)"), concat!($opc, "101100 0", $l, "...... ........ ........"), pair_args, $f::<E, $log2, OFFSET>);
            t.row(M, concat!($name, " (post-index)"), concat!($opc, "101100 1", $l, "...... ........ ........"), pair_args, $f::<E, $log2, POST>);
            t.row(M, concat!($name, " (offset)"), concat!($opc, "101101 0", $l, "...... ........ ........"), pair_args, $f::<E, $log2, OFFSET>);
            t.row(M, concat!($name, " (pre-index)"), concat!($opc, "101101 1", $l, "...... ........ ........"), pair_args, $f::<E, $log2, PRE>);
        )*};
    }
    pair! {
        "STP (S)" "00" "0", stp 2; "LDP (S)" "00" "1", ldp 2;
        "STP (D)" "01" "0", stp 3; "LDP (D)" "01" "1", ldp 3;
        "STP (Q)" "10" "0", stp 4; "LDP (Q)" "10" "1", ldp 4;
    }
}
