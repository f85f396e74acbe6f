//! Branches (C4.1.94): conditional, unconditional, compare and test, to register.

use aarch64::Size;

use super::field::{bits, reg, rn, signed};
use crate::emitter::{Args, Emitter, Int1};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

fn b_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: signed(insn, 0, 26) << 2,
        d: 30,
        ..Args::default()
    })
}

fn b<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    e.jump_rel(a);
    Ok(())
}

fn link<E: Emitter>(e: &mut E, a: &Args) {
    let pc = e.pc(a);
    let next = e.offset(pc, 4);
    e.put(30, next);
}

fn bl<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    link(e, a);
    e.jump_rel(a);
    Ok(())
}

fn imm19_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: signed(insn, 5, 19) << 2,
        n: reg(insn, 0),
        ..Args::default()
    })
}

fn b_cond<E: Emitter, const COND: u8>(e: &mut E, a: &Args) -> Done<E> {
    let cond = e.cond(COND);
    e.branch(cond, a);
    Ok(())
}

fn cbz<E: Emitter, const X: bool, const NONZERO: bool>(e: &mut E, a: &Args) -> Done<E> {
    let value = e.get(a.n);
    let value = if X {
        value
    } else {
        e.int1(Int1::Zext(Size::W), value)
    };
    let taken = e.nonzero(value);
    let taken = if NONZERO { taken } else { e.negate(taken) };
    e.branch(taken, a);
    Ok(())
}

fn tbz_args(insn: u32) -> Option<Args> {
    let k = (bits(insn, 31, 1) << 5 | bits(insn, 19, 5)) as u16;
    Some(Args {
        imm: signed(insn, 5, 14) << 2,
        n: reg(insn, 0),
        k,
        ..Args::default()
    })
}

fn tbz<E: Emitter, const NONZERO: bool>(e: &mut E, a: &Args) -> Done<E> {
    let value = e.get(a.n);
    let mask = e.imm(1 << a.k);
    let value = e.and(value, mask);
    let taken = e.nonzero(value);
    let taken = if NONZERO { taken } else { e.negate(taken) };
    e.branch(taken, a);
    Ok(())
}

fn br_args(insn: u32) -> Option<Args> {
    Some(Args {
        n: rn(insn),
        ..Args::default()
    })
}

fn br<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let target = e.get(a.n);
    e.jump(target);
    Ok(())
}

fn blr<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
    let target = e.get(a.n);
    link(e, a);
    e.jump(target);
    Ok(())
}

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::Branch;
    t.row(k, "B", "000101.. ........ ........ ........", b_args, b);
    t.row(k, "BL", "100101.. ........ ........ ........", b_args, bl);
    macro_rules! conditions {
        ($($name:literal $cond:literal $bits:literal;)*) => {$(
            t.row(
                k,
                concat!("B.", $name),
                concat!("01010100 ........ ........ ...0", $bits),
                imm19_args,
                b_cond::<E, $cond>,
            );
        )*};
    }
    conditions! {
        "EQ" 0 "0000"; "NE" 1 "0001"; "CS" 2 "0010"; "CC" 3 "0011";
        "MI" 4 "0100"; "PL" 5 "0101"; "VS" 6 "0110"; "VC" 7 "0111";
        "HI" 8 "1000"; "LS" 9 "1001"; "GE" 10 "1010"; "LT" 11 "1011";
        "GT" 12 "1100"; "LE" 13 "1101"; "AL" 14 "1110"; "NV" 15 "1111";
    }
    t.row(k, "CBZ (W)", "00110100 ........ ........ ........", imm19_args, cbz::<E, false, false>);
    t.row(k, "CBNZ (W)", "00110101 ........ ........ ........", imm19_args, cbz::<E, false, true>);
    t.row(k, "CBZ (X)", "10110100 ........ ........ ........", imm19_args, cbz::<E, true, false>);
    t.row(k, "CBNZ (X)", "10110101 ........ ........ ........", imm19_args, cbz::<E, true, true>);
    t.row(k, "TBZ", ".0110110 ........ ........ ........", tbz_args, tbz::<E, false>);
    t.row(k, "TBNZ", ".0110111 ........ ........ ........", tbz_args, tbz::<E, true>);
    t.row(k, "BR", "11010110 00011111 000000.. ...00000", br_args, br);
    t.row(k, "BLR", "11010110 00111111 000000.. ...00000", br_args, blr);
    t.row(k, "RET", "11010110 01011111 000000.. ...00000", br_args, br);
}
