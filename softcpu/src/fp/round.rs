//! From exact values to bit patterns (FPRound): the one place where precision is lost.

use super::{Format, FpEnv, Rounding, fpsr};

/// An exact non-zero magnitude `mant * 2^(exp - 63)`, bit 63 of `mant` set. The last bit of `mant`
/// is sticky: it is set if the true value lies strictly between this one and the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exact {
    pub sign: bool,
    pub exp: i32,
    pub mant: u64,
}

impl Exact {
    /// Normalises `mant * 2^(exp - 127)`; `mant` must not be zero.
    #[inline(always)]
    pub(super) fn from_wide(sign: bool, exp: i32, mant: u128) -> Self {
        let shift = mant.leading_zeros();
        let wide = mant << shift;
        let mant = (wide >> 64) as u64 | u64::from(wide as u64 != 0);
        Self {
            sign,
            exp: exp - shift as i32,
            mant,
        }
    }
}

/// Shifts right, keeping in the last bit whether anything was lost.
#[inline(always)]
pub(super) fn shift_right_sticky(value: u64, by: u32) -> u64 {
    match by {
        0 => value,
        1..=63 => (value >> by) | u64::from(value << (64 - by) != 0),
        _ => u64::from(value != 0),
    }
}

/// [`shift_right_sticky`] for wide values.
#[inline(always)]
pub(super) fn shift_right_sticky_wide(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..=127 => (value >> by) | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// True if the discarded part `rest` (of `2 * half`) rounds the magnitude up.
#[inline(always)]
fn rounds_up(mode: Rounding, sign: bool, odd: bool, rest: u64, half: u64) -> bool {
    match mode {
        Rounding::TiesToEven => rest > half || (rest == half && odd),
        Rounding::TiesAway => rest >= half,
        Rounding::TowardPositive => rest != 0 && !sign,
        Rounding::TowardNegative => rest != 0 && sign,
        Rounding::TowardZero | Rounding::Odd => false,
    }
}

/// True if a magnitude beyond the largest finite one becomes infinity.
#[inline(always)]
pub(super) fn overflows_to_infinity(mode: Rounding, sign: bool) -> bool {
    match mode {
        Rounding::TiesToEven | Rounding::TiesAway => true,
        Rounding::TowardPositive => !sign,
        Rounding::TowardNegative => sign,
        Rounding::TowardZero | Rounding::Odd => false,
    }
}

/// Rounds an integer part: `mant` counts units of `2^-frac_bits`; true in the second place if
/// something was discarded. `frac_bits` is 1 to 63.
#[inline(always)]
pub(super) fn round_magnitude(
    mode: Rounding,
    sign: bool,
    mant: u64,
    frac_bits: u32,
) -> (u64, bool) {
    let kept = mant >> frac_bits;
    let rest = mant & ((1 << frac_bits) - 1);
    let up = rounds_up(mode, sign, kept & 1 != 0, rest, 1 << (frac_bits - 1));
    (kept + u64::from(up), rest != 0)
}

/// FPRound with FPCR's rounding mode.
#[inline(always)]
pub(super) fn round<F: Format>(env: &mut FpEnv, value: Exact) -> u64 {
    round_with::<F>(env, env.rounding(), value)
}

/// FPRound: the nearest pattern in the direction `mode`, raising what the loss deserves.
#[inline]
pub(super) fn round_with<F: Format>(env: &mut FpEnv, mode: Rounding, value: Exact) -> u64 {
    let Exact { sign, exp, mant } = value;
    let drop = 63 - F::FRAC;
    if exp < F::MIN_EXP {
        return round_denormal::<F>(env, mode, value);
    }
    let (kept, mut inexact) = round_magnitude(mode, sign, mant, drop);
    // `kept` holds the hidden bit, so adding one less than the biased exponent completes it, and
    // a carry out of the fraction lands in the exponent by itself.
    let biased = (exp - F::MIN_EXP) as u64;
    let mut magnitude = (biased << F::FRAC).wrapping_add(kept);
    if inexact && mode == Rounding::Odd {
        magnitude |= 1;
    }
    if F::ALTERNATIVE && env.alt_half() {
        // The alternative format uses the last binade for numbers, and has no infinity.
        if magnitude > F::MAGNITUDE || biased > F::EXP_ONES {
            env.raise(fpsr::IOC);
            return F::with_sign(sign, F::MAGNITUDE);
        }
    } else if biased >= F::EXP_ONES || magnitude >= F::INFINITY {
        env.raise(fpsr::OFC);
        inexact = true;
        let infinite = overflows_to_infinity(mode, sign);
        magnitude = if infinite { F::INFINITY } else { F::MAX_NORMAL };
    }
    if inexact {
        env.raise(fpsr::IXC);
    }
    F::with_sign(sign, magnitude)
}

/// The part of [`round_with`] below the normal range: tiny before rounding.
#[cold]
fn round_denormal<F: Format>(env: &mut FpEnv, mode: Rounding, value: Exact) -> u64 {
    let Exact { sign, exp, mant } = value;
    if env.flushes::<F>() {
        env.raise(fpsr::UFC);
        return F::with_sign(sign, 0);
    }
    let mant = shift_right_sticky(mant, (F::MIN_EXP - exp) as u32);
    let (mut magnitude, inexact) = round_magnitude(mode, sign, mant, 63 - F::FRAC);
    if inexact {
        env.raise(fpsr::UFC | fpsr::IXC);
        if mode == Rounding::Odd {
            magnitude |= 1;
        }
    }
    F::with_sign(sign, magnitude)
}
