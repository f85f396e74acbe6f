//! The interchange formats (A1.4.1 to A1.4.4) as types, and the operations that only touch bits.

use super::{FpEnv, fpcr, fpsr};

/// A binary floating-point format, described by its field widths.
pub trait Format: Copy + core::fmt::Debug + 'static {
    /// Width of the whole pattern.
    const WIDTH: u32;
    /// Width of the exponent field.
    const EXP: u32;
    /// Width of the fraction field.
    const FRAC: u32 = Self::WIDTH - Self::EXP - 1;
    /// All bits of the pattern.
    const MASK: u64 = u64::MAX >> (64 - Self::WIDTH);
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// All bits but the sign.
    const MAGNITUDE: u64 = Self::SIGN - 1;
    /// The fraction field.
    const FRAC_MASK: u64 = (1 << Self::FRAC) - 1;
    /// Largest value of the exponent field.
    const EXP_ONES: u64 = (1 << Self::EXP) - 1;
    /// Plus infinity (in the alternative half precision, the start of the largest binade).
    const INFINITY: u64 = Self::EXP_ONES << Self::FRAC;
    /// Largest finite magnitude.
    const MAX_NORMAL: u64 = Self::INFINITY - 1;
    /// Smallest normal magnitude.
    const MIN_NORMAL: u64 = 1 << Self::FRAC;
    /// The fraction bit that tells a quiet NaN from a signalling one.
    const QUIET: u64 = 1 << (Self::FRAC - 1);
    /// The default NaN: positive, quiet, no payload.
    const DEFAULT_NAN: u64 = Self::INFINITY | Self::QUIET;
    /// Exponent bias.
    const BIAS: i32 = (1 << (Self::EXP - 1)) - 1;
    /// Exponent of the smallest normal.
    const MIN_EXP: i32 = 1 - Self::BIAS;
    /// The bit of FPCR that flushes denormalised values of this format to zero.
    const FLUSH: u32 = fpcr::FZ;
    /// What a flushed input raises.
    const FLUSHED: u32 = fpsr::IDC;
    /// True if FPCR.AHP can give the format its alternative meaning.
    const ALTERNATIVE: bool = false;

    /// The sign bit of `bits`.
    #[inline(always)]
    fn sign(bits: u64) -> bool {
        bits & Self::SIGN != 0
    }

    /// `magnitude` with the given sign.
    #[inline(always)]
    fn with_sign(sign: bool, magnitude: u64) -> u64 {
        (u64::from(sign) << (Self::WIDTH - 1)) | magnitude
    }

    /// True for NaNs (of an IEEE format).
    #[inline(always)]
    fn is_nan(bits: u64) -> bool {
        bits & Self::MAGNITUDE > Self::INFINITY
    }

    /// True for signalling NaNs.
    #[inline(always)]
    fn is_signalling(bits: u64) -> bool {
        Self::is_nan(bits) && bits & Self::QUIET == 0
    }

    /// True for non-zero values below the normal range.
    #[inline(always)]
    fn is_denormal(bits: u64) -> bool {
        (bits & Self::MAGNITUDE).wrapping_sub(1) < Self::FRAC_MASK
    }
}

/// Half precision of conversions: IEEE or alternative as FPCR.AHP says, and never flushed.
#[derive(Clone, Copy, Debug)]
pub struct Half;
/// Half precision of arithmetic (FEAT_FP16): always IEEE.
#[derive(Clone, Copy, Debug)]
pub struct Fp16;
/// Single precision.
#[derive(Clone, Copy, Debug)]
pub struct Single;
/// Double precision.
#[derive(Clone, Copy, Debug)]
pub struct Double;

impl Format for Half {
    const WIDTH: u32 = 16;
    const EXP: u32 = 5;
    const FLUSH: u32 = 0;
    const ALTERNATIVE: bool = true;
}

impl Format for Fp16 {
    const WIDTH: u32 = 16;
    const EXP: u32 = 5;
    const FLUSH: u32 = fpcr::FZ16;
    const FLUSHED: u32 = 0;
}

impl Format for Single {
    const WIDTH: u32 = 32;
    const EXP: u32 = 8;
}

impl Format for Double {
    const WIDTH: u32 = 64;
    const EXP: u32 = 11;
}

/// A format with arithmetic. Each method is the host's version of an operation, or `None` where
/// only the soft core is known to give the right bits and flags.
pub trait Arith: Format {
    /// Sum.
    fn fast_add(env: &mut FpEnv, a: u64, b: u64) -> Option<u64>;
    /// Product.
    fn fast_mul(env: &mut FpEnv, a: u64, b: u64) -> Option<u64>;
    /// Quotient.
    fn fast_div(env: &mut FpEnv, a: u64, b: u64) -> Option<u64>;
    /// Square root.
    fn fast_sqrt(env: &mut FpEnv, a: u64) -> Option<u64>;
    /// `a * b + c`, rounded once.
    fn fast_mul_add(env: &mut FpEnv, c: u64, a: u64, b: u64) -> Option<u64>;
}

/// Hosts have no operators for it.
impl Arith for Fp16 {
    #[inline(always)]
    fn fast_add(_env: &mut FpEnv, _a: u64, _b: u64) -> Option<u64> {
        None
    }

    #[inline(always)]
    fn fast_mul(_env: &mut FpEnv, _a: u64, _b: u64) -> Option<u64> {
        None
    }

    #[inline(always)]
    fn fast_div(_env: &mut FpEnv, _a: u64, _b: u64) -> Option<u64> {
        None
    }

    #[inline(always)]
    fn fast_sqrt(_env: &mut FpEnv, _a: u64) -> Option<u64> {
        None
    }

    #[inline(always)]
    fn fast_mul_add(_env: &mut FpEnv, _c: u64, _a: u64, _b: u64) -> Option<u64> {
        None
    }
}

/// Clears the sign (FPAbs): never an exception, NaNs included.
#[inline(always)]
pub fn abs<F: Format>(a: u64) -> u64 {
    a & F::MAGNITUDE
}

/// Flips the sign (FPNeg): never an exception, NaNs included.
#[inline(always)]
pub fn neg<F: Format>(a: u64) -> u64 {
    (a ^ F::SIGN) & F::MASK
}
