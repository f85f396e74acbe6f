//! Advanced SIMD permute, extract and table lookup (C4.1.97): lanes change places.

use std::marker::PhantomData;

use super::field::bits;
use super::simd_lane::{Lane, join, split};
use super::simd_op::{Done, regs, v2, vectors};
use crate::emitter::{Args, Emitter, Vec2, Vec3};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

/// `UZP1` (part 0) and `UZP2` (part 1): every second lane of both.
#[derive(Clone, Copy, Debug)]
pub struct Uzp<T, const N: usize, const PART: usize>(PhantomData<T>);

/// `ZIP1` and `ZIP2`: the lower or upper halves of both in turns.
#[derive(Clone, Copy, Debug)]
pub struct Zip<T, const N: usize, const PART: usize>(PhantomData<T>);

/// `TRN1` and `TRN2`: the even or odd lanes of both in turns.
#[derive(Clone, Copy, Debug)]
pub struct Trn<T, const N: usize, const PART: usize>(PhantomData<T>);

impl<T: Lane, const N: usize, const PART: usize> Vec2 for Uzp<T, N, PART> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T, N>(a), split::<T, N>(b));
        join::<T, N>(std::array::from_fn(|i| {
            let from = if i < N / 2 { &a } else { &b };
            from[2 * i % N + PART]
        }))
    }
}

impl<T: Lane, const N: usize, const PART: usize> Vec2 for Zip<T, N, PART> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T, N>(a), split::<T, N>(b));
        join::<T, N>(std::array::from_fn(|i| {
            let from = if i % 2 == 0 { &a } else { &b };
            from[PART * N / 2 + i / 2]
        }))
    }
}

impl<T: Lane, const N: usize, const PART: usize> Vec2 for Trn<T, N, PART> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T, N>(a), split::<T, N>(b));
        join::<T, N>(std::array::from_fn(|i| {
            let from = if i % 2 == 0 { &a } else { &b };
            from[i / 2 * 2 + PART]
        }))
    }
}

/// `EXT`: `BITS` bits of the pair of both sources, from byte `imm` on.
#[derive(Clone, Copy, Debug)]
pub struct Ext<const BITS: u32>;

impl<const BITS: u32> Vec2 for Ext<BITS> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let mask = u128::MAX >> (128 - BITS);
        let above = b.checked_shl(BITS - 8 * imm).unwrap_or(0);
        ((a & mask) >> (8 * imm) | above) & mask
    }
}

/// One step of `TBL` and `TBX`: where an index points into this part of the table, which starts at
/// `imm`, its byte replaces the result so far.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<const N: usize>;

impl<const N: usize> Vec3 for Lookup<N> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, imm: u32, r: u128, table: u128, indexes: u128) -> u128 {
        let (r, indexes) = (split::<u8, N>(r), split::<u8, N>(indexes));
        let table = table.to_le_bytes();
        join::<u8, N>(std::array::from_fn(|i| {
            let at = indexes[i].wrapping_sub(imm as u8);
            if at < 16 {
                table[usize::from(at)]
            } else {
                r[i]
            }
        }))
    }
}

/// `k` is how many registers the table has.
fn table_args(insn: u32) -> Option<Args> {
    let k = 1 + bits(insn, 13, 2) as u16;
    regs(insn).map(|a| Args { k, ..a })
}

fn table_lookup<E: Emitter, const N: usize, const KEEP: bool>(e: &mut E, a: &Args) -> Done<E> {
    let indexes = e.getq(a.m);
    let mut r = if KEEP {
        e.getq(a.d)
    } else {
        let zero = e.imm(0);
        e.pack(zero, zero)
    };
    for i in 0..a.k {
        let table = e.getq((a.n + i as u8) % 32);
        r = e.vec3::<Lookup<N>>(16 * u32::from(i), r, table, indexes);
    }
    e.putq(a.d, r);
    Ok(())
}

fn ext_args(insn: u32) -> Option<Args> {
    let imm = u64::from(bits(insn, 11, 4));
    regs(insn).map(|a| Args { imm, ..a })
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    macro_rules! row {
        (($name:literal $opcode:literal $op:ident $part:literal) $suffix:literal $q:literal $size:literal $immh:literal $t:ident $n:literal) => {
            t.row(S, concat!($name, " (", $suffix, ")"), concat!("0", $q, "001110", $size, "0.....0", $opcode, "10.........."), regs, v2::<E, $op<$t, $n, $part>>);
        };
    }
    vectors!(row ("UZP1" "001" Uzp 0) u8 u16 u32 u64);
    vectors!(row ("TRN1" "010" Trn 0) u8 u16 u32 u64);
    vectors!(row ("ZIP1" "011" Zip 0) u8 u16 u32 u64);
    vectors!(row ("UZP2" "101" Uzp 1) u8 u16 u32 u64);
    vectors!(row ("TRN2" "110" Trn 1) u8 u16 u32 u64);
    vectors!(row ("ZIP2" "111" Zip 1) u8 u16 u32 u64);
    t.row(S, "EXT (8B)", "00101110 000..... 00...0.. ........", ext_args, v2::<E, Ext<64>>);
    t.row(S, "EXT (16B)", "01101110 000..... 0....0.. ........", ext_args, v2::<E, Ext<128>>);
    t.row(S, "TBL (8B)", "00001110 000..... 0..000.. ........", table_args, table_lookup::<E, 8, false>);
    t.row(S, "TBL (16B)", "01001110 000..... 0..000.. ........", table_args, table_lookup::<E, 16, false>);
    t.row(S, "TBX (8B)", "00001110 000..... 0..100.. ........", table_args, table_lookup::<E, 8, true>);
    t.row(S, "TBX (16B)", "01001110 000..... 0..100.. ........", table_args, table_lookup::<E, 16, true>);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: u128 = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
    const HIGH: u128 = 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110;

    #[test]
    fn lanes_go_where_the_manual_draws_them() {
        let env = &mut FpEnv::default();
        let uzp = Uzp::<u8, 8, 1>::eval(env, 0, LOW, HIGH);
        assert_eq!(uzp, 0x1715_1311_0705_0301);
        let zip = Zip::<u8, 8, 1>::eval(env, 0, LOW, HIGH);
        assert_eq!(zip, 0x1707_1606_1505_1404);
        let trn = Trn::<u16, 4, 1>::eval(env, 0, LOW, HIGH);
        assert_eq!(trn, 0x1716_0706_1312_0302);
    }

    #[test]
    fn ext_takes_bytes_from_the_middle_of_the_pair() {
        let env = &mut FpEnv::default();
        assert_eq!(Ext::<64>::eval(env, 3, LOW, HIGH), 0x1211_1007_0605_0403);
        assert_eq!(Ext::<128>::eval(env, 0, LOW, HIGH), LOW);
        let shifted = LOW >> 120 | HIGH << 8;
        assert_eq!(Ext::<128>::eval(env, 15, LOW, HIGH), shifted);
    }

    #[test]
    fn lookups_leave_what_points_elsewhere() {
        let env = &mut FpEnv::default();
        let r = Lookup::<8>::eval(env, 16, u128::MAX, HIGH, 0x2010_1f00);
        assert_eq!(r, 0xffff_ffff_ff10_1fff);
    }
}
