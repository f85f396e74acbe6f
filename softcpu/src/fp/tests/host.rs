//! Properties: the soft core agrees with Rust's operators, and the fast paths with the soft core.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::super::arith::{soft_add, soft_div, soft_mul, soft_sqrt};
use super::super::fma::soft_mul_add;
use super::super::{Arith, Double, Format, FpEnv, Half, IntType, Rounding, Single};
use super::super::{convert, fpsr, from_int, to_int};
use super::{environment, pattern};

/// Same number, or both NaN (whose patterns the host does not fix).
fn same<F: Format>(ours: u64, host: u64) -> TestCaseResult {
    if F::is_nan(ours) && F::is_nan(host) {
        return Ok(());
    }
    prop_assert_eq!(ours, host, "{:#x} is not {:#x}", ours, host);
    Ok(())
}

fn bits32(value: f32) -> u64 {
    u64::from(value.to_bits())
}

fn f(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn d(bits: u64) -> f64 {
    f64::from_bits(bits)
}

type Fast = fn(&mut FpEnv, [u64; 3]) -> Option<u64>;
type Soft = fn(&mut FpEnv, [u64; 3]) -> u64;

/// Every operation with a fast path, next to its soft version.
fn pairs<F: Arith>() -> [(&'static str, Fast, Soft); 5] {
    [
        (
            "add",
            |e, [a, b, _]| F::fast_add(e, a, b),
            |e, [a, b, _]| soft_add::<F>(e, a, b, false),
        ),
        (
            "mul",
            |e, [a, b, _]| F::fast_mul(e, a, b),
            |e, [a, b, _]| soft_mul::<F>(e, a, b),
        ),
        (
            "div",
            |e, [a, b, _]| F::fast_div(e, a, b),
            |e, [a, b, _]| soft_div::<F>(e, a, b),
        ),
        (
            "sqrt",
            |e, [a, _, _]| F::fast_sqrt(e, a),
            |e, [a, _, _]| soft_sqrt::<F>(e, a),
        ),
        (
            "mul_add",
            |e, [a, b, c]| F::fast_mul_add(e, c, a, b),
            |e, [a, b, c]| soft_mul_add::<F>(e, c, a, b),
        ),
    ]
}

fn fast_agrees<F: Arith>(env: FpEnv, operands: [u64; 3]) -> TestCaseResult {
    for (name, fast, soft) in pairs::<F>() {
        let (mut fast_env, mut soft_env) = (env, env);
        let Some(result) = fast(&mut fast_env, operands) else {
            continue;
        };
        let expected = soft(&mut soft_env, operands);
        prop_assert_eq!(
            (result, fast_env),
            (expected, soft_env),
            "{} {:#x?}: {:#x} is not {:#x}",
            name,
            operands,
            result,
            expected
        );
    }
    Ok(())
}

/// The inexact flag of a result, which the host does not show but these identities do.
fn inexact(env: &FpEnv) -> bool {
    env.fpsr & fpsr::IXC != 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60_000))]

    #[test]
    fn double_core_agrees_with_host(
        a in pattern::<Double>(), b in pattern::<Double>(), c in pattern::<Double>(),
    ) {
        let env = &mut FpEnv::default();
        same::<Double>(soft_add::<Double>(env, a, b, false), (d(a) + d(b)).to_bits())?;
        same::<Double>(soft_add::<Double>(env, a, b, true), (d(a) - d(b)).to_bits())?;
        same::<Double>(soft_mul::<Double>(env, a, b), (d(a) * d(b)).to_bits())?;
        same::<Double>(soft_div::<Double>(env, a, b), (d(a) / d(b)).to_bits())?;
        same::<Double>(soft_sqrt::<Double>(env, a), d(a).sqrt().to_bits())?;
        let fused = d(a).mul_add(d(b), d(c)).to_bits();
        same::<Double>(soft_mul_add::<Double>(env, c, a, b), fused)?;
    }

    #[test]
    fn single_core_agrees_with_host(
        a in pattern::<Single>(), b in pattern::<Single>(), c in pattern::<Single>(),
    ) {
        let env = &mut FpEnv::default();
        same::<Single>(soft_add::<Single>(env, a, b, false), bits32(f(a) + f(b)))?;
        same::<Single>(soft_add::<Single>(env, a, b, true), bits32(f(a) - f(b)))?;
        same::<Single>(soft_mul::<Single>(env, a, b), bits32(f(a) * f(b)))?;
        same::<Single>(soft_div::<Single>(env, a, b), bits32(f(a) / f(b)))?;
        same::<Single>(soft_sqrt::<Single>(env, a), bits32(f(a).sqrt()))?;
        same::<Single>(soft_mul_add::<Single>(env, c, a, b), bits32(f(a).mul_add(f(b), f(c))))?;
    }

    #[test]
    fn close_operands_cancel_like_the_host(a in pattern::<Double>(), near in 0..5_u64) {
        let env = &mut FpEnv::default();
        let (b, square) = (a.wrapping_add(near), d(a) * d(a));
        same::<Double>(soft_add::<Double>(env, a, b, true), (d(a) - d(b)).to_bits())?;
        let c = (-square).to_bits();
        let fused = d(a).mul_add(d(a), -square).to_bits();
        same::<Double>(soft_mul_add::<Double>(env, c, a, a), fused)?;
    }

    #[test]
    fn fast_paths_agree_with_the_double_core(
        env in environment(),
        a in pattern::<Double>(), b in pattern::<Double>(), c in pattern::<Double>(),
    ) {
        fast_agrees::<Double>(env, [a, b, c])?;
    }

    #[test]
    fn fast_paths_agree_with_the_single_core(
        env in environment(),
        a in pattern::<Single>(), b in pattern::<Single>(), c in pattern::<Single>(),
    ) {
        fast_agrees::<Single>(env, [a, b, c])?;
    }

    #[test]
    fn small_integers_keep_fast_arithmetic_exact(a in -4096..4096_i32, b in -4096..4096_i32) {
        let (x, y) = (f64::from(a).to_bits(), f64::from(b).to_bits());
        fast_agrees::<Double>(FpEnv::default(), [x, y, x])?;
        fast_agrees::<Double>(FpEnv::default(), [d(x).powi(2).to_bits(), y, x])?;
        let (x, y) = (bits32(a as f32), bits32(b as f32));
        fast_agrees::<Single>(FpEnv::default(), [x, y, x])?;
        fast_agrees::<Single>(FpEnv::default(), [bits32(f(x) * f(y)), y, x])?;
    }

    #[test]
    fn fused_fast_paths_agree_at_any_distance(
        a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), distance in 900..1150_u64,
        dirty in any::<bool>(),
    ) {
        let env = FpEnv { fpcr: 0, fpsr: if dirty { fpsr::IXC } else { 0 } };
        let at = |bits, exp| bits & (Double::SIGN | Double::FRAC_MASK) | exp << Double::FRAC;
        fast_agrees::<Double>(env, [at(a, 1000), at(b, 1046), at(c, distance)])?;
        // A nearly cancelled product, and sums half way between two singles.
        let product = -(d(at(a, 1023)) * d(at(b, 1023)));
        fast_agrees::<Double>(env, [at(a, 1023), at(b, 1023), product.to_bits() ^ (c & 1)])?;
        let half = 1_u64 << (c % 64) & Single::FRAC_MASK;
        let tie = bits32(f(u64::from(1.0_f32.to_bits()) | half));
        fast_agrees::<Single>(env, [tie, tie, bits32(1.0) ^ (b & 1)])?;
    }

    #[test]
    fn conversions_between_formats_agree_with_host(a in pattern::<Double>()) {
        let env = &mut FpEnv::default();
        let single = convert::<Double, Single>(env, a);
        same::<Single>(single, bits32(d(a) as f32))?;
        if !Double::is_nan(a) {
            prop_assert_eq!(inexact(env), f64::from(f(single)) != d(a));
        }
        same::<Double>(convert::<Single, Double>(env, single), f64::from(f(single)).to_bits())?;
    }

    #[test]
    fn truncation_agrees_with_host(a in pattern::<Double>(), small in pattern::<Single>()) {
        let env = &mut FpEnv::default();
        let mut to = |into| to_int::<Double>(env, a, into, 0, Rounding::TowardZero);
        prop_assert_eq!(to(IntType::S64), d(a) as i64 as u64);
        prop_assert_eq!(to(IntType::U64), d(a) as u64);
        prop_assert_eq!(to(IntType::S32), u64::from(d(a) as i32 as u32));
        prop_assert_eq!(to(IntType::U32), u64::from(d(a) as u32));
        let mut to = |into| to_int::<Single>(env, small, into, 0, Rounding::TowardZero);
        prop_assert_eq!(to(IntType::S64), f(small) as i64 as u64);
        prop_assert_eq!(to(IntType::U32), u64::from(f(small) as u32));
    }

    #[test]
    fn integers_convert_like_on_the_host(a in any::<u64>(), by in 0..64_u32) {
        let (a, env) = (a >> by, &mut FpEnv::default());
        prop_assert_eq!(from_int::<Double>(env, a, IntType::U64, 0), (a as f64).to_bits());
        prop_assert_eq!(from_int::<Double>(env, a, IntType::S64, 0), (a as i64 as f64).to_bits());
        prop_assert_eq!(from_int::<Single>(env, a, IntType::U64, 0), bits32(a as f32));
        prop_assert_eq!(from_int::<Single>(env, a, IntType::S64, 0), bits32(a as i64 as f32));
        prop_assert_eq!(from_int::<Single>(env, a, IntType::S32, 0), bits32(a as i32 as f32));
        prop_assert_eq!(from_int::<Double>(env, a, IntType::U32, 0), f64::from(a as u32).to_bits());
    }
}

#[test]
fn every_half_survives_the_way_to_double_and_back() {
    for alternative in [0, super::super::fpcr::AHP] {
        for half in 0..=u64::from(u16::MAX) {
            let mut env = FpEnv {
                fpcr: alternative,
                fpsr: 0,
            };
            let single = convert::<Half, Single>(&mut env, half);
            let double = convert::<Half, Double>(&mut env, half);
            let signalling = alternative == 0 && Half::is_signalling(half);
            let expected = if signalling { half | Half::QUIET } else { half };
            assert_eq!(convert::<Single, Half>(&mut env, single), expected);
            assert_eq!(convert::<Double, Half>(&mut env, double), expected);
            assert_eq!(env.fpsr, if signalling { fpsr::IOC } else { 0 });
        }
    }
}
