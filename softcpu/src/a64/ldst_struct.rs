//! Loads and stores of structures (C4.1.95): `LD1` to `LD4` and `ST1` to `ST4` of whole registers
//! and of single lanes, `LD1R` to `LD4R`, each without and with post-index.
//!
//! Whole registers are accessed in units of 8 bytes, however small the elements: memory is one
//! stream, and vector permutes sort it into registers. What this omits: with `SCTLR_ELx.A` set, or
//! on device memory, alignment is checked for 8 bytes instead of the element.

use std::marker::PhantomData;

use aarch64::Size;

use super::field::{bit, bits, reg, rm, rn_sp};
use super::ldst::size_of;
use super::simd_copy::{extract, insert};
use super::simd_lane::{Lane, join, split};
use super::simd_op::{Done, Dup, vectors};
use super::simd_permute::{Uzp, Zip};
use crate::emitter::{Access, Args, Emitter, SP, Vec3};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

/// Register `PART` of `LD3`: every third lane of the stream.
#[derive(Clone, Copy, Debug)]
pub struct Split3<T, const N: usize, const PART: usize>(PhantomData<T>);

/// Part `PART` of the stream of `ST3`.
#[derive(Clone, Copy, Debug)]
pub struct Join3<T, const N: usize, const PART: usize>(PhantomData<T>);

impl<T: Lane, const N: usize, const PART: usize> Vec3 for Split3<T, N, PART> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128, c: u128) -> u128 {
        let all = [split::<T, N>(a), split::<T, N>(b), split::<T, N>(c)];
        join::<T, N>(std::array::from_fn(|i| {
            let at = 3 * i + PART;
            all[at / N][at % N]
        }))
    }
}

impl<T: Lane, const N: usize, const PART: usize> Vec3 for Join3<T, N, PART> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128, c: u128) -> u128 {
        let all = [split::<T, N>(a), split::<T, N>(b), split::<T, N>(c)];
        join::<T, N>(std::array::from_fn(|i| {
            let at = PART * N + i;
            all[at % 3][at / 3]
        }))
    }
}

/// `Args::k` without post-index.
const NO_INDEX: u16 = 0;
/// `Args::k` of a post-index by `imm`.
const BY_IMM: u16 = 1;
/// `Args::k` of a post-index by register `m`.
const BY_REG: u16 = 2;

/// Operands of every row here; `bytes` is what all registers together transfer.
fn args(insn: u32, bytes: u32) -> Args {
    let m = rm(insn);
    let k = match (bit(insn, 23), m) {
        (false, _) => NO_INDEX,
        (true, 31) => BY_IMM,
        (true, _) => BY_REG,
    };
    Args {
        d: reg(insn, 0),
        n: rn_sp(insn),
        m,
        k,
        imm: u64::from(bytes),
        ..Args::default()
    }
}

fn whole_args<const REGS: u32>(insn: u32) -> Option<Args> {
    Some(args(insn, REGS * if bit(insn, 30) { 16 } else { 8 }))
}

/// Single lanes: `a` is the lane and, above it, how many registers less one.
fn lane_args<const LOG2: u32>(insn: u32) -> Option<Args> {
    let regs = 1 + (bits(insn, 13, 1) << 1 | bits(insn, 21, 1));
    let lane = (bits(insn, 30, 1) << 3 | bits(insn, 12, 1) << 2 | bits(insn, 10, 2)) >> LOG2;
    Some(Args {
        a: (lane | (regs - 1) << 4) as u8,
        ..args(insn, regs << LOG2)
    })
}

#[inline(always)]
fn base<E: Emitter>(e: &mut E, a: &Args) -> Result<E::X, E::Stop> {
    let base = e.get(a.n);
    if a.n == SP {
        e.check_sp(base)?;
    }
    Ok(base)
}

#[inline(always)]
fn write_back<E: Emitter>(e: &mut E, a: &Args, base: E::X) {
    let moved = match a.k {
        NO_INDEX => return,
        BY_IMM => e.offset(base, a.imm),
        _ => {
            let m = e.get(a.m);
            e.add(base, m)
        }
    };
    e.put(a.n, moved);
}

