//! Double precision on the host's operators.
//!
//! Each path first makes sure that rounding is to nearest and no operand is flushed, lets the host
//! compute, and accepts the result only if it is [`settled`]: then no operand was a NaN or an
//! infinity, nothing overflowed, and the value was not tiny even before rounding. That leaves the
//! inexact flag. If FPSR has it already there is nothing to find out; else an error-free
//! transformation or a count of significant bits tells whether the result is exact.

use super::format::{Arith, Double, Format};
use super::{FpEnv, fpsr, fused64};

/// True if the host has a fused multiply-add instruction; without it, `mul_add` is a slow call.
const HAS_FMA: bool = cfg!(any(target_feature = "fma", target_feature = "neon"));

/// True for finite values at least twice the smallest normal.
#[inline(always)]
fn settled(bits: u64) -> bool {
    ((bits >> Double::FRAC) & Double::EXP_ONES).wrapping_sub(2) < Double::EXP_ONES - 2
}

/// True for plus and minus zero.
#[inline(always)]
fn zero(bits: u64) -> bool {
    bits << 1 == 0
}

/// Significant bits of a normal number, without trailing zeros.
#[inline(always)]
fn significant(bits: u64) -> u32 {
    53 - (bits | Double::MIN_NORMAL).trailing_zeros()
}

/// Whether the product of two normal numbers needs at most 53 bits; `None` if the counts of their
/// bits do not decide it.
#[inline(always)]
fn product_fits(a: u64, b: u64) -> Option<bool> {
    match significant(a) + significant(b) {
        ..54 => Some(true),
        54 => None,
        _ => Some(false),
    }
}

impl Arith for Double {
    #[inline(always)]
    fn fast_add(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let sum = x + y;
        let bits = sum.to_bits();
        if !settled(bits) {
            // A zero sum is always exact.
            return zero(bits).then_some(bits);
        }
        if !env.inexact_recorded() {
            let y_part = sum - x;
            let error = (x - (sum - y_part)) + (y - y_part);
            if error.is_nan() {
                return None;
            }
            if error != 0.0 {
                env.raise(fpsr::IXC);
            }
        }
        Some(bits)
    }

    #[inline(always)]
    fn fast_mul(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let bits = (f64::from_bits(a) * f64::from_bits(b)).to_bits();
        if !settled(bits) {
            return (zero(bits) && (zero(a) || zero(b))).then_some(bits);
        }
        if !env.inexact_recorded() {
            if !settled(a) || !settled(b) {
                return None;
            }
            if !product_fits(a, b)? {
                env.raise(fpsr::IXC);
            }
        }
        Some(bits)
    }

    #[inline(always)]
    fn fast_div(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let quotient = f64::from_bits(a) / f64::from_bits(b);
        let bits = quotient.to_bits();
        if !settled(bits) {
            return None;
        }
        if !env.inexact_recorded() {
            if !settled(a) || !settled(b) {
                return None;
            }
            // Exact means quotient * b == a, whose left side must fit for the host to decide it.
            let exact = product_fits(bits, b)? && quotient * f64::from_bits(b) == f64::from_bits(a);
            if !exact {
                env.raise(fpsr::IXC);
            }
        }
        Some(bits)
    }

    #[inline(always)]
    fn fast_sqrt(env: &mut FpEnv, a: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a]) {
            return None;
        }
        let root = f64::from_bits(a).sqrt();
        let bits = root.to_bits();
        if !settled(bits) {
            return None;
        }
        if !env.inexact_recorded() {
            if !settled(a) {
                return None;
            }
            let exact = product_fits(bits, bits)? && root * root == f64::from_bits(a);
            if !exact {
                env.raise(fpsr::IXC);
            }
        }
        Some(bits)
    }

    #[inline(always)]
    fn fast_mul_add(env: &mut FpEnv, c: u64, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b, c]) {
            return None;
        }
        if !HAS_FMA || !env.inexact_recorded() {
            return fused64::mul_add(env, c, a, b);
        }
        let sum = f64::from_bits(a).mul_add(f64::from_bits(b), f64::from_bits(c));
        let bits = sum.to_bits();
        settled(bits).then_some(bits)
    }
}
