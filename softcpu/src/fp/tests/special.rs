//! Special values, flags and rounding directions, each case from the pseudocode.

use super::super::*;

const ONE: u64 = 0x3ff0_0000_0000_0000;
const TWO: u64 = 0x4000_0000_0000_0000;
const INF: u64 = Double::INFINITY;
const MINUS: u64 = Double::SIGN;
const QNAN: u64 = 0x7ff8_0000_0000_1234;
const SNAN: u64 = 0x7ff0_0000_0000_5678;
const DENORMAL: u64 = 0x000f_0000_0000_0001;

/// Runs `op` under `fpcr` and gives its result with the flags it raised.
fn run<T>(fpcr: u32, op: impl FnOnce(&mut FpEnv) -> T) -> (T, u32) {
    let mut env = FpEnv { fpcr, fpsr: 0 };
    let result = op(&mut env);
    (result, env.fpsr)
}

const UP: u32 = 1 << 22;
const DOWN: u32 = 2 << 22;
const CHOP: u32 = 3 << 22;

#[test]
fn signalling_nan_beats_quiet_nan_and_becomes_quiet() {
    let quieted = SNAN | Double::QUIET;
    assert_eq!(
        run(0, |e| add::<Double>(e, QNAN, SNAN)),
        (quieted, fpsr::IOC)
    );
    assert_eq!(run(0, |e| mul::<Double>(e, QNAN, ONE)), (QNAN, 0));
    assert_eq!(
        run(0, |e| mul_add::<Double>(e, QNAN, ONE, SNAN)),
        (quieted, fpsr::IOC)
    );
}

#[test]
fn default_nan_mode_replaces_every_nan() {
    let default = Double::DEFAULT_NAN;
    assert_eq!(
        run(fpcr::DN, |e| add::<Double>(e, QNAN | MINUS, ONE)),
        (default, 0)
    );
    assert_eq!(
        run(fpcr::DN, |e| div::<Double>(e, SNAN, ONE)),
        (default, fpsr::IOC)
    );
}

#[test]
fn subtraction_does_not_negate_a_nan() {
    assert_eq!(run(0, |e| sub::<Double>(e, ONE, QNAN)), (QNAN, 0));
    assert_eq!(
        run(0, |e| mul_sub::<Double>(e, ONE, QNAN, ONE)),
        (QNAN | MINUS, 0)
    );
}

#[test]
fn invalid_operations_give_the_default_nan() {
    let bad = (Double::DEFAULT_NAN, fpsr::IOC);
    assert_eq!(run(0, |e| sub::<Double>(e, INF, INF)), bad);
    assert_eq!(run(0, |e| mul::<Double>(e, INF, 0)), bad);
    assert_eq!(run(0, |e| div::<Double>(e, 0, MINUS)), bad);
    assert_eq!(run(0, |e| sqrt::<Double>(e, MINUS | ONE)), bad);
    assert_eq!(run(0, |e| mul_add::<Double>(e, QNAN, INF, 0)), bad);
    assert_eq!(run(0, |e| mul_add::<Double>(e, INF | MINUS, INF, ONE)), bad);
    assert_eq!(run(0, |e| rsqrt_estimate::<Double>(e, MINUS | INF)), bad);
}

#[test]
fn infinity_times_zero_is_two_in_mulx() {
    assert_eq!(
        run(0, |e| mulx::<Double>(e, INF | MINUS, 0)),
        (TWO | MINUS, 0)
    );
    assert_eq!(
        run(fpcr::FZ, |e| mulx::<Double>(e, INF, DENORMAL)),
        (TWO, fpsr::IDC)
    );
    assert_eq!(
        run(0, |e| mulx::<Single>(e, 0, Single::INFINITY)),
        (0x4000_0000, 0)
    );
}

#[test]
fn division_by_zero_is_flagged_but_infinity_by_zero_is_not() {
    assert_eq!(
        run(0, |e| div::<Double>(e, ONE, MINUS)),
        (INF | MINUS, fpsr::DZC)
    );
    assert_eq!(run(0, |e| div::<Double>(e, INF, 0)), (INF, 0));
}

