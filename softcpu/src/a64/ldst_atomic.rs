//! Ordered, exclusive and atomic accesses (C4.1.95): `LDAR`, `LDXR`, FEAT_LSE, FEAT_LRCPC.

use aarch64::Size;

use super::field::{bit, dest, reg, rm, rn_sp};
use super::ldst::size_of;
use crate::emitter::{Access, Args, Emitter, Rmw, SP};
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;

#[inline(always)]
fn base<E: Emitter>(e: &mut E, a: &Args) -> Result<E::X, E::Stop> {
    let va = e.get(a.n);
    if a.n == SP {
        e.check_sp(va)?;
    }
    Ok(va)
}

fn load_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: dest(reg(insn, 0)),
        n: rn_sp(insn),
        ..Args::default()
    })
}

fn store_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: rn_sp(insn),
        ..Args::default()
    })
}

fn ldar<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let value = e.load(size_of(LOG2), Access::Ordered, va)?;
    e.put(a.d, value);
    Ok(())
}

fn ldapr<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let value = e.load(size_of(LOG2), Access::AcquirePc, va)?;
    e.put(a.d, value);
    Ok(())
}

fn stlr<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let value = e.get(a.d);
    e.store(size_of(LOG2), Access::Ordered, va, value)
}

/// `d` and `a` are Rt and Rt2; bit 15 asks for acquire.
fn ldx_args(insn: u32) -> Option<Args> {
    let (d, a) = (dest(reg(insn, 0)), dest(reg(insn, 10)));
    Some(Args {
        d,
        a,
        n: rn_sp(insn),
        k: u16::from(bit(insn, 15)),
        ..Args::default()
    })
}

fn ldxr<E: Emitter, const LOG2: u8, const PAIR: bool>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let (first, second) = e.load_exclusive(size_of(LOG2), PAIR, a.k != 0, va)?;
    e.put(a.d, first);
    if PAIR {
        e.put(a.a, second);
    }
    Ok(())
}

/// `m` is Rs, the status.
fn stx_args(insn: u32) -> Option<Args> {
    let (d, a) = (reg(insn, 0), reg(insn, 10));
    Some(Args {
        d,
        a,
        m: dest(rm(insn)),
        n: rn_sp(insn),
        ..Args::default()
    })
}

fn stxr<E: Emitter, const LOG2: u8, const PAIR: bool>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let (first, second) = (e.get(a.d), e.get(a.a));
    let status = e.store_exclusive(size_of(LOG2), PAIR, va, (first, second))?;
    e.put(a.m, status);
    Ok(())
}

/// `m` is Rs as a source, `d` is Rt.
fn rmw_args(insn: u32) -> Option<Args> {
    Some(Args {
        d: dest(reg(insn, 0)),
        m: rm(insn),
        n: rn_sp(insn),
        ..Args::default()
    })
}

const OPS: [Rmw; 9] = [
    Rmw::Add,
    Rmw::Clr,
    Rmw::Eor,
    Rmw::Set,
    Rmw::Smax,
    Rmw::Smin,
    Rmw::Umax,
    Rmw::Umin,
    Rmw::Swp,
];

fn rmw<E: Emitter, const LOG2: u8, const OP: usize>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let value = e.get(a.m);
    let old = e.rmw(OPS[OP], size_of(LOG2), va, value)?;
    e.put(a.d, old);
    Ok(())
}

/// `m` is Rs as a source, `k` the same as a destination, `d` is Rt.
fn cas_args(insn: u32) -> Option<Args> {
    let k = u16::from(dest(rm(insn)));
    Some(Args {
        d: reg(insn, 0),
        m: rm(insn),
        n: rn_sp(insn),
        k,
        ..Args::default()
    })
}

fn cas<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let (expected, new) = (e.get(a.m), e.get(a.d));
    let old = e.cas(size_of(LOG2), va, expected, new)?;
    e.put(a.k as u8, old);
    Ok(())
}

/// Register pairs start at even registers; the second of the last pair is the zero register.
fn casp_args(insn: u32) -> Option<Args> {
    (rm(insn).is_multiple_of(2) && reg(insn, 0).is_multiple_of(2)).then_some(())?;
    cas_args(insn)
}

