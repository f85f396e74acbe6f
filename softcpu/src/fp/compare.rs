//! Comparisons (FPCompare, FPCompareEQ/GE/GT) and selections (FPMax, FPMin, FPMaxNum, FPMinNum).

use core::cmp::Ordering;

use super::format::abs;
use super::unpack::process_nans;
use super::{Arith, Format, FpEnv, fpsr};

/// Flushes a denormal to zero if FPCR asks for it: the part of FPUnpack that comparisons need.
#[inline(always)]
fn flush<F: Format>(env: &mut FpEnv, bits: u64) -> u64 {
    if env.flushes::<F>() && F::is_denormal(bits) {
        env.raise(F::FLUSHED);
        return bits & F::SIGN;
    }
    bits & F::MASK
}

/// An integer that orders like the number, the two zeros being equal. Not for NaNs.
#[inline(always)]
fn key<F: Format>(bits: u64) -> i64 {
    let magnitude = (bits & F::MAGNITUDE) as i64;
    if F::sign(bits) { -magnitude } else { magnitude }
}

/// The order of two numbers, or `None` with a NaN. A signalling NaN is invalid, a quiet one only
/// if `signal_quiet`.
#[inline(always)]
fn order<F: Arith>(env: &mut FpEnv, a: u64, b: u64, signal_quiet: bool) -> Option<Ordering> {
    let (a, b) = (flush::<F>(env, a), flush::<F>(env, b));
    if F::is_nan(a) || F::is_nan(b) {
        if signal_quiet || F::is_signalling(a) || F::is_signalling(b) {
            env.raise(fpsr::IOC);
        }
        return None;
    }
    Some(key::<F>(a).cmp(&key::<F>(b)))
}

/// NZCV of comparing `a` with `b` (FCMP, and FCMPE if `signal_quiet`), N in bit 3.
#[inline]
pub fn compare<F: Arith>(env: &mut FpEnv, a: u64, b: u64, signal_quiet: bool) -> u32 {
    match order::<F>(env, a, b, signal_quiet) {
        None => 0b0011,
        Some(Ordering::Less) => 0b1000,
        Some(Ordering::Equal) => 0b0110,
        Some(Ordering::Greater) => 0b0010,
    }
}

/// `a == b` (FCMEQ); quiet NaNs are no exception.
#[inline]
pub fn compare_eq<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> bool {
    order::<F>(env, a, b, false) == Some(Ordering::Equal)
}

/// `a >= b` (FCMGE); any NaN is invalid.
#[inline]
pub fn compare_ge<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> bool {
    matches!(
        order::<F>(env, a, b, true),
        Some(Ordering::Greater | Ordering::Equal)
    )
}

/// `a > b` (FCMGT); any NaN is invalid.
#[inline]
pub fn compare_gt<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> bool {
    order::<F>(env, a, b, true) == Some(Ordering::Greater)
}

/// `|a| >= |b|` (FACGE).
#[inline]
pub fn abs_ge<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> bool {
    compare_ge::<F>(env, abs::<F>(a), abs::<F>(b))
}

/// `|a| > |b|` (FACGT).
#[inline]
pub fn abs_gt<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> bool {
    compare_gt::<F>(env, abs::<F>(a), abs::<F>(b))
}

/// The larger operand; NaNs propagate and plus zero is above minus zero (FMAX).
#[inline]
pub fn max<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (x, y) = (flush::<F>(env, a), flush::<F>(env, b));
    match process_nans::<F, 2>(env, [x, y]) {
        Some(nan) => nan,
        // Equal keys are the same pattern, or two zeros: plus wins unless both are minus.
        None if key::<F>(x) == key::<F>(y) => x & y,
        None if key::<F>(x) > key::<F>(y) => x,
        None => y,
    }
}

/// The smaller operand; NaNs propagate and minus zero is below plus zero (FMIN).
#[inline]
pub fn min<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (x, y) = (flush::<F>(env, a), flush::<F>(env, b));
    match process_nans::<F, 2>(env, [x, y]) {
        Some(nan) => nan,
        None if key::<F>(x) == key::<F>(y) => x | y,
        None if key::<F>(x) < key::<F>(y) => x,
        None => y,
    }
}

/// [`max`], but a number beats a quiet NaN (FMAXNM).
#[inline]
pub fn max_num<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (a, b) = prefer_numbers::<F>(a, b, F::SIGN | F::INFINITY);
    max::<F>(env, a, b)
}

/// [`min`], but a number beats a quiet NaN (FMINNM).
#[inline]
pub fn min_num<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (a, b) = prefer_numbers::<F>(a, b, F::INFINITY);
    min::<F>(env, a, b)
}

/// Replaces a single quiet NaN by `neutral`, which any number beats.
#[inline(always)]
fn prefer_numbers<F: Format>(a: u64, b: u64, neutral: u64) -> (u64, u64) {
    let quiet = |x| F::is_nan(x) && !F::is_signalling(x);
    match (quiet(a), quiet(b)) {
        (true, false) => (neutral, b),
        (false, true) => (a, neutral),
        (true, true) | (false, false) => (a, b),
    }
}
