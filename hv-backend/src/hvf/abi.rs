//! The binary interface of Hypervisor.framework on Apple Silicon: its numbers and its one structure.
//!
//! Everything is a plain integer, in Apple's numbering (headers `hv_kern_types.h`,
//! `hv_vcpu_types.h`, `hv_vcpu_config.h` of the macOS SDK): a value that a newer macOS brings is then
//! an unknown number and not undefined behaviour. The tests compare them with `applevisor-sys` and
//! list where that crate is wrong.
//!
//! Registers of the system need no table: their identifiers are the encodings, packed as
//! [`SysReg`](aarch64::SysReg) packs them.

/// What functions of the framework return.
pub type Return = i32;

/// A vCPU, by the number that the framework gives it.
pub type VcpuHandle = u64;

/// Values of [`Return`].
pub mod status {
    use super::Return;

    const fn framework(code: u8) -> Return {
        // err_system(0x3a) | err_sub(0xe94) and the code: a Mach error.
        0xfae9_4000_u32 as Return | code as Return
    }

    /// It worked.
    pub const SUCCESS: Return = 0;
    /// `HV_ERROR`: it did not work, for no particular reason.
    pub const ERROR: Return = framework(0x01);
    /// `HV_BUSY`: the owner of the resource is busy; a process already has its VM.
    pub const BUSY: Return = framework(0x02);
    /// `HV_BAD_ARGUMENT`
    pub const BAD_ARGUMENT: Return = framework(0x03);
    /// `HV_ILLEGAL_GUEST_STATE`: the vCPU cannot be entered with these registers.
    pub const ILLEGAL_GUEST_STATE: Return = framework(0x04);
    /// `HV_NO_RESOURCES`
    pub const NO_RESOURCES: Return = framework(0x05);
    /// `HV_NO_DEVICE`: there is no VM or no such vCPU.
    pub const NO_DEVICE: Return = framework(0x06);
    /// `HV_DENIED`: the program has no entitlement.
    pub const DENIED: Return = framework(0x07);
    /// `HV_EXISTS`; on Intel the same number means a fault.
    pub const EXISTS: Return = framework(0x08);
    /// `HV_UNSUPPORTED`
    pub const UNSUPPORTED: Return = framework(0x0f);

    /// Apple's name of a value.
    #[must_use]
    pub const fn name(value: Return) -> Option<&'static str> {
        Some(match value {
            SUCCESS => "HV_SUCCESS",
            ERROR => "HV_ERROR",
            BUSY => "HV_BUSY",
            BAD_ARGUMENT => "HV_BAD_ARGUMENT",
            ILLEGAL_GUEST_STATE => "HV_ILLEGAL_GUEST_STATE",
            NO_RESOURCES => "HV_NO_RESOURCES",
            NO_DEVICE => "HV_NO_DEVICE",
            DENIED => "HV_DENIED",
            EXISTS => "HV_EXISTS",
            UNSUPPORTED => "HV_UNSUPPORTED",
            _ => return None,
        })
    }
}

/// Why a vCPU left the guest: `hv_vcpu_exit_t`, 32 bytes. The framework writes it on every return of
/// `hv_vcpu_run`, to the place that `hv_vcpu_create` named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct ExitRecord {
    /// One of [`reason`], or a number that nobody has seen.
    pub reason: u32,
    /// Nothing.
    pub padding: u32,
    /// For [`reason::EXCEPTION`]: the syndrome, in the layout of `ESR_EL2`.
    pub syndrome: u64,
    /// For aborts: the virtual address, as in `FAR_EL2`.
    pub virtual_address: u64,
    /// For aborts: the whole intermediate physical address (not that of the page, as in `HPFAR_EL2`).
    pub physical_address: u64,
}

/// Values of [`ExitRecord::reason`].
pub mod reason {
    /// `hv_vcpus_exit` asked for it.
    pub const CANCELED: u32 = 0;
    /// The guest trapped.
    pub const EXCEPTION: u32 = 1;
    /// The virtual timer's output went high, and the framework masked it.
    pub const VTIMER_ACTIVATED: u32 = 2;
    /// Nobody knows. It happens.
    pub const UNKNOWN: u32 = 3;
}

/// Registers of `hv_vcpu_get_reg` and `hv_vcpu_set_reg`. X0 to X30 are 0 to 30; 31 is the PC and
/// neither XZR nor a stack pointer.
pub mod reg {
    /// The program counter.
    pub const PC: u32 = 31;
    /// `FPCR`
    pub const FPCR: u32 = 32;
    /// `FPSR`
    pub const FPSR: u32 = 33;
    /// PSTATE, in the layout of `SPSR_EL1`.
    pub const CPSR: u32 = 34;
}

/// Interrupt inputs of `hv_vcpu_set_pending_interrupt`.
pub mod interrupt {
    /// IRQ.
    pub const IRQ: u32 = 0;
    /// FIQ.
    pub const FIQ: u32 = 1;
}