fn casp<E: Emitter, const DOUBLE: bool>(e: &mut E, a: &Args) -> Done<E> {
    let va = base(e, a)?;
    let expected = (e.get(a.m), e.get(a.m + 1));
    let new = (e.get(a.d), e.get(a.d + 1));
    let size = if DOUBLE { Size::D } else { Size::W };
    let (first, second) = e.casp(size, va, expected, new)?;
    e.put(a.m, first);
    e.put(dest(a.m + 1), second);
    Ok(())
}

const M: Kind = Kind::Memory;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! sizes {
        ($($log2:literal $size:literal $suffix:literal;)*) => {$(
            t.row(M, concat!("LDXR", $suffix), concat!($size, "001000 010..... ........ ........"), ldx_args, ldxr::<E, $log2, false>);
            t.row(M, concat!("STXR", $suffix), concat!($size, "001000 000..... ........ ........"), stx_args, stxr::<E, $log2, false>);
            t.row(M, concat!("LDAR", $suffix), concat!($size, "001000 110..... ........ ........"), load_args, ldar::<E, $log2>);
            t.row(M, concat!("STLR", $suffix), concat!($size, "001000 100..... 1....... ........"), store_args, stlr::<E, $log2>);
            t.row(M, concat!("CAS", $suffix), concat!($size, "001000 1.1..... .11111.. ........"), cas_args, cas::<E, $log2>);
            t.row(M, concat!("LDAPR", $suffix), concat!($size, "111000 10111111 110000.. ........"), load_args, ldapr::<E, $log2>);
            t.row(M, concat!("LDADD", $suffix), concat!($size, "111000 ..1..... 000000.. ........"), rmw_args, rmw::<E, $log2, 0>);
            t.row(M, concat!("LDCLR", $suffix), concat!($size, "111000 ..1..... 000100.. ........"), rmw_args, rmw::<E, $log2, 1>);
            t.row(M, concat!("LDEOR", $suffix), concat!($size, "111000 ..1..... 001000.. ........"), rmw_args, rmw::<E, $log2, 2>);
            t.row(M, concat!("LDSET", $suffix), concat!($size, "111000 ..1..... 001100.. ........"), rmw_args, rmw::<E, $log2, 3>);
            t.row(M, concat!("LDSMAX", $suffix), concat!($size, "111000 ..1..... 010000.. ........"), rmw_args, rmw::<E, $log2, 4>);
            t.row(M, concat!("LDSMIN", $suffix), concat!($size, "111000 ..1..... 010100.. ........"), rmw_args, rmw::<E, $log2, 5>);
            t.row(M, concat!("LDUMAX", $suffix), concat!($size, "111000 ..1..... 011000.. ........"), rmw_args, rmw::<E, $log2, 6>);
            t.row(M, concat!("LDUMIN", $suffix), concat!($size, "111000 ..1..... 011100.. ........"), rmw_args, rmw::<E, $log2, 7>);
            t.row(M, concat!("SWP", $suffix), concat!($size, "111000 ..1..... 100000.. ........"), rmw_args, rmw::<E, $log2, 8>);
        )*};
    }
    sizes! { 0 "00" "B"; 1 "01" "H"; 2 "10" " (W)"; 3 "11" " (X)"; }
    t.row(M, "LDXP (W)", "10001000 011..... ........ ........", ldx_args, ldxr::<E, 2, true>);
    t.row(M, "LDXP (X)", "11001000 011..... ........ ........", ldx_args, ldxr::<E, 3, true>);
    t.row(M, "STXP (W)", "10001000 001..... ........ ........", stx_args, stxr::<E, 2, true>);
    t.row(M, "STXP (X)", "11001000 001..... ........ ........", stx_args, stxr::<E, 3, true>);
    t.row(M, "CASP (W)", "00001000 0.1..... .11111.. ........", casp_args, casp::<E, false>);
    t.row(M, "CASP (X)", "01001000 0.1..... .11111.. ........", casp_args, casp::<E, true>);
}
