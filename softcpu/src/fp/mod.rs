//! Arm floating point in integer arithmetic: exact results and exact FPSR flags on any host.
//!
//! Models the shared floating-point pseudocode of the Arm ARM (J1.3, "shared/functions/float") for
//! half (alternative too, in conversions), single and double precision: NaN propagation and
//! default NaNs, flush-to-zero, the four FPCR rounding modes plus ties-away and round-to-odd,
//! tininess detected before rounding, and the cumulative exception flags.
//!
//! # Shape
//!
//! Values are bit patterns in the low bits of a `u64`, the format is a type parameter
//! ([`Half`] in conversions, [`Fp16`], [`Single`], [`Double`]), and [`FpEnv`] carries FPCR in and FPSR out:
//! `fp::add::<Double>(&mut env, a, b)`. Upper bits of inputs beyond the format are ignored, those
//! of results are zero.
//!
//! The soft core is the truth: unpack (`unpack.rs`), compute exactly with integers, then round and
//! pack once (`round.rs`). In front of it stand fast paths (`fast32.rs`, `fast64.rs`) that use the
//! host's own operators where they provably give the same bits and flags: round to nearest, no
//! operand to flush, a result well inside the normal range. The host's floating-point environment is
//! never read or written.
//!
//! # Omitted
//!
//! Trapped exceptions (`portable` has none), BFloat16, FEAT_AFP, FEAT_RPRES.

mod arith;
mod compare;
mod convert;
mod env;
mod estimate;
mod fast32;
mod fast64;
mod fma;
mod format;
mod fused64;
mod int;
mod round;
mod round_int;
mod unpack;

pub use arith::{abs_diff, add, div, mul, mulx, nmul, sqrt, sub};
pub use compare::{
    abs_ge, abs_gt, compare, compare_eq, compare_ge, compare_gt, max, max_num, min, min_num,
};
pub use convert::{convert, convert_to_odd};
pub use env::{FpEnv, Rounding, fpcr, fpsr};
pub use estimate::{
    recip_estimate, recip_exponent, rsqrt_estimate, unsigned_recip_estimate,
    unsigned_rsqrt_estimate,
};
pub use fma::{mul_add, mul_sub, neg_mul_add, neg_mul_sub, recip_step, rsqrt_step};
pub use format::{Arith, Double, Format, Fp16, Half, Single, abs, neg};
pub use int::{IntType, from_int, to_int};
pub use round_int::{Exactness, round_to_integral};

#[cfg(test)]
mod tests;
