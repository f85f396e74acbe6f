//! Conversion to and from integers and fixed-point numbers (FPToFixed, FixedToFP).

use super::round::{Exact, round, round_magnitude, shift_right_sticky};
use super::unpack::{Class, unpack};
use super::{Arith, FpEnv, Rounding, fpsr};

/// The integer side of a conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntType {
    /// 32 or 64 bits.
    pub bits: u32,
    /// Two's complement if true.
    pub signed: bool,
}

impl IntType {
    /// 32 bits, signed.
    pub const S32: Self = Self {
        bits: 32,
        signed: true,
    };
    /// 64 bits, signed.
    pub const S64: Self = Self {
        bits: 64,
        signed: true,
    };
    /// 32 bits, unsigned.
    pub const U32: Self = Self {
        bits: 32,
        signed: false,
    };
    /// 64 bits, unsigned.
    pub const U64: Self = Self {
        bits: 64,
        signed: false,
    };

    #[inline(always)]
    const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// Largest magnitude of the given sign.
    #[inline(always)]
    const fn limit(self, negative: bool) -> u64 {
        match (self.signed, negative) {
            (true, true) => 1 << (self.bits - 1),
            (true, false) => self.mask() >> 1,
            (false, true) => 0,
            (false, false) => self.mask(),
        }
    }
}

/// `a * 2^fbits` as an integer, saturated: FCVT{N,P,M,Z,A}{S,U}. The result is zero-extended.
#[inline]
pub fn to_int<F: Arith>(env: &mut FpEnv, a: u64, into: IntType, fbits: u32, mode: Rounding) -> u64 {
    let x = unpack::<F>(env, a);
    let (magnitude, inexact) = match x.class {
        Class::Zero => return 0,
        Class::Nan => {
            env.raise(fpsr::IOC);
            return 0;
        }
        Class::Infinity => return saturate(env, into, x.sign),
        Class::Finite => {
            let exp = x.exp + fbits as i32;
            match exp {
                64.. => return saturate(env, into, x.sign),
                63 => (x.mant, false),
                0..63 => round_magnitude(mode, x.sign, x.mant, (63 - exp) as u32),
                _ => {
                    let mant = shift_right_sticky(x.mant, exp.unsigned_abs());
                    round_magnitude(mode, x.sign, mant, 63)
                }
            }
        }
    };
    if magnitude > into.limit(x.sign) {
        return saturate(env, into, x.sign);
    }
    if inexact {
        env.raise(fpsr::IXC);
    }
    let value = if x.sign {
        magnitude.wrapping_neg()
    } else {
        magnitude
    };
    value & into.mask()
}

#[cold]
fn saturate(env: &mut FpEnv, into: IntType, negative: bool) -> u64 {
    env.raise(fpsr::IOC);
    // Minus 2^(bits - 1) and 2^(bits - 1) are the same pattern.
    into.limit(negative)
}

/// The integer `a` divided by `2^fbits`, rounded as FPCR says: SCVTF and UCVTF.
#[inline]
pub fn from_int<F: Arith>(env: &mut FpEnv, a: u64, from: IntType, fbits: u32) -> u64 {
    let value = a & from.mask();
    let sign = from.signed && value >> (from.bits - 1) != 0;
    let magnitude = if sign {
        value.wrapping_neg() & from.mask()
    } else {
        value
    };
    if magnitude == 0 {
        return 0;
    }
    let shift = magnitude.leading_zeros();
    let exp = 63 - shift as i32 - fbits as i32;
    round::<F>(
        env,
        Exact {
            sign,
            exp,
            mant: magnitude << shift,
        },
    )
}