/// Register number `i` of a list that starts with `first`.
#[inline(always)]
fn nth(first: u8, i: usize) -> u8 {
    (first + i as u8) % 32
}

/// The next `REGS` units of `BYTES` from memory.
#[inline(always)]
fn load_stream<E: Emitter, const REGS: usize, const Q: bool>(
    e: &mut E,
    base: E::X,
) -> Result<[E::Q; REGS], E::Stop> {
    let zero = e.imm(0);
    let mut units = [e.pack(zero, zero); REGS];
    for (i, unit) in units.iter_mut().enumerate() {
        let va = e.offset(base, if Q { 16 } else { 8 } * i as u64);
        *unit = if Q {
            e.load_q(va)?
        } else {
            let low = e.load(Size::D, Access::Plain, va)?;
            e.pack(low, zero)
        };
    }
    Ok(units)
}

#[inline(always)]
fn store_stream<E: Emitter, const REGS: usize, const Q: bool>(
    e: &mut E,
    base: E::X,
    units: [E::Q; REGS],
) -> Done<E> {
    for (i, unit) in units.into_iter().enumerate() {
        let va = e.offset(base, if Q { 16 } else { 8 } * i as u64);
        if Q {
            e.store_q(va, unit)?;
        } else {
            let low = e.half(unit, 0);
            e.store(Size::D, Access::Plain, va, low)?;
        }
    }
    Ok(())
}

#[inline(always)]
fn put_all<E: Emitter, const REGS: usize>(e: &mut E, a: &Args, base: E::X, values: [E::Q; REGS]) {
    write_back(e, a, base);
    for (i, value) in values.into_iter().enumerate() {
        e.putq(nth(a.d, i), value);
    }
}

#[inline(always)]
fn get_all<E: Emitter, const REGS: usize>(e: &mut E, a: &Args) -> [E::Q; REGS] {
    std::array::from_fn(|i| e.getq(nth(a.d, i)))
}

fn ld1<E: Emitter, const REGS: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let units = load_stream::<E, REGS, Q>(e, base)?;
    put_all(e, a, base, units);
    Ok(())
}

fn st1<E: Emitter, const REGS: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let units = get_all::<E, REGS>(e, a);
    store_stream::<E, REGS, Q>(e, base, units)?;
    write_back(e, a, base);
    Ok(())
}

#[inline(always)]
fn unzip<E: Emitter, T: Lane, const N: usize>(e: &mut E, a: E::Q, b: E::Q) -> (E::Q, E::Q) {
    let even = e.vec2::<Uzp<T, N, 0>>(0, a, b);
    (even, e.vec2::<Uzp<T, N, 1>>(0, a, b))
}

#[inline(always)]
fn zip<E: Emitter, T: Lane, const N: usize>(e: &mut E, a: E::Q, b: E::Q) -> (E::Q, E::Q) {
    let low = e.vec2::<Zip<T, N, 0>>(0, a, b);
    (low, e.vec2::<Zip<T, N, 1>>(0, a, b))
}

fn ld2<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [m0, m1] = load_stream::<E, 2, Q>(e, base)?;
    let (v0, v1) = unzip::<E, T, N>(e, m0, m1);
    put_all(e, a, base, [v0, v1]);
    Ok(())
}

fn st2<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [v0, v1] = get_all(e, a);
    let (m0, m1) = zip::<E, T, N>(e, v0, v1);
    store_stream::<E, 2, Q>(e, base, [m0, m1])?;
    write_back(e, a, base);
    Ok(())
}

fn ld3<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [m0, m1, m2] = load_stream::<E, 3, Q>(e, base)?;
    let v0 = e.vec3::<Split3<T, N, 0>>(0, m0, m1, m2);
    let v1 = e.vec3::<Split3<T, N, 1>>(0, m0, m1, m2);
    let v2 = e.vec3::<Split3<T, N, 2>>(0, m0, m1, m2);
    put_all(e, a, base, [v0, v1, v2]);
    Ok(())
}

