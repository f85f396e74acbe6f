//! Rounding to an integral value in the same format (FPRoundInt): the FRINT family.

use super::round::{round_magnitude, shift_right_sticky};
use super::unpack::{Class, process_nan, unpack};
use super::{Arith, FpEnv, Rounding, fpsr};

/// Whether losing a fraction is worth a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exactness {
    /// Every FRINT but FRINTX: no flag.
    Ignored,
    /// FRINTX: raise IXC.
    Signalled,
}

/// `a` rounded to an integral value; zeros and zero results keep the sign of `a`.
#[inline]
pub fn round_to_integral<F: Arith>(
    env: &mut FpEnv,
    a: u64,
    mode: Rounding,
    exactness: Exactness,
) -> u64 {
    let x = unpack::<F>(env, a);
    match x.class {
        Class::Nan => return process_nan::<F>(env, a),
        Class::Zero => return F::with_sign(x.sign, 0),
        Class::Infinity => return F::with_sign(x.sign, F::INFINITY),
        Class::Finite => {}
    }
    if x.exp >= F::FRAC as i32 {
        return a & F::MASK;
    }
    let (integer, inexact) = match x.exp {
        0.. => round_magnitude(mode, x.sign, x.mant, (63 - x.exp) as u32),
        _ => {
            let mant = shift_right_sticky(x.mant, x.exp.unsigned_abs());
            round_magnitude(mode, x.sign, mant, 63)
        }
    };
    if inexact && exactness == Exactness::Signalled {
        env.raise(fpsr::IXC);
    }
    F::with_sign(x.sign, pack_integer::<F>(integer))
}

/// The pattern of an integer of at most `FRAC + 1` significant bits.
#[inline(always)]
fn pack_integer<F: Arith>(integer: u64) -> u64 {
    if integer == 0 {
        return 0;
    }
    let top = 63 - integer.leading_zeros();
    let fraction = if top <= F::FRAC {
        integer << (F::FRAC - top)
    } else {
        integer >> (top - F::FRAC)
    };
    (((top as i32 + F::BIAS) as u64) << F::FRAC) | (fraction & F::FRAC_MASK)
}