/// Flags of `hv_vm_map` and `hv_vm_protect`. Zero makes every access trap.
pub mod memory {
    /// The guest may read.
    pub const READ: u64 = 1 << 0;
    /// The guest may write.
    pub const WRITE: u64 = 1 << 1;
    /// The guest may execute.
    pub const EXEC: u64 = 1 << 2;
}

/// Registers of `hv_vcpu_config_get_feature_reg`.
pub mod feature {
    /// `ID_AA64DFR0_EL1`
    pub const DFR0: u32 = 0;
    /// `ID_AA64DFR1_EL1`
    pub const DFR1: u32 = 1;
    /// `ID_AA64ISAR0_EL1`
    pub const ISAR0: u32 = 2;
    /// `ID_AA64ISAR1_EL1`
    pub const ISAR1: u32 = 3;
    /// `ID_AA64MMFR0_EL1`
    pub const MMFR0: u32 = 4;
    /// `ID_AA64MMFR1_EL1`
    pub const MMFR1: u32 = 5;
    /// `ID_AA64MMFR2_EL1`
    pub const MMFR2: u32 = 6;
    /// `ID_AA64PFR0_EL1`
    pub const PFR0: u32 = 7;
    /// `ID_AA64PFR1_EL1`
    pub const PFR1: u32 = 8;
    /// `CTR_EL0`
    pub const CTR: u32 = 9;
    /// `CLIDR_EL1`
    pub const CLIDR: u32 = 10;
    /// `DCZID_EL0`
    pub const DCZID: u32 = 11;
}

/// Caches of `hv_vcpu_config_get_ccsidr_el1_sys_reg_values`, which writes
/// [`CCSIDR_VALUES`](cache::CCSIDR_VALUES) values.
pub mod cache {
    /// Data and unified caches.
    pub const DATA: u32 = 0;
    /// Instruction caches.
    pub const INSTRUCTION: u32 = 1;
    /// One value for each level.
    pub const CCSIDR_VALUES: usize = 8;
}

/// Bytes of a page: host memory and guest addresses are mapped in multiples of it.
pub const PAGE_SIZE: u64 = 16 << 10;

/// Bits of guest physical address that every Mac with Apple Silicon has, and what a VM gets that does
/// not ask.
pub const DEFAULT_ADDRESS_BITS: u8 = 36;