#[test]
fn exact_zero_sum_is_minus_only_when_rounding_down() {
    for (mode, zero) in [(0, 0), (UP, 0), (DOWN, MINUS), (CHOP, 0)] {
        assert_eq!(run(mode, |e| sub::<Double>(e, ONE, ONE)), (zero, 0));
        assert_eq!(run(mode, |e| add::<Double>(e, MINUS, 0)), (zero, 0));
        assert_eq!(
            run(mode, |e| mul_add::<Double>(e, MINUS | ONE, ONE, ONE)),
            (zero, 0)
        );
    }
}

#[test]
fn rounding_modes_split_one_third() {
    let third = |mode, sign| {
        run(mode, |e| {
            div::<Double>(e, ONE | sign, 0x4008_0000_0000_0000)
        })
        .0
    };
    assert_eq!(third(0, 0), 0x3fd5_5555_5555_5555);
    assert_eq!(third(UP, 0), 0x3fd5_5555_5555_5556);
    assert_eq!(third(UP, MINUS), 0xbfd5_5555_5555_5555);
    assert_eq!(third(DOWN, MINUS), 0xbfd5_5555_5555_5556);
    assert_eq!(third(CHOP, 0), 0x3fd5_5555_5555_5555);
}

#[test]
fn overflow_goes_to_infinity_or_the_largest_number() {
    let flags = fpsr::OFC | fpsr::IXC;
    let huge = |mode, sign| run(mode, |e| mul::<Double>(e, Double::MAX_NORMAL | sign, TWO));
    assert_eq!(huge(0, 0), (INF, flags));
    assert_eq!(huge(DOWN, 0), (Double::MAX_NORMAL, flags));
    assert_eq!(huge(DOWN, MINUS), (INF | MINUS, flags));
    assert_eq!(huge(UP, MINUS), (Double::MAX_NORMAL | MINUS, flags));
    assert_eq!(huge(CHOP, 0), (Double::MAX_NORMAL, flags));
}

#[test]
fn tininess_is_detected_before_rounding() {
    // (1 - 2^-53) * MIN_NORMAL rounds up to the smallest normal, yet it was tiny.
    let below_one = ONE - 1;
    let product = run(0, |e| mul::<Double>(e, below_one, Double::MIN_NORMAL));
    assert_eq!(product, (Double::MIN_NORMAL, fpsr::UFC | fpsr::IXC));
    let product = run(fpcr::FZ, |e| {
        mul::<Double>(e, below_one, Double::MIN_NORMAL)
    });
    assert_eq!(product, (0, fpsr::UFC));
}

#[test]
fn an_exact_denormal_result_is_no_underflow() {
    let half = 0x3fe0_0000_0000_0000;
    let product = |fpcr| run(fpcr, |e| mul::<Double>(e, half, Double::MIN_NORMAL));
    assert_eq!(product(0), (Double::MIN_NORMAL / 2, 0));
    assert_eq!(product(fpcr::FZ), (0, fpsr::UFC));
}

#[test]
fn flush_to_zero_takes_denormal_inputs_as_zero() {
    assert_eq!(
        run(fpcr::FZ, |e| add::<Double>(e, DENORMAL, ONE)),
        (ONE, fpsr::IDC)
    );
    assert_eq!(
        run(fpcr::FZ, |e| max::<Double>(e, DENORMAL, MINUS)),
        (0, fpsr::IDC)
    );
    assert_eq!(
        run(fpcr::FZ, |e| compare::<Double>(e, DENORMAL, 0, false)),
        (0b0110, fpsr::IDC)
    );
    assert_eq!(
        run(0, |e| compare::<Double>(e, DENORMAL, 0, false)),
        (0b0010, 0)
    );
}

#[test]
fn comparisons_signal_as_their_kind_says() {
    assert_eq!(
        run(0, |e| compare::<Double>(e, QNAN, ONE, false)),
        (0b0011, 0)
    );
    assert_eq!(
        run(0, |e| compare::<Double>(e, QNAN, ONE, true)),
        (0b0011, fpsr::IOC)
    );
    assert_eq!(
        run(0, |e| compare::<Double>(e, SNAN, ONE, false)),
        (0b0011, fpsr::IOC)
    );
    assert_eq!(run(0, |e| compare_eq::<Double>(e, QNAN, QNAN)), (false, 0));
    assert_eq!(
        run(0, |e| compare_ge::<Double>(e, QNAN, ONE)),
        (false, fpsr::IOC)
    );
    assert_eq!(run(0, |e| abs_gt::<Double>(e, TWO | MINUS, ONE)), (true, 0));
    assert_eq!(
        run(0, |e| compare::<Double>(e, INF | MINUS, ONE, false)),
        (0b1000, 0)
    );
}

