//! Conversion between formats (FPConvert): FCVT, FCVTL, FCVTN and FCVTXN.

use super::round::{Exact, round_with};
use super::unpack::{Class, Unpacked, unpack};
use super::{Double, Format, FpEnv, Rounding, Single, fpsr};

/// `a` of format `From` as a `To`, rounded as FPCR says.
#[inline]
pub fn convert<From: Format, To: Format>(env: &mut FpEnv, a: u64) -> u64 {
    if !From::ALTERNATIVE && To::FRAC > From::FRAC {
        // Widening a normal number is exact, and only moves its fields.
        let magnitude = a & From::MAGNITUDE;
        if magnitude.wrapping_sub(From::MIN_NORMAL) < From::INFINITY - From::MIN_NORMAL {
            let rebias = ((To::BIAS - From::BIAS) as u64) << To::FRAC;
            let wide = (magnitude << (To::FRAC - From::FRAC)) + rebias;
            return To::with_sign(From::sign(a), wide);
        }
    }
    let mode = env.rounding();
    convert_with::<From, To>(env, a, mode)
}

/// Double to single, rounded to odd so that a second rounding cannot go wrong (FCVTXN).
#[inline]
pub fn convert_to_odd(env: &mut FpEnv, a: u64) -> u64 {
    convert_with::<Double, Single>(env, a, Rounding::Odd)
}

#[inline]
fn convert_with<From: Format, To: Format>(env: &mut FpEnv, a: u64, mode: Rounding) -> u64 {
    let Unpacked {
        sign,
        class,
        exp,
        mant,
    } = unpack::<From>(env, a);
    // Only a conversion to half precision can meet a format without infinities and NaNs.
    let alternative = To::ALTERNATIVE && env.alt_half();
    match class {
        Class::Nan => {
            if alternative || From::is_signalling(a) {
                env.raise(fpsr::IOC);
            }
            if alternative {
                To::with_sign(sign, 0)
            } else if env.default_nan() {
                To::DEFAULT_NAN
            } else {
                convert_nan::<From, To>(a)
            }
        }
        Class::Infinity if alternative => {
            env.raise(fpsr::IOC);
            To::with_sign(sign, To::MAGNITUDE)
        }
        Class::Infinity => To::with_sign(sign, To::INFINITY),
        Class::Zero => To::with_sign(sign, 0),
        Class::Finite => round_with::<To>(env, mode, Exact { sign, exp, mant }),
    }
}

/// FPConvertNaN: keeps the sign and the top of the payload, and makes it quiet.
fn convert_nan<From: Format, To: Format>(a: u64) -> u64 {
    let payload = (a & From::FRAC_MASK) << (63 - From::FRAC);
    let fraction = payload >> (63 - To::FRAC);
    To::with_sign(From::sign(a), To::DEFAULT_NAN | fraction)
}
