//! Double precision multiply-add of ordinary numbers, for hosts without the instruction.
//!
//! The soft core's way, cut down to what compilers' code meets: normal operands, round to nearest,
//! exponents that let both terms stand in one 128-bit integer.

use super::format::{Double, Format};
use super::round::shift_right_sticky_wide;
use super::{FpEnv, fpsr};

/// Left shift of the addend that still leaves room for a carry and the sign: 53 + 72 + 1 < 128.
const MOST_ABOVE: i32 = 72;
/// The same of the product (106 bits), as a negative number.
const LEAST_ABOVE: i32 = -20;
/// Exponent of the unit of a significand with exponent field 0.
const UNIT: i32 = Double::BIAS + Double::FRAC as i32;

#[inline(always)]
fn field(bits: u64) -> i32 {
    (bits >> Double::FRAC & Double::EXP_ONES) as i32
}

#[inline(always)]
fn significand(bits: u64) -> u128 {
    u128::from(bits & Double::FRAC_MASK | Double::MIN_NORMAL)
}

/// `c + a * b` rounded to nearest, or `None` if an operand or the result is special.
#[inline(always)]
pub(super) fn mul_add(env: &mut FpEnv, c: u64, a: u64, b: u64) -> Option<u64> {
    let (fa, fb, fc) = (field(a), field(b), field(c));
    let normal = |field: i32| (1..Double::EXP_ONES as i32).contains(&field);
    if !(normal(fa) && normal(fb) && normal(fc)) {
        return None;
    }
    let (product, addend) = (significand(a) * significand(b), significand(c));
    let unit = fa + fb - 2 * UNIT;
    // How far the addend's unit is above the product's.
    let (product, addend, unit) = match fc - UNIT - unit {
        above @ 0..=MOST_ABOVE => (product, addend << above, unit),
        above if above > MOST_ABOVE => {
            let excess = above - MOST_ABOVE;
            let product = shift_right_sticky_wide(product, excess as u32);
            (product, addend << MOST_ABOVE, unit + excess)
        }
        below @ LEAST_ABOVE..0 => (product << -below, addend, unit + below),
        _ => return None,
    };
    let product_sign = (a ^ b) & Double::SIGN;
    let (sign, sum) = if product_sign == c & Double::SIGN {
        (product_sign, product + addend)
    } else if product >= addend {
        (product_sign, product - addend)
    } else {
        (c & Double::SIGN, addend - product)
    };
    if sum == 0 {
        return None;
    }
    // The leading 63 bits, the last one sticky: the host rounds such an integer to a double.
    let zeros = sum.leading_zeros();
    let top = shift_right_sticky_wide(sum << zeros, 65) as i64;
    let exponent = unit + 65 - zeros as i32;
    let rounded = (top as f64).to_bits();
    let biased = field(rounded) + exponent;
    if !(2..Double::EXP_ONES as i32).contains(&biased) {
        return None;
    }
    if top & 0x3ff != 0 {
        env.raise(fpsr::IXC);
    }
    Some(sign | (rounded & Double::FRAC_MASK) | (biased as u64) << Double::FRAC)
}