#[test]
fn maximum_orders_zeros_and_prefers_numbers_only_in_its_num_form() {
    assert_eq!(run(0, |e| max::<Double>(e, MINUS, 0)), (0, 0));
    assert_eq!(run(0, |e| min::<Double>(e, MINUS, 0)), (MINUS, 0));
    assert_eq!(run(0, |e| max::<Double>(e, QNAN, ONE)), (QNAN, 0));
    assert_eq!(run(0, |e| max_num::<Double>(e, QNAN, ONE)), (ONE, 0));
    assert_eq!(
        run(0, |e| min_num::<Double>(e, INF | MINUS, QNAN)),
        (INF | MINUS, 0)
    );
    assert_eq!(run(0, |e| max_num::<Double>(e, QNAN, SNAN)).1, fpsr::IOC);
}

#[test]
fn integral_rounding_follows_its_mode_and_keeps_the_sign_of_zero() {
    let values = [0.5_f64, 1.5, 2.5, -0.5, -2.5, 0.3];
    let rounded = |mode| {
        values.map(|v| {
            let mut env = FpEnv::default();
            let bits = v.to_bits();
            let r = round_to_integral::<Double>(&mut env, bits, mode, Exactness::Ignored);
            assert_eq!(env.fpsr, 0);
            f64::from_bits(r)
        })
    };
    let bits = |list: [f64; 6]| list.map(f64::to_bits);
    assert_eq!(
        bits(rounded(Rounding::TiesToEven)),
        bits([0.0, 2.0, 2.0, -0.0, -2.0, 0.0])
    );
    assert_eq!(
        bits(rounded(Rounding::TiesAway)),
        bits([1.0, 2.0, 3.0, -1.0, -3.0, 0.0])
    );
    assert_eq!(
        bits(rounded(Rounding::TowardPositive)),
        bits([1.0, 2.0, 3.0, -0.0, -2.0, 1.0])
    );
    assert_eq!(
        bits(rounded(Rounding::TowardNegative)),
        bits([0.0, 1.0, 2.0, -1.0, -3.0, 0.0])
    );
    assert_eq!(
        bits(rounded(Rounding::TowardZero)),
        bits([0.0, 1.0, 2.0, -0.0, -2.0, 0.0])
    );
    let half = 0.5_f64.to_bits();
    let exact = Exactness::Signalled;
    let signalled = run(0, |e| {
        round_to_integral::<Double>(e, half, Rounding::TiesToEven, exact)
    });
    assert_eq!(signalled, (0, fpsr::IXC));
}

#[test]
fn integer_conversion_saturates_and_flags() {
    let to = |value: f64, into, fbits, mode| {
        run(0, |e| {
            to_int::<Double>(e, value.to_bits(), into, fbits, mode)
        })
    };
    let chop = Rounding::TowardZero;
    assert_eq!(to(-0.7, IntType::U32, 0, chop), (0, fpsr::IXC));
    assert_eq!(to(-1.0, IntType::U32, 0, chop), (0, fpsr::IOC));
    assert_eq!(
        to(-0.7, IntType::U32, 0, Rounding::TiesAway),
        (0, fpsr::IOC)
    );
    assert_eq!(
        to(2_147_483_647.5, IntType::S32, 0, chop),
        (0x7fff_ffff, fpsr::IXC)
    );
    assert_eq!(
        to(2_147_483_647.5, IntType::S32, 0, Rounding::TiesToEven).1,
        fpsr::IOC
    );
    assert_eq!(
        to(-2_147_483_648.0, IntType::S32, 0, chop),
        (0x8000_0000, 0)
    );
    assert_eq!(to(f64::NAN, IntType::S64, 0, chop), (0, fpsr::IOC));
    assert_eq!(
        to(f64::NEG_INFINITY, IntType::S64, 0, chop),
        (1 << 63, fpsr::IOC)
    );
    assert_eq!(to(1.75, IntType::S32, 4, chop), (28, 0));
    assert_eq!(to(0.5, IntType::U64, 64, chop), (1 << 63, 0));
    assert_eq!(to(1.0, IntType::U64, 64, chop), (u64::MAX, fpsr::IOC));
    assert_eq!(to(2.5, IntType::S32, 0, Rounding::TiesAway), (3, fpsr::IXC));
}

