//! Single precision on the host's operators, on the plan of [`fast64`](super::fast64).
//!
//! Double precision holds products of two singles exactly, so it serves for finding out whether a
//! result is exact, and for the fused multiply-add.

use super::format::{Arith, Double, Format, Single};
use super::{FpEnv, fpsr};

/// The fraction bits of a double that a single lacks, and their value half way between singles.
const DROPPED: u64 = (1 << (Double::FRAC - Single::FRAC)) - 1;
const HALF_WAY: u64 = 1 << (Double::FRAC - Single::FRAC - 1);

/// True for finite values at least twice the smallest normal.
#[inline(always)]
fn settled(bits: u32) -> bool {
    ((bits >> Single::FRAC) & 0xff).wrapping_sub(2) < 0xff - 2
}

/// True for plus and minus zero.
#[inline(always)]
fn zero(bits: u32) -> bool {
    bits << 1 == 0
}

#[inline(always)]
fn value(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

#[inline(always)]
fn wide(bits: u64) -> f64 {
    f64::from(value(bits))
}

impl Arith for Single {
    #[inline(always)]
    fn fast_add(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let (x, y) = (value(a), value(b));
        let sum = x + y;
        let bits = sum.to_bits();
        if !settled(bits) {
            // A zero sum is always exact.
            return zero(bits).then_some(u64::from(bits));
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
        Some(u64::from(bits))
    }

    #[inline(always)]
    fn fast_mul(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let product = value(a) * value(b);
        let bits = product.to_bits();
        if !settled(bits) {
            let exact = zero(bits) && (zero(a as u32) || zero(b as u32));
            return exact.then_some(u64::from(bits));
        }
        if !env.inexact_recorded() && f64::from(product) != wide(a) * wide(b) {
            env.raise(fpsr::IXC);
        }
        Some(u64::from(bits))
    }

    #[inline(always)]
    fn fast_div(env: &mut FpEnv, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b]) {
            return None;
        }
        let quotient = value(a) / value(b);
        let bits = quotient.to_bits();
        if !settled(bits) {
            return None;
        }
        if !env.inexact_recorded() && f64::from(quotient) * wide(b) != wide(a) {
            env.raise(fpsr::IXC);
        }
        Some(u64::from(bits))
    }

    #[inline(always)]
    fn fast_sqrt(env: &mut FpEnv, a: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a]) {
            return None;
        }
        let root = value(a).sqrt();
        let bits = root.to_bits();
        if !settled(bits) {
            return None;
        }
        if !env.inexact_recorded() && f64::from(root) * f64::from(root) != wide(a) {
            env.raise(fpsr::IXC);
        }
        Some(u64::from(bits))
    }

    #[inline(always)]
    fn fast_mul_add(env: &mut FpEnv, c: u64, a: u64, b: u64) -> Option<u64> {
        if !env.host_like::<Self, _>([a, b, c]) {
            return None;
        }
        let (product, addend) = (wide(a) * wide(b), wide(c));
        let sum = product + addend;
        let rounded = sum as f32;
        // Rounding the rounded sum again is harmless unless it landed half way between singles.
        if sum.to_bits() & DROPPED == HALF_WAY {
            return None;
        }
        let bits = rounded.to_bits();
        if !settled(bits) {
            return None;
        }
        if !env.inexact_recorded() {
            let addend_part = sum - product;
            let error = (product - (sum - addend_part)) + (addend - addend_part);
            if error != 0.0 || f64::from(rounded) != sum {
                env.raise(fpsr::IXC);
            }
        }
        Some(u64::from(bits))
    }
}
