//! The Power State Coordination Interface, version 1.1 (DEN 0022): function identifiers, return
//! codes, and the decoder from registers to a call.
//!
//! What a call does is the VMM's policy; this module only says what was asked.

use crate::smccc;

/// `PSCI_VERSION` of version 1.1.
pub const VERSION_1_1: u64 = 0x1_0001;
/// `MIGRATE_INFO_TYPE`: there is no trusted OS, or it needs no migration.
pub const NO_MIGRATION: u64 = 2;

/// Identifiers of the functions in their 32-bit form; [`smccc::CONVENTION_64`] makes the others.
pub mod id {
    /// `PSCI_VERSION`
    pub const VERSION: u32 = 0x8400_0000;
    /// `CPU_SUSPEND`
    pub const CPU_SUSPEND: u32 = 0x8400_0001;
    /// `CPU_OFF`
    pub const CPU_OFF: u32 = 0x8400_0002;
    /// `CPU_ON`
    pub const CPU_ON: u32 = 0x8400_0003;
    /// `AFFINITY_INFO`
    pub const AFFINITY_INFO: u32 = 0x8400_0004;
    /// `MIGRATE_INFO_TYPE`
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    /// `SYSTEM_OFF`
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    /// `SYSTEM_RESET`
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    /// `PSCI_FEATURES`
    pub const FEATURES: u32 = 0x8400_000a;
    /// `SYSTEM_RESET2`
    pub const SYSTEM_RESET2: u32 = 0x8400_0012;
}

/// Return codes (section 5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Done.
    Success = 0,
    /// No such function.
    NotSupported = -1,
    /// An argument names nothing that exists.
    InvalidParameters = -2,
    /// The core runs already.
    AlreadyOn = -4,
    /// The core is being started already.
    OnPending = -5,
    /// The entry point is no address a core can start at.
    InvalidAddress = -9,
}

impl Code {
    /// X0 that returns this code.
    #[must_use]
    pub const fn x0(self) -> u64 {
        smccc::result(self as i32)
    }
}

/// What `AFFINITY_INFO` returns for a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum AffinityState {
    /// At least one core of the group is on.
    On = 0,
    /// All cores are off.
    Off = 1,
    /// A core is on its way up.
    OnPending = 2,
}

/// One decoded call. Addresses and contexts of 32-bit calls are zero-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Which version of PSCI.
    Version,
    /// Suspend the calling core; standby and power-down states alike.
    CpuSuspend,
    /// Stop the calling core.
    CpuOff,
    /// Start another core.
    CpuOn {
        /// Affinity of the core, as in `MPIDR_EL1`.
        target: u64,
        /// Where it starts.
        entry: u64,
        /// Its X0.
        context: u64,
    },
    /// Whether a core, or a group of them, is on.
    AffinityInfo {
        /// Affinity of the group.
        target: u64,
        /// Affinity fields below this level do not matter.
        lowest_level: u64,
    },
    /// Whether a trusted OS needs migration.
    MigrateInfoType,
    /// Power off.
    SystemOff,
    /// Reset.
    SystemReset,
    /// Reset of a kind.
    SystemReset2 {
        /// 0 is a warm reset; bit 31 marks a vendor's own kinds.
        kind: u32,
    },
    /// Whether this function exists.
    Features {
        /// The function.
        function: u32,
    },
}

/// The PSCI call that these registers X0 to X3 make, if there is such a function.
#[must_use]
pub fn decode(x: [u64; 4]) -> Option<Call> {
    let function = low(x[0]);
    let wide = function & smccc::CONVENTION_64 != 0;
    let arg = |i: usize| if wide { x[i] } else { u64::from(low(x[i])) };
    Some(match function & !smccc::CONVENTION_64 {
        id::CPU_SUSPEND => Call::CpuSuspend,
        id::CPU_ON => Call::CpuOn {
            target: arg(1),
            entry: arg(2),
            context: arg(3),
        },
        id::AFFINITY_INFO => Call::AffinityInfo {
            target: arg(1),
            lowest_level: arg(2),
        },
        id::SYSTEM_RESET2 => Call::SystemReset2 { kind: low(x[1]) },
        // The rest exists in the 32-bit form only.
        _ if wide => return None,
        id::VERSION => Call::Version,
        id::CPU_OFF => Call::CpuOff,
        id::MIGRATE_INFO_TYPE => Call::MigrateInfoType,
        id::SYSTEM_OFF => Call::SystemOff,
        id::SYSTEM_RESET => Call::SystemReset,
        id::FEATURES => Call::Features {
            function: low(x[1]),
        },
        _ => return None,
    })
}

/// Whether `decode` knows this function.
#[must_use]
pub fn exists(function: u32) -> bool {
    decode([u64::from(function), 0, 0, 0]).is_some()
}

fn low(x: u64) -> u32 {
    (x & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU_ON_64: u64 = 0xc400_0003;

    #[test]
    fn narrow_calls_ignore_the_upper_halves() {
        let high = 0xdead_beef_0000_0000;
        let x = [
            high | u64::from(id::CPU_ON),
            high | 1,
            high | 0x4000_0000,
            high | 7,
        ];
        let call = Call::CpuOn {
            target: 1,
            entry: 0x4000_0000,
            context: 7,
        };
        assert_eq!(decode(x), Some(call));
    }

    #[test]
    fn wide_calls_take_whole_registers() {
        let call = Call::CpuOn {
            target: 1 << 32,
            entry: 1 << 40,
            context: u64::MAX,
        };
        assert_eq!(decode([CPU_ON_64, 1 << 32, 1 << 40, u64::MAX]), Some(call));
    }

    #[test]
    fn functions_without_a_wide_form_have_none() {
        for function in [
            id::VERSION,
            id::CPU_OFF,
            id::SYSTEM_OFF,
            id::SYSTEM_RESET,
            id::FEATURES,
        ] {
            assert!(exists(function));
            assert!(!exists(function | smccc::CONVENTION_64));
        }
        assert!(exists(id::SYSTEM_RESET2 | smccc::CONVENTION_64));
        assert!(!exists(0x8400_0005));
    }
}