#[test]
fn fixed_point_sources_scale_down() {
    let from = |v, ty, fbits| run(0, |e| from_int::<Double>(e, v, ty, fbits));
    assert_eq!(from(28, IntType::S32, 4), (1.75_f64.to_bits(), 0));
    assert_eq!(
        from(0xffff_fffe, IntType::S32, 1),
        ((-1.0_f64).to_bits(), 0)
    );
    assert_eq!(from(0, IntType::S64, 64), (0, 0));
    let up = run(UP, |e| from_int::<Single>(e, 0x0100_0001, IntType::U32, 0));
    assert_eq!(up, (0x4b80_0001, fpsr::IXC));
}

#[test]
fn odd_rounding_marks_what_it_drops() {
    let value = ONE | 1;
    assert_eq!(
        run(0, |e| convert_to_odd(e, value)),
        (0x3f80_0001, fpsr::IXC)
    );
    assert_eq!(run(0, |e| convert_to_odd(e, ONE)), (0x3f80_0000, 0));
    let max = Single::MAX_NORMAL;
    let overflow = fpsr::OFC | fpsr::IXC;
    assert_eq!(
        run(0, |e| convert_to_odd(e, Double::MAX_NORMAL)),
        (max, overflow)
    );
    assert_eq!(run(0, |e| convert_to_odd(e, 1)), (1, fpsr::UFC | fpsr::IXC));
}

#[test]
fn alternative_half_has_neither_infinity_nor_nan() {
    let half = |bits| run(fpcr::AHP, |e| convert::<Double, Half>(e, bits));
    assert_eq!(half(INF | MINUS), (0xffff, fpsr::IOC));
    assert_eq!(half(QNAN), (0, fpsr::IOC));
    assert_eq!(half(131_008.0_f64.to_bits()), (0x7fff, 0));
    assert_eq!(half(131_072.0_f64.to_bits()), (0x7fff, fpsr::IOC));
    let wide = run(fpcr::AHP, |e| convert::<Half, Single>(e, 0x7c00));
    assert_eq!(wide, (bits32(65_536.0), 0));
}

fn bits32(value: f32) -> u64 {
    u64::from(value.to_bits())
}

#[test]
fn newton_steps_define_infinity_times_zero() {
    assert_eq!(
        run(0, |e| recip_step::<Single>(e, bits32(0.5), bits32(2.0))),
        (bits32(1.0), 0)
    );
    assert_eq!(
        run(0, |e| recip_step::<Single>(e, 0, Single::INFINITY)),
        (bits32(2.0), 0)
    );
    assert_eq!(
        run(0, |e| rsqrt_step::<Single>(e, 0, Single::INFINITY)),
        (bits32(1.5), 0)
    );
    assert_eq!(
        run(0, |e| rsqrt_step::<Single>(e, bits32(1.0), bits32(1.0))),
        (bits32(1.0), 0)
    );
    assert_eq!(
        run(DOWN, |e| recip_step::<Single>(e, bits32(1.0), bits32(2.0))),
        (1 << 31, 0)
    );
}

#[test]
fn estimates_match_the_published_tables() {
    assert_eq!(
        run(0, |e| recip_estimate::<Single>(e, bits32(1.0))),
        (0x3f7f_8000, 0)
    );
    assert_eq!(
        run(0, |e| rsqrt_estimate::<Single>(e, bits32(1.0))),
        (0x3f7f_8000, 0)
    );
    assert_eq!(run(0, |e| recip_estimate::<Double>(e, 0)), (INF, fpsr::DZC));
    assert_eq!(
        run(DOWN, |e| recip_estimate::<Double>(e, 1)).0,
        Double::MAX_NORMAL
    );
    assert_eq!(run(0, |e| recip_exponent::<Double>(e, ONE)), (TWO, 0));
    assert_eq!(unsigned_recip_estimate(0x8000_0000), 0xff80_0000);
    assert_eq!(unsigned_recip_estimate(0x7fff_ffff), u32::MAX);
    assert_eq!(unsigned_rsqrt_estimate(0x4000_0000), 0xff80_0000);
    assert_eq!(unsigned_rsqrt_estimate(0x3fff_ffff), u32::MAX);
}