fn st3<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [v0, v1, v2] = get_all(e, a);
    let m0 = e.vec3::<Join3<T, N, 0>>(0, v0, v1, v2);
    let m1 = e.vec3::<Join3<T, N, 1>>(0, v0, v1, v2);
    let m2 = e.vec3::<Join3<T, N, 2>>(0, v0, v1, v2);
    store_stream::<E, 3, Q>(e, base, [m0, m1, m2])?;
    write_back(e, a, base);
    Ok(())
}

/// Every fourth lane is every second of every second.
fn ld4<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [m0, m1, m2, m3] = load_stream::<E, 4, Q>(e, base)?;
    let (even0, odd0) = unzip::<E, T, N>(e, m0, m1);
    let (even1, odd1) = unzip::<E, T, N>(e, m2, m3);
    let (v0, v2) = unzip::<E, T, N>(e, even0, even1);
    let (v1, v3) = unzip::<E, T, N>(e, odd0, odd1);
    put_all(e, a, base, [v0, v1, v2, v3]);
    Ok(())
}

fn st4<E: Emitter, T: Lane, const N: usize, const Q: bool>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let [v0, v1, v2, v3] = get_all(e, a);
    let (even0, even1) = zip::<E, T, N>(e, v0, v2);
    let (odd0, odd1) = zip::<E, T, N>(e, v1, v3);
    let (m0, m1) = zip::<E, T, N>(e, even0, odd0);
    let (m2, m3) = zip::<E, T, N>(e, even1, odd1);
    store_stream::<E, 4, Q>(e, base, [m0, m1, m2, m3])?;
    write_back(e, a, base);
    Ok(())
}

/// How many registers a single-structure row transfers, and which lane of them.
#[inline(always)]
fn lanes_of(a: &Args) -> (usize, u64) {
    (1 + usize::from(a.a >> 4), u64::from(a.a & 15))
}

/// One unit of `LOG2` for each register, from memory.
#[inline(always)]
fn load_units<E: Emitter, const LOG2: u8>(
    e: &mut E,
    base: E::X,
    regs: usize,
) -> Result<[E::X; 4], E::Stop> {
    let mut units = [e.imm(0); 4];
    for (i, unit) in units.iter_mut().enumerate().take(regs) {
        let va = e.offset(base, (i as u64) << LOG2);
        *unit = e.load(size_of(LOG2), Access::Plain, va)?;
    }
    Ok(units)
}

fn ld_lane<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let (regs, lane) = lanes_of(a);
    let units = load_units::<E, LOG2>(e, base, regs)?;
    write_back(e, a, base);
    for (i, unit) in units.into_iter().enumerate().take(regs) {
        let old = e.getq(nth(a.d, i));
        let new = insert(e, old, size_of(LOG2), lane, unit);
        e.putq(nth(a.d, i), new);
    }
    Ok(())
}

fn st_lane<E: Emitter, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let (regs, lane) = lanes_of(a);
    for i in 0..regs {
        let q = e.getq(nth(a.d, i));
        let unit = extract(e, q, size_of(LOG2), lane);
        let va = e.offset(base, (i as u64) << LOG2);
        e.store(size_of(LOG2), Access::Plain, va, unit)?;
    }
    write_back(e, a, base);
    Ok(())
}

fn ld_dup<E: Emitter, T: Lane, const N: usize, const LOG2: u8>(e: &mut E, a: &Args) -> Done<E> {
    let base = base(e, a)?;
    let (regs, _) = lanes_of(a);
    let units = load_units::<E, LOG2>(e, base, regs)?;
    write_back(e, a, base);
    for (i, unit) in units.into_iter().enumerate().take(regs) {
        let unit = e.pack(unit, unit);
        let r = e.vec1::<Dup<T, N>>(0, unit);
        e.putq(nth(a.d, i), r);
    }
    Ok(())
}

