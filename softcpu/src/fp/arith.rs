//! FPAdd, FPSub, FPMul, FPMulX, FPDiv and FPSqrt.

use super::format::neg;
use super::round::{Exact, round, shift_right_sticky_wide};
use super::unpack::{Class, Unpacked, invalid, process_nan, process_nans, unpack};
use super::{Arith, Format, FpEnv, fpsr};

/// Sum (FPAdd).
#[inline]
pub fn add<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    match F::fast_add(env, a, b) {
        Some(sum) => sum,
        None => soft_add::<F>(env, a, b, false),
    }
}

/// Difference (FPSub).
#[inline]
pub fn sub<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    // A NaN keeps its own sign, so the flipped operand serves only the fast path.
    match F::fast_add(env, a, neg::<F>(b)) {
        Some(difference) => difference,
        None => soft_add::<F>(env, a, b, true),
    }
}

/// Absolute difference (FABD): the magnitude of [`sub`].
#[inline]
pub fn abs_diff<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    sub::<F>(env, a, b) & F::MAGNITUDE
}

/// Product (FPMul).
#[inline]
pub fn mul<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    match F::fast_mul(env, a, b) {
        Some(product) => product,
        None => soft_mul::<F>(env, a, b),
    }
}

/// Product that takes infinity times zero to be two (FPMulX).
#[inline]
pub fn mulx<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    if let Some(product) = F::fast_mul(env, a, b) {
        return product;
    }
    let (x, y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if (x.is_inf() && y.is_zero()) || (x.is_zero() && y.is_inf()) {
        return F::with_sign(x.sign != y.sign, ((F::BIAS + 1) as u64) << F::FRAC);
    }
    soft_mul::<F>(env, a, b)
}

/// Negated product (FNMUL).
#[inline]
pub fn nmul<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    neg::<F>(mul::<F>(env, a, b))
}

/// Quotient (FPDiv).
#[inline]
pub fn div<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    match F::fast_div(env, a, b) {
        Some(quotient) => quotient,
        None => soft_div::<F>(env, a, b),
    }
}

/// Square root (FPSqrt).
#[inline]
pub fn sqrt<F: Arith>(env: &mut FpEnv, a: u64) -> u64 {
    match F::fast_sqrt(env, a) {
        Some(root) => root,
        None => soft_sqrt::<F>(env, a),
    }
}

/// A signed magnitude `mant * 2^(exp - 126)` with bit 127 free for a carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wide {
    pub sign: bool,
    pub exp: i32,
    pub mant: u128,
}

impl Wide {
    #[inline(always)]
    pub(super) fn from_unpacked(x: Unpacked) -> Self {
        Self {
            sign: x.sign,
            exp: x.exp,
            mant: u128::from(x.mant) << 63,
        }
    }
}

/// The exact sum of two normalised magnitudes, or `None` if it is zero.
///
/// Bits shifted out of the smaller one stay as a sticky bit. That is exact enough: if any are
/// lost, the exponents differ by so much that the result keeps over a hundred bits, and the larger
/// operand is even, so the sticky bit never moves the value across a rounding boundary.
#[inline(always)]
pub(super) fn add_exact(a: Wide, b: Wide) -> Option<Exact> {
    let (big, small) = if a.exp >= b.exp { (a, b) } else { (b, a) };
    let small_mant = shift_right_sticky_wide(small.mant, (big.exp - small.exp) as u32);
    let (sign, mant) = if big.sign == small.sign {
        (big.sign, big.mant + small_mant)
    } else if big.mant >= small_mant {
        (big.sign, big.mant - small_mant)
    } else {
        (small.sign, small_mant - big.mant)
    };
    (mant != 0).then(|| Exact::from_wide(sign, big.exp + 1, mant))
}

