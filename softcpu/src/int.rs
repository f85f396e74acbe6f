//! What the integer operations of the [emitter](crate::emitter) compute.

use aarch64::Size;

use crate::emitter::{Int1, Int2};

/// The low 32 bits, sign-extended.
#[inline(always)]
pub(crate) fn sext32(value: u32) -> u64 {
    i64::from(value as i32) as u64
}

/// What an [`Int1`] computes.
#[inline(always)]
#[must_use]
pub fn eval_int1(op: Int1, a: u64) -> u64 {
    let w = a as u32;
    match op {
        Int1::Not => !a,
        Int1::Neg => a.wrapping_neg(),
        Int1::Zext32 => u64::from(w),
        Int1::Sext(Size::B) => i64::from(a as i8) as u64,
        Int1::Sext(Size::H) => i64::from(a as i16) as u64,
        Int1::Sext(Size::W) => sext32(w),
        Int1::Zext(size) => a & size.mask(),
        Int1::Sext(Size::D) => a,
        Int1::Clz => u64::from(a.leading_zeros()),
        Int1::ClzW => u64::from(w.leading_zeros()),
        Int1::Cls => u64::from((a ^ ((a as i64) >> 63) as u64).leading_zeros()) - 1,
        Int1::ClsW => u64::from((w ^ ((w as i32) >> 31) as u32).leading_zeros()) - 1,
        Int1::Rbit => a.reverse_bits(),
        Int1::RbitW => u64::from(w.reverse_bits()),
        Int1::Rev16 => (a & 0x00ff_00ff_00ff_00ff) << 8 | a >> 8 & 0x00ff_00ff_00ff_00ff,
        Int1::Rev32 => a.swap_bytes().rotate_left(32),
        Int1::Rev64 => a.swap_bytes(),
    }
}

/// What an [`Int2`] computes.
#[inline(always)]
#[must_use]
pub fn eval_int2(op: Int2, a: u64, b: u64) -> u64 {
    let (aw, bw) = (a as u32, b as u32);
    match op {
        Int2::Add => a.wrapping_add(b),
        Int2::Sub => a.wrapping_sub(b),
        Int2::Mul => a.wrapping_mul(b),
        Int2::Umulh => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        Int2::Smulh => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
        Int2::Udiv => a.checked_div(b).unwrap_or(0),
        Int2::Sdiv if b == 0 => 0,
        Int2::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        Int2::UdivW => u64::from(aw.checked_div(bw).unwrap_or(0)),
        Int2::SdivW if bw == 0 => 0,
        Int2::SdivW => u64::from((aw as i32).wrapping_div(bw as i32) as u32),
        Int2::And => a & b,
        Int2::Or => a | b,
        Int2::Xor => a ^ b,
        Int2::Lsl => a << (b & 63),
        Int2::Lsr => a >> (b & 63),
        Int2::Asr => ((a as i64) >> (b & 63)) as u64,
        Int2::Ror => a.rotate_right((b & 63) as u32),
        Int2::LslW => u64::from(aw << (b & 31)),
        Int2::LsrW => u64::from(aw >> (b & 31)),
        Int2::AsrW => u64::from(((aw as i32) >> (b & 31)) as u32),
        Int2::RorW => u64::from(aw.rotate_right((b & 31) as u32)),
    }
}