/// `mach_timebase_info_data_t`: `numer / denom` nanoseconds are one tick of `mach_absolute_time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Timebase {
    /// Numerator.
    pub numer: u32,
    /// Denominator.
    pub denom: u32,
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use aarch64::{Saved, SysReg};
    use applevisor_sys as crate_of_others;
    use crate_of_others::{hv_cache_type_t, hv_reg_t, hv_sys_reg_t, hv_vcpu_exit_t};
    use crate_of_others::{hv_error_t, hv_exit_reason_t, hv_feature_reg_t, hv_interrupt_type_t};

    use super::*;

    #[test]
    fn the_exit_record_has_the_layout_of_c() {
        assert_eq!(size_of::<ExitRecord>(), 32);
        assert_eq!(size_of::<hv_vcpu_exit_t>(), size_of::<ExitRecord>());
        assert_eq!(offset_of!(ExitRecord, syndrome), 8);
        assert_eq!(offset_of!(ExitRecord, virtual_address), 16);
        assert_eq!(offset_of!(ExitRecord, physical_address), 24);
        assert_eq!(offset_of!(hv_vcpu_exit_t, exception), 8);
    }

    #[test]
    fn statuses_agree_with_the_crate() {
        use hv_error_t::*;
        for (ours, theirs) in [
            (status::SUCCESS, HV_SUCCESS),
            (status::ERROR, HV_ERROR),
            (status::BUSY, HV_BUSY),
            (status::BAD_ARGUMENT, HV_BAD_ARGUMENT),
            (status::ILLEGAL_GUEST_STATE, HV_ILLEGAL_GUEST_STATE),
            (status::NO_RESOURCES, HV_NO_RESOURCES),
            (status::NO_DEVICE, HV_NO_DEVICE),
            (status::DENIED, HV_DENIED),
            (status::UNSUPPORTED, HV_UNSUPPORTED),
            // The number is right, the name is that of Intel Macs.
            (status::EXISTS, HV_FAULT),
        ] {
            assert_eq!(ours, theirs as Return, "{theirs:?}");
            let name = status::name(ours).unwrap();
            assert!(name == format!("{theirs:?}") || name == "HV_EXISTS");
        }
        assert_eq!(status::name(7), None);
    }

    #[test]
    fn numbers_agree_with_the_crate() {
        assert_eq!(hv_exit_reason_t::CANCELED as u32, reason::CANCELED);
        assert_eq!(hv_exit_reason_t::EXCEPTION as u32, reason::EXCEPTION);
        let timer = hv_exit_reason_t::VTIMER_ACTIVATED as u32;
        assert_eq!(timer, reason::VTIMER_ACTIVATED);
        assert_eq!(hv_exit_reason_t::UNKNOWN as u32, reason::UNKNOWN);
        assert_eq!(hv_reg_t::X30 as u32, 30);
        assert_eq!(hv_reg_t::PC as u32, reg::PC);
        assert_eq!(hv_reg_t::FPCR as u32, reg::FPCR);
        assert_eq!(hv_reg_t::FPSR as u32, reg::FPSR);
        assert_eq!(hv_reg_t::CPSR as u32, reg::CPSR);
        assert_eq!(crate_of_others::HV_MEMORY_READ, memory::READ);
        assert_eq!(crate_of_others::HV_MEMORY_WRITE, memory::WRITE);
        assert_eq!(crate_of_others::HV_MEMORY_EXEC, memory::EXEC);
        assert_eq!(crate_of_others::PAGE_SIZE as u64, PAGE_SIZE);
        assert_eq!(hv_cache_type_t::DATA as u32, cache::DATA);
        assert_eq!(hv_cache_type_t::INSTRUCTION as u32, cache::INSTRUCTION);
    }

    #[test]
    fn features_agree_with_the_crate() {
        use hv_feature_reg_t::*;
        for (ours, theirs) in [
            (feature::DFR0, ID_AA64DFR0_EL1),
            (feature::DFR1, ID_AA64DFR1_EL1),
            (feature::ISAR0, ID_AA64ISAR0_EL1),
            (feature::ISAR1, ID_AA64ISAR1_EL1),
            (feature::MMFR0, ID_AA64MMFR0_EL1),
            (feature::MMFR1, ID_AA64MMFR1_EL1),
            (feature::MMFR2, ID_AA64MMFR2_EL1),
            (feature::PFR0, ID_AA64PFR0_EL1),
            (feature::PFR1, ID_AA64PFR1_EL1),
            (feature::CTR, CTR_EL0),
            (feature::CLIDR, CLIDR_EL1),
            (feature::DCZID, DCZID_EL0),
        ] {
            assert_eq!(ours, theirs as u32, "{theirs:?}");
        }
    }

    /// What the crate has wrong, so that nobody takes these from it.
    #[test]
    fn known_defects_of_the_crate() {
        // It numbers the interrupts the other way round: its IRQ is a FIQ.
        assert_eq!(hv_interrupt_type_t::IRQ as u32, interrupt::FIQ);
        assert_eq!(hv_interrupt_type_t::FIQ as u32, interrupt::IRQ);
        // It gives MDCR_EL2 another register's encoding.
        let mdcr_el2 = SysReg::new(3, 4, 1, 1, 1);
        assert_eq!(mdcr_el2.0, 0xe089);
        assert_eq!(hv_sys_reg_t::MDCR_EL2 as u32, 0xe019);
        // It passes a vector to `hv_vcpu_set_simd_fp_reg` as an integer, in two general registers.
        let integer = size_of::<crate_of_others::hv_simd_fp_uchar16_t>();
        assert_eq!(integer, size_of::<u128>());
    }

    #[test]
    fn system_registers_are_named_by_their_encodings() {
        use hv_sys_reg_t::*;
        for (ours, theirs) in [
            (Saved::SctlrEl1, SCTLR_EL1),
            (Saved::CpacrEl1, CPACR_EL1),
            (Saved::Ttbr0El1, TTBR0_EL1),
            (Saved::Ttbr1El1, TTBR1_EL1),
            (Saved::TcrEl1, TCR_EL1),
            (Saved::SpsrEl1, SPSR_EL1),
            (Saved::ElrEl1, ELR_EL1),
            (Saved::SpEl0, SP_EL0),
            (Saved::SpEl1, SP_EL1),
            (Saved::EsrEl1, ESR_EL1),
            (Saved::FarEl1, FAR_EL1),
            (Saved::ParEl1, PAR_EL1),
            (Saved::MairEl1, MAIR_EL1),
            (Saved::VbarEl1, VBAR_EL1),
            (Saved::TpidrEl0, TPIDR_EL0),
            (Saved::TpidrroEl0, TPIDRRO_EL0),
            (Saved::CsselrEl1, CSSELR_EL1),
            (Saved::CntkctlEl1, CNTKCTL_EL1),
            (Saved::CntvCtlEl0, CNTV_CTL_EL0),
            (Saved::CntvCvalEl0, CNTV_CVAL_EL0),
            (Saved::CntpCvalEl0, CNTP_CVAL_EL0),
            (Saved::MdscrEl1, MDSCR_EL1),
            (Saved::MdccintEl1, MDCCINT_EL1),
            (Saved::Dbgbvr0El1, DBGBVR0_EL1),
            (Saved::Dbgwcr3El1, DBGWCR3_EL1),
            (Saved::Dbgbcr5El1, DBGBCR5_EL1),
        ] {
            assert_eq!(u32::from(ours.sysreg().0), theirs as u32, "{theirs:?}");
        }
    }
}
