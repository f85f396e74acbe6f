//! The SMC Calling Convention (DEN 0028): how a guest calls its firmware or hypervisor.
//!
//! Only what a hypervisor without services of its own answers: the version and the query for
//! architecture features. Every call this machine does not know returns [`NOT_SUPPORTED`].

/// `SMCCC_VERSION`: the version of the convention.
pub const VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES`: whether an architecture call exists.
pub const ARCH_FEATURES: u32 = 0x8000_0001;

/// Version 1.1, as `SMCCC_VERSION` returns it.
pub const VERSION_1_1: u64 = 0x1_0001;
/// The call succeeded, or exists.
pub const SUCCESS: i32 = 0;
/// The call does not exist.
pub const NOT_SUPPORTED: i32 = -1;

/// Bit 30 of a function identifier: arguments and results are 64 bits wide.
pub const CONVENTION_64: u32 = 1 << 30;

/// X0 for a signed result: sign-extended, so that callers of either width read it right.
#[must_use]
pub const fn result(code: i32) -> u64 {
    (code as i64).cast_unsigned()
}
