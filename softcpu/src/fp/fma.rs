//! Fused operations: FPMulAdd and the Newton steps FPRecipStepFused and FPRSqrtStepFused.

use super::arith::{Wide, add_exact};
use super::format::neg;
use super::round::{Exact, round};
use super::unpack::{Class, Unpacked, invalid, process_nans, unpack};
use super::{Arith, Format, FpEnv};

/// `c + a * b`, rounded once (FPMulAdd; FMADD, FMLA).
#[inline]
pub fn mul_add<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
    match F::fast_mul_add(env, c, a, b) {
        Some(sum) => sum,
        None => soft_mul_add::<F>(env, c, a, b),
    }
}

/// `c - a * b` (FMSUB, FMLS): `a` is negated first, also when it is a NaN.
#[inline]
pub fn mul_sub<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
    mul_add::<F>(env, c, neg::<F>(a), b)
}

/// `-c - a * b` (FNMADD).
#[inline]
pub fn neg_mul_add<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
    mul_add::<F>(env, neg::<F>(c), neg::<F>(a), b)
}

/// `-c + a * b` (FNMSUB).
#[inline]
pub fn neg_mul_sub<F: Arith>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
    mul_add::<F>(env, neg::<F>(c), a, b)
}

/// True if `a * b` is infinity times zero.
fn indeterminate(a: &Unpacked, b: &Unpacked) -> bool {
    (a.is_inf() && b.is_zero()) || (a.is_zero() && b.is_inf())
}

/// The exact product of two finite non-zero values.
#[inline(always)]
fn product(a: &Unpacked, b: &Unpacked) -> Wide {
    // No format has 64 significant bits, so dropping the last one loses nothing.
    let mant = u128::from(a.mant >> 1) * u128::from(b.mant);
    let shift = mant.leading_zeros() - 1;
    Wide {
        sign: a.sign != b.sign,
        exp: a.exp + b.exp + 1 - shift as i32,
        mant: mant << shift,
    }
}

/// [`mul_add`] without the host's help.
pub(super) fn soft_mul_add<F: Format>(env: &mut FpEnv, c: u64, a: u64, b: u64) -> u64 {
    let z = unpack::<F>(env, c);
    let (x, y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = process_nans::<F, 3>(env, [c, a, b]) {
        // Infinity times zero is invalid even if a quiet NaN is to be added.
        let quiet = z.is_nan() && !F::is_signalling(c);
        return if quiet && indeterminate(&x, &y) {
            invalid::<F>(env)
        } else {
            nan
        };
    }
    let sign = x.sign != y.sign;
    let infinite = x.is_inf() || y.is_inf();
    if indeterminate(&x, &y) || (infinite && z.is_inf() && z.sign != sign) {
        return invalid::<F>(env);
    }
    if z.is_inf() {
        return F::with_sign(z.sign, F::INFINITY);
    }
    if infinite {
        return F::with_sign(sign, F::INFINITY);
    }
    if x.is_zero() || y.is_zero() {
        return match z.class {
            Class::Zero if z.sign == sign => F::with_sign(sign, 0),
            Class::Zero => F::with_sign(env.zero_sum_sign(), 0),
            Class::Finite | Class::Infinity | Class::Nan => round::<F>(
                env,
                Exact {
                    sign: z.sign,
                    exp: z.exp,
                    mant: z.mant,
                },
            ),
        };
    }
    let product = product(&x, &y);
    if z.is_zero() {
        let mant = product.mant;
        return round::<F>(env, Exact::from_wide(sign, product.exp + 1, mant));
    }
    match add_exact(product, Wide::from_unpacked(z)) {
        Some(sum) => round::<F>(env, sum),
        None => F::with_sign(env.zero_sum_sign(), 0),
    }
}

/// `2 - a * b` (FRECPS), where infinity times zero counts as zero.
#[inline]
pub fn recip_step<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    // 2 = 0x8000.. * 2^(1 - 63)
    step::<F>(
        env,
        a,
        b,
        Step {
            target: 1 << 63,
            halve: 0,
        },
    )
}

/// `(3 - a * b) / 2` (FRSQRTS), where infinity times zero counts as zero.
#[inline]
pub fn rsqrt_step<F: Arith>(env: &mut FpEnv, a: u64, b: u64) -> u64 {
    // 3 = 0xc000.. * 2^(1 - 63)
    step::<F>(
        env,
        a,
        b,
        Step {
            target: 3 << 62,
            halve: 1,
        },
    )
}

/// What tells the two Newton steps apart: `(target - a * b) / 2^halve`, with `target` in units of
/// `2^-62`.
#[derive(Clone, Copy, Debug)]
struct Step {
    target: u64,
    halve: i32,
}

fn step<F: Format>(env: &mut FpEnv, a: u64, b: u64, step: Step) -> u64 {
    let a = neg::<F>(a);
    let (x, y) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = process_nans::<F, 2>(env, [a, b]) {
        return nan;
    }
    let target = Unpacked {
        sign: false,
        class: Class::Finite,
        exp: 1,
        mant: step.target,
    };
    let exact = |e: Exact| Exact {
        exp: e.exp - step.halve,
        ..e
    };
    if !indeterminate(&x, &y) && (x.is_inf() || y.is_inf()) {
        return F::with_sign(x.sign != y.sign, F::INFINITY);
    }
    if x.class != Class::Finite || y.class != Class::Finite {
        let Unpacked {
            sign,
            exp,
            mant,
            class: _,
        } = target;
        return round::<F>(env, exact(Exact { sign, exp, mant }));
    }
    match add_exact(product(&x, &y), Wide::from_unpacked(target)) {
        Some(sum) => round::<F>(env, exact(sum)),
        None => F::with_sign(env.zero_sum_sign(), 0),
    }
}
