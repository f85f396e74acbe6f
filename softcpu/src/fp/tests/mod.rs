//! Tests of the floating-point core: special values by hand, the rest against the host.

mod host;
mod special;

use proptest::prelude::*;

use super::{Format, FpEnv, fpcr};

/// Patterns that lean towards zeros, infinities, NaNs, denormals, ends of binades and numbers
/// with few significant bits.
pub(super) fn pattern<F: Format>() -> impl Strategy<Value = u64> {
    let exponent = prop_oneof![
        3 => Just(0),
        3 => Just(F::EXP_ONES),
        3 => F::BIAS as u64 - 3..F::BIAS as u64 + 4,
        2 => 0..4_u64,
        2 => F::EXP_ONES - 4..F::EXP_ONES,
        6 => 0..=F::EXP_ONES,
    ];
    let fraction = prop_oneof![
        2 => Just(0),
        1 => Just(F::FRAC_MASK),
        1 => Just(1),
        1 => Just(F::QUIET),
        2 => (0..F::FRAC).prop_map(|bit| 1 << bit),
        2 => (0..F::FRAC, any::<u64>()).prop_map(|(by, x)| (x << by) & F::FRAC_MASK),
        3 => any::<u64>().prop_map(|x| x & F::FRAC_MASK),
    ];
    (any::<bool>(), exponent, fraction)
        .prop_map(|(sign, exp, frac)| F::with_sign(sign, (exp << F::FRAC) | frac))
}

/// Every FPCR this model has, and clean or full status flags.
pub(super) fn environment() -> impl Strategy<Value = FpEnv> {
    (0..16_u32, any::<bool>()).prop_map(|(bits, dirty)| FpEnv {
        fpcr: if bits < 4 {
            0
        } else {
            (bits << 22) & fpcr::DEFINED
        },
        fpsr: if dirty { super::fpsr::IXC } else { 0 },
    })
}
