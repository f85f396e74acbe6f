//! From bit patterns to exact values (FPUnpack), and the NaN rules (FPProcessNaN and its kin).

use super::{Format, FpEnv, fpsr};

/// What kind of value a pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Zero,
    Finite,
    Infinity,
    Nan,
}

/// A pattern taken apart. If finite, its magnitude is `mant * 2^(exp - 63)` with bit 63 of `mant`
/// set, so `exp` is the exponent of the leading bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacked {
    pub sign: bool,
    pub class: Class,
    pub exp: i32,
    pub mant: u64,
}

impl Unpacked {
    #[inline(always)]
    const fn special(sign: bool, class: Class) -> Self {
        Self {
            sign,
            class,
            exp: 0,
            mant: 0,
        }
    }

    #[inline(always)]
    pub(super) fn is_nan(&self) -> bool {
        self.class == Class::Nan
    }

    #[inline(always)]
    pub(super) fn is_inf(&self) -> bool {
        self.class == Class::Infinity
    }

    #[inline(always)]
    pub(super) fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }
}

/// FPUnpack: takes `bits` apart, flushing a denormal to zero (and saying so) if FPCR asks for it.
#[inline(always)]
pub(super) fn unpack<F: Format>(env: &mut FpEnv, bits: u64) -> Unpacked {
    let sign = F::sign(bits);
    let field = (bits >> F::FRAC) & F::EXP_ONES;
    let frac = bits & F::FRAC_MASK;
    if field == 0 {
        if frac == 0 {
            return Unpacked::special(sign, Class::Zero);
        }
        if env.flushes::<F>() {
            env.raise(F::FLUSHED);
            return Unpacked::special(sign, Class::Zero);
        }
        let shift = frac.leading_zeros();
        // The fraction counts units of 2^(MIN_EXP - FRAC).
        let exp = F::MIN_EXP + (63 - F::FRAC as i32) - shift as i32;
        return Unpacked {
            sign,
            class: Class::Finite,
            exp,
            mant: frac << shift,
        };
    }
    if field == F::EXP_ONES && !(F::ALTERNATIVE && env.alt_half()) {
        let class = if frac == 0 {
            Class::Infinity
        } else {
            Class::Nan
        };
        return Unpacked::special(sign, class);
    }
    let mant = (1 << 63) | (frac << (63 - F::FRAC));
    Unpacked {
        sign,
        class: Class::Finite,
        exp: field as i32 - F::BIAS,
        mant,
    }
}

/// FPProcessNaN: the result of an operation whose input `nan` is one.
#[cold]
pub(super) fn process_nan<F: Format>(env: &mut FpEnv, nan: u64) -> u64 {
    if F::is_signalling(nan) {
        env.raise(fpsr::IOC);
    }
    if env.default_nan() {
        F::DEFAULT_NAN
    } else {
        (nan | F::QUIET) & F::MASK
    }
}

/// FPProcessNaNs and FPProcessNaNs3: the first signalling NaN wins, else the first quiet one.
///
/// `None` if no operand is a NaN.
#[inline(always)]
pub(super) fn process_nans<F: Format, const N: usize>(
    env: &mut FpEnv,
    operands: [u64; N],
) -> Option<u64> {
    if operands.iter().any(|&x| F::is_nan(x)) {
        pick_nan::<F, N>(env, operands)
    } else {
        None
    }
}

#[cold]
fn pick_nan<F: Format, const N: usize>(env: &mut FpEnv, operands: [u64; N]) -> Option<u64> {
    let signalling = operands.iter().find(|&&x| F::is_signalling(x));
    let chosen = signalling.or_else(|| operands.iter().find(|&&x| F::is_nan(x)));
    chosen.map(|&nan| process_nan::<F>(env, nan))
}

/// The result of an invalid operation on numbers.
#[cold]
pub(super) fn invalid<F: Format>(env: &mut FpEnv) -> u64 {
    env.raise(fpsr::IOC);
    F::DEFAULT_NAN
}
