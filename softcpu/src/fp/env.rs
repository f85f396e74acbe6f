//! The floating-point environment: FPCR (C5.2.8) as input, FPSR (C5.2.9) as output.

use super::Format;

/// Bits of FPCR that this CPU model implements.
pub mod fpcr {
    /// Flush denormalised half precision inputs and outputs of arithmetic to zero.
    pub const FZ16: u32 = 1 << 19;
    /// Flush denormalised single and double precision inputs and outputs to zero.
    pub const FZ: u32 = 1 << 24;
    /// Every NaN result is the default NaN.
    pub const DN: u32 = 1 << 25;
    /// Half precision means the alternative format, without infinities and NaNs.
    pub const AHP: u32 = 1 << 26;
    /// Rounding mode field.
    pub const RMODE: u32 = 3 << 22;
    /// Every bit that can be written.
    pub const DEFINED: u32 = FZ16 | FZ | DN | AHP | RMODE;
    const _: () = assert!(DEFINED == aarch64::portable::FPCR);
}

/// Bits of FPSR: flags that accumulate until software clears them.
pub mod fpsr {
    /// Invalid operation.
    pub const IOC: u32 = 1 << 0;
    /// Division by zero.
    pub const DZC: u32 = 1 << 1;
    /// Overflow.
    pub const OFC: u32 = 1 << 2;
    /// Underflow.
    pub const UFC: u32 = 1 << 3;
    /// Inexact.
    pub const IXC: u32 = 1 << 4;
    /// Input denormal flushed.
    pub const IDC: u32 = 1 << 7;
    /// Integer saturation in AdvSIMD (never set by this module).
    pub const QC: u32 = 1 << 27;
    /// Every bit that can be written.
    pub const DEFINED: u32 = IOC | DZC | OFC | UFC | IXC | IDC | QC;
    const _: () = assert!(DEFINED == aarch64::portable::FPSR);
}

/// How an exact result becomes a representable one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    TiesToEven,
    /// Towards plus infinity.
    TowardPositive,
    /// Towards minus infinity.
    TowardNegative,
    /// Towards zero.
    TowardZero,
    /// To nearest, ties away from zero (FCVTA*, FRINTA).
    TiesAway,
    /// Truncate, and set the last bit when inexact (FCVTXN).
    Odd,
}

impl Rounding {
    /// The mode of a two-bit RMode field, also the `rmode` field of FRINT* and FCVT* encodings.
    #[inline(always)]
    pub const fn from_rmode(rmode: u32) -> Self {
        match rmode & 3 {
            0 => Self::TiesToEven,
            1 => Self::TowardPositive,
            2 => Self::TowardNegative,
            _ => Self::TowardZero,
        }
    }
}

/// FPCR and FPSR of one CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FpEnv {
    /// Control: rounding mode, flush to zero, default NaN, alternative half precision.
    pub fpcr: u32,
    /// Status: cumulative exception flags.
    pub fpsr: u32,
}

impl FpEnv {
    /// The rounding mode FPCR selects.
    #[inline(always)]
    pub const fn rounding(&self) -> Rounding {
        Rounding::from_rmode(self.fpcr >> 22)
    }

    /// True if denormals of format `F` are flushed to zero.
    #[inline(always)]
    pub const fn flushes<F: Format>(&self) -> bool {
        self.fpcr & F::FLUSH != 0
    }

    /// True if NaN results are replaced by the default NaN.
    #[inline(always)]
    pub const fn default_nan(&self) -> bool {
        self.fpcr & fpcr::DN != 0
    }

    /// True if half precision means the alternative format to conversions.
    #[inline(always)]
    pub const fn alt_half(&self) -> bool {
        self.fpcr & fpcr::AHP != 0
    }

    /// Records exceptions in FPSR.
    #[inline(always)]
    pub const fn raise(&mut self, flags: u32) {
        self.fpsr |= flags;
    }

    /// True if the host's operators may stand in: they round to nearest even and flush nothing.
    #[inline(always)]
    pub(super) fn host_like<F: Format, const N: usize>(&self, operands: [u64; N]) -> bool {
        match self.fpcr & (fpcr::RMODE | fpcr::FZ) {
            0 => true,
            fpcr::FZ => !operands.iter().any(|&x| F::is_denormal(x)),
            _ => false,
        }
    }

    /// True if an inexact result would change nothing in FPSR.
    #[inline(always)]
    pub(super) const fn inexact_recorded(&self) -> bool {
        self.fpsr & fpsr::IXC != 0
    }

    /// Sign of an exact zero that is the sum of two non-zero values: minus only when rounding down.
    #[inline(always)]
    pub(super) const fn zero_sum_sign(&self) -> bool {
        matches!(self.rounding(), Rounding::TowardNegative)
    }
}