/// [`add`], or [`sub`] if `negate`, without the host's help.
pub(super) fn soft_add<F: Format>(env: &mut FpEnv, a: u64, b: u64, negate: bool) -> u64 {
    let (x, mut y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = process_nans::<F, 2>(env, [a, b]) {
        return nan;
    }
    y.sign ^= negate;
    match (x.class, y.class) {
        (Class::Infinity, Class::Infinity) if x.sign != y.sign => invalid::<F>(env),
        (Class::Infinity, _) => F::with_sign(x.sign, F::INFINITY),
        (_, Class::Infinity) => F::with_sign(y.sign, F::INFINITY),
        (Class::Zero, Class::Zero) if x.sign == y.sign => F::with_sign(x.sign, 0),
        (Class::Zero, Class::Zero) => F::with_sign(env.zero_sum_sign(), 0),
        (Class::Zero, _) => round::<F>(
            env,
            Exact {
                sign: y.sign,
                exp: y.exp,
                mant: y.mant,
            },
        ),
        (_, Class::Zero) => round::<F>(
            env,
            Exact {
                sign: x.sign,
                exp: x.exp,
                mant: x.mant,
            },
        ),
        _ => match add_exact(Wide::from_unpacked(x), Wide::from_unpacked(y)) {
            Some(sum) => round::<F>(env, sum),
            None => F::with_sign(env.zero_sum_sign(), 0),
        },
    }
}

/// [`mul`] without the host's help.
pub(super) fn soft_mul<F: Format>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (x, y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = process_nans::<F, 2>(env, [a, b]) {
        return nan;
    }
    let sign = x.sign != y.sign;
    match (x.class, y.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => invalid::<F>(env),
        (Class::Infinity, _) | (_, Class::Infinity) => F::with_sign(sign, F::INFINITY),
        (Class::Zero, _) | (_, Class::Zero) => F::with_sign(sign, 0),
        _ => {
            let product = u128::from(x.mant) * u128::from(y.mant);
            round::<F>(env, Exact::from_wide(sign, x.exp + y.exp + 1, product))
        }
    }
}

/// [`div`] without the host's help.
pub(super) fn soft_div<F: Format>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    let (x, y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = process_nans::<F, 2>(env, [a, b]) {
        return nan;
    }
    let sign = x.sign != y.sign;
    match (x.class, y.class) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => invalid::<F>(env),
        (Class::Infinity, _) => F::with_sign(sign, F::INFINITY),
        (_, Class::Zero) => {
            env.raise(fpsr::DZC);
            F::with_sign(sign, F::INFINITY)
        }
        (Class::Zero, _) | (_, Class::Infinity) => F::with_sign(sign, 0),
        _ => {
            // 63 or 64 quotient bits, then a sticky one for the remainder.
            let (dividend, divisor) = (u128::from(x.mant) << 63, u128::from(y.mant));
            let (quotient, rest) = (dividend / divisor, dividend % divisor);
            let mant = (quotient << 1) | u128::from(rest != 0);
            round::<F>(env, Exact::from_wide(sign, x.exp - y.exp + 63, mant))
        }
    }
}

/// [`sqrt`] without the host's help.
pub(super) fn soft_sqrt<F: Format>(env: &mut FpEnv, a: u64) -> u64 {
    let x = unpack::<F>(env, a);
    match x.class {
        Class::Nan => process_nan::<F>(env, a),
        Class::Zero => F::with_sign(x.sign, 0),
        Class::Infinity | Class::Finite if x.sign => invalid::<F>(env),
        Class::Infinity => F::INFINITY,
        Class::Finite => {
            // With an even exponent the radicand is mant * 2^(64 - odd) in units whose root is a
            // 64-bit number; the remainder becomes a sticky bit below it.
            let half_exp = x.exp >> 1;
            let radicand = u128::from(x.mant) << (63 + (x.exp & 1));
            let root = radicand.isqrt();
            let mant = (root << 1) | u128::from(root * root != radicand);
            round::<F>(env, Exact::from_wide(false, half_exp + 63, mant))
        }
    }
}
