//! PSTATE as `SPSR_EL1` shows it (C5.2.19), for AArch64 states only.

/// Negative.
pub const N: u64 = 1 << 31;
/// Zero.
pub const Z: u64 = 1 << 30;
/// Carry.
pub const C: u64 = 1 << 29;
/// Overflow.
pub const V: u64 = 1 << 28;
/// All four condition flags.
pub const NZCV: u64 = 0xf << 28;
/// Privileged access never (FEAT_PAN).
pub const PAN: u64 = 1 << 22;
/// Data-independent timing (FEAT_DIT).
pub const DIT: u64 = 1 << 24;
/// Software step.
pub const SS: u64 = 1 << 21;
/// Illegal execution state.
pub const IL: u64 = 1 << 20;
/// Speculative store bypass is safe (FEAT_SSBS).
pub const SSBS: u64 = 1 << 12;
/// What the last branch allows its target to be (FEAT_BTI).
pub const BTYPE: u64 = 3 << 10;
/// Debug exceptions masked.
pub const D: u64 = 1 << 9;
/// SError masked.
pub const A: u64 = 1 << 8;
/// IRQ masked.
pub const I: u64 = 1 << 7;
/// FIQ masked.
pub const F: u64 = 1 << 6;
/// All four exception masks.
pub const DAIF: u64 = D | A | I | F;
/// AArch32 state, which armlet's guests do not have.
pub const AARCH32: u64 = 1 << 4;
/// EL0, using `SP_EL0`.
pub const EL0T: u64 = 0b0000;
/// EL1, using `SP_EL0`.
pub const EL1T: u64 = 0b0100;
/// EL1, using `SP_EL1`.
pub const EL1H: u64 = 0b0101;
/// The mode field.
pub const MODE: u64 = 0x1f;
/// Every bit that exists in the `portable` CPU model.
pub const DEFINED: u64 = NZCV | PAN | SS | IL | DAIF | 0xf;
/// The state a core starts in (boot protocol of arm64 Linux: EL1h, everything masked).
pub const RESET: u64 = DAIF | EL1H;
