//! Table-like estimates: FPRecipEstimate, FPRSqrtEstimate, FPRecpX and the unsigned integer ones.
//!
//! The architecture gives these to the bit: an 8-bit fraction computed by integer formulas.

use super::round::overflows_to_infinity;
use super::unpack::{Class, Unpacked, invalid, process_nan, unpack};
use super::{Arith, FpEnv, fpsr};

/// RecipEstimate: `a` is 256 to 511 and stands for 0.5 to 1.0; so does the result for 1.0 to 2.0.
fn recip_table(a: u64) -> u64 {
    let midpoint = a * 2 + 1;
    ((1 << 19) / midpoint).div_ceil(2)
}

/// RecipSqrtEstimate: `a` is 128 to 511 and stands for 0.25 to 1.0; the result is 256 to 511.
fn rsqrt_table(a: u64) -> u64 {
    let midpoint = if a < 256 {
        a * 2 + 1
    } else {
        ((a >> 1 << 1) + 1) * 2
    };
    // Largest b with midpoint * b^2 < 2^28, b at least 512.
    let mut b = 512_u64;
    while midpoint * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    b.div_ceil(2)
}

/// An estimate of `1 / a` (FRECPE).
pub fn recip_estimate<F: Arith>(env: &mut FpEnv, a: u64) -> u64 {
    let Unpacked {
        sign,
        class,
        exp,
        mant,
    } = unpack::<F>(env, a);
    match class {
        Class::Nan => return process_nan::<F>(env, a),
        Class::Infinity => return F::with_sign(sign, 0),
        Class::Zero => {
            env.raise(fpsr::DZC);
            return F::with_sign(sign, F::INFINITY);
        }
        Class::Finite => {}
    }
    if exp < F::MIN_EXP - 2 {
        env.raise(fpsr::OFC | fpsr::IXC);
        let infinite = overflows_to_infinity(env.rounding(), sign);
        return F::with_sign(sign, if infinite { F::INFINITY } else { F::MAX_NORMAL });
    }
    if env.flushes::<F>() && exp >= F::BIAS - 1 {
        env.raise(fpsr::UFC);
        return F::with_sign(sign, 0);
    }
    let estimate = recip_table(mant >> 55);
    // The result's fraction with its hidden bit, to be shifted right if it is denormal.
    let significand = (1 << F::FRAC) | ((estimate & 0xff) << (F::FRAC - 8));
    let biased = 2 * F::BIAS - 1 - (exp + F::BIAS);
    let magnitude = match biased {
        1.. => ((biased as u64) << F::FRAC) | (significand & F::FRAC_MASK),
        _ => significand >> (1 - biased),
    };
    F::with_sign(sign, magnitude)
}

/// An estimate of `1 / sqrt(a)` (FRSQRTE).
pub fn rsqrt_estimate<F: Arith>(env: &mut FpEnv, a: u64) -> u64 {
    let Unpacked {
        sign,
        class,
        exp,
        mant,
    } = unpack::<F>(env, a);
    match class {
        Class::Nan => return process_nan::<F>(env, a),
        Class::Zero => {
            env.raise(fpsr::DZC);
            return F::with_sign(sign, F::INFINITY);
        }
        Class::Infinity | Class::Finite if sign => return invalid::<F>(env),
        Class::Infinity => return 0,
        Class::Finite => {}
    }
    // An odd biased exponent means a value in [0.25, 0.5) after scaling by a power of four.
    let odd = (exp + F::BIAS) & 1 != 0;
    let estimate = rsqrt_table(mant >> if odd { 56 } else { 55 });
    let biased = (3 * F::BIAS - 1 - (exp + F::BIAS)) >> 1;
    ((biased as u64) << F::FRAC) | ((estimate & 0xff) << (F::FRAC - 8))
}

/// A power of two near `1 / a`, for scaling (FRECPX).
pub fn recip_exponent<F: Arith>(env: &mut FpEnv, a: u64) -> u64 {
    let Unpacked { sign, class, .. } = unpack::<F>(env, a);
    if class == Class::Nan {
        return process_nan::<F>(env, a);
    }
    let field = (a >> F::FRAC) & F::EXP_ONES;
    let flipped = if field == 0 {
        F::EXP_ONES - 1
    } else {
        !field & F::EXP_ONES
    };
    F::with_sign(sign, flipped << F::FRAC)
}

/// An estimate of the reciprocal of a fraction in [0.5, 1.0) with 32 bits (URECPE).
pub fn unsigned_recip_estimate(a: u32) -> u32 {
    if a >> 31 == 0 {
        return u32::MAX;
    }
    (recip_table(u64::from(a >> 23)) << 23) as u32
}

/// An estimate of the reciprocal square root of a fraction in [0.25, 1.0) (URSQRTE).
pub fn unsigned_rsqrt_estimate(a: u32) -> u32 {
    if a >> 30 == 0 {
        return u32::MAX;
    }
    (rsqrt_table(u64::from(a >> 23)) << 23) as u32
}