const M: Kind = Kind::SimdMemory;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! whole {
        ($name:literal $suffix:literal $regs:literal $q:literal $load:literal $opcode:literal $size:literal $f:expr) => {
            t.row(M, concat!($name, " (", $suffix, ")"), concat!("0", $q, "0011000", $load, "000000", $opcode, $size, ".........."), whole_args::<$regs>, $f);
            t.row(M, concat!($name, " (", $suffix, ", post-index)"), concat!("0", $q, "0011001", $load, "0.....", $opcode, $size, ".........."), whole_args::<$regs>, $f);
        };
    }
    macro_rules! one {
        ($($name:literal $regs:literal $opcode:literal;)*) => {$(
            whole!($name "8B" $regs "0" "1" $opcode ".." ld1::<E, $regs, false>);
            whole!($name "16B" $regs "1" "1" $opcode ".." ld1::<E, $regs, true>);
        )*};
    }
    one! { "LD1 (1 register)" 1 "0111"; "LD1 (2 registers)" 2 "1010"; "LD1 (3 registers)" 3 "0110"; "LD1 (4 registers)" 4 "0010"; }
    macro_rules! one {
        ($($name:literal $regs:literal $opcode:literal;)*) => {$(
            whole!($name "8B" $regs "0" "0" $opcode ".." st1::<E, $regs, false>);
            whole!($name "16B" $regs "1" "0" $opcode ".." st1::<E, $regs, true>);
        )*};
    }
    one! { "ST1 (1 register)" 1 "0111"; "ST1 (2 registers)" 2 "1010"; "ST1 (3 registers)" 3 "0110"; "ST1 (4 registers)" 4 "0010"; }
    macro_rules! many {
        (($($name:literal $regs:literal $load:literal $opcode:literal $f:ident;)*) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {$(
            whole!($name $suffix $regs $q $load $opcode $size $f::<E, $t, $n, { $n * $t::BITS == 128 }>);
        )*};
    }
    vectors!(many (
        "LD2" 2 "1" "1000" ld2; "LD3" 3 "1" "0100" ld3; "LD4" 4 "1" "0000" ld4;
        "ST2" 2 "0" "1000" st2; "ST3" 3 "0" "0100" st3; "ST4" 4 "0" "0000" st4;
    ) u8 u16 u32 u64);
    single(t);
}

/// Rows of single structures. The number of registers is an operand: `opcode<0>` and `R`.
#[rustfmt::skip]
fn single<E: Emitter>(t: &mut Table<E>) {
    macro_rules! lane {
        ($($suffix:literal $log2:literal $opcode:literal $s_size:literal;)*) => {$(
            t.row(M, concat!("STn (lane, ", $suffix, ")"), concat!("0.00110100.00000", $opcode, ".", $s_size, ".........."), lane_args::<$log2>, st_lane::<E, $log2>);
            t.row(M, concat!("LDn (lane, ", $suffix, ")"), concat!("0.00110101.00000", $opcode, ".", $s_size, ".........."), lane_args::<$log2>, ld_lane::<E, $log2>);
            t.row(M, concat!("STn (lane, ", $suffix, ", post-index)"), concat!("0.00110110......", $opcode, ".", $s_size, ".........."), lane_args::<$log2>, st_lane::<E, $log2>);
            t.row(M, concat!("LDn (lane, ", $suffix, ", post-index)"), concat!("0.00110111......", $opcode, ".", $s_size, ".........."), lane_args::<$log2>, ld_lane::<E, $log2>);
        )*};
    }
    lane! { "B" 0 "00" "..."; "H" 1 "01" "..0"; "S" 2 "10" ".00"; "D" 3 "10" "001"; }
    macro_rules! dup {
        ($($suffix:literal $q:literal $size:literal $t:ident $n:literal $log2:literal;)*) => {$(
            t.row(M, concat!("LDnR (", $suffix, ")"), concat!("0", $q, "0011 0101.00000 11.0", $size, ".........."), lane_args::<$log2>, ld_dup::<E, $t, $n, $log2>);
            t.row(M, concat!("LDnR (", $suffix, ", post-index)"), concat!("0", $q, "0011 0111......11.0", $size, ".........."), lane_args::<$log2>, ld_dup::<E, $t, $n, $log2>);
        )*};
    }
    dup! {
        "8B" "0" "00" u8 8 0; "16B" "1" "00" u8 16 0; "4H" "0" "01" u16 4 1; "8H" "1" "01" u16 8 1;
        "2S" "0" "10" u32 2 2; "4S" "1" "10" u32 4 2; "1D" "0" "11" u64 1 3; "2D" "1" "11" u64 2 3;
    }
}
