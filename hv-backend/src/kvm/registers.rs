//! The numbers by which KVM names a vCPU's registers (Linux, Documentation/virt/kvm/api.rst,
//! `KVM_SET_ONE_REG`), from the names of the architecture. Pure: compiled and tested on every host.
//!
//! A number says which architecture, how many bytes, which group, and which one of the group:
//! - group *core*: the index is the position in `struct kvm_regs`, counted in 32-bit words;
//! - group *system register*: the index is the encoding, packed as in [`SysReg`].
//!
//! Three things are not as one would expect:
//! - `SP_EL0`, `SP_EL1`, `ELR_EL1` and `SPSR_EL1` are core registers;
//! - the virtual timer's compare value and the virtual counter have each other's encoding, and
//!   always will have, because saved states rely on it;
//! - `OSDLR_EL1` reads as zero and ignores writes, so KVM has nothing to save of it.

use aarch64::{Saved, SysReg};

const ARM64: u64 = 0x6000_0000_0000_0000;
const SIZE_U32: u64 = 0x0020_0000_0000_0000;
const SIZE_U64: u64 = 0x0030_0000_0000_0000;
const SIZE_U128: u64 = 0x0040_0000_0000_0000;
const CORE: u64 = 0x0010 << 16;
const SYSREG: u64 = 0x0013 << 16;

/// Byte offsets in `struct kvm_regs`.
mod offset {
    pub const SP_EL0: u64 = 31 * 8;
    pub const PC: u64 = 32 * 8;
    pub const PSTATE: u64 = 33 * 8;
    pub const SP_EL1: u64 = 34 * 8;
    pub const ELR_EL1: u64 = 35 * 8;
    /// The first of five, one for each mode of AArch32 that has one; in AArch64 only this is used.
    pub const SPSR_EL1: u64 = 36 * 8;
    /// The vectors are aligned to 16 bytes.
    pub const V0: u64 = (36 + 5 + 1) * 8;
    pub const FPSR: u64 = V0 + 32 * 16;
    pub const FPCR: u64 = FPSR + 4;
}

const fn core(size: u64, offset: u64) -> u64 {
    ARM64 | size | CORE | (offset / 4)
}

/// `PC`
pub const PC: u64 = core(SIZE_U64, offset::PC);
/// `PSTATE`
pub const PSTATE: u64 = core(SIZE_U64, offset::PSTATE);
/// `FPSR`
pub const FPSR: u64 = core(SIZE_U32, offset::FPSR);
/// `FPCR`
pub const FPCR: u64 = core(SIZE_U32, offset::FPCR);

/// X0 to X30.
#[must_use]
pub const fn x(n: usize) -> u64 {
    core(SIZE_U64, n as u64 * 8)
}

/// V0 to V31.
#[must_use]
pub const fn v(n: usize) -> u64 {
    core(SIZE_U128, offset::V0 + n as u64 * 16)
}

/// Where KVM keeps a system register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the register of this number, of 64 bits.
    Register(u64),
    /// Nowhere: it is always zero.
    Zero,
}

/// Where KVM keeps `reg`, if it has it.
#[must_use]
pub fn place(reg: SysReg) -> Place {
    let swapped = SysReg::new(3, 3, 14, 0, 2);
    Place::Register(match Saved::from_sysreg(reg) {
        Some(Saved::SpEl0) => core(SIZE_U64, offset::SP_EL0),
        Some(Saved::SpEl1) => core(SIZE_U64, offset::SP_EL1),
        Some(Saved::ElrEl1) => core(SIZE_U64, offset::ELR_EL1),
        Some(Saved::SpsrEl1) => core(SIZE_U64, offset::SPSR_EL1),
        Some(Saved::CntvCvalEl0) => system(swapped),
        Some(Saved::OsdlrEl1) => return Place::Zero,
        None if reg == swapped => system(Saved::CntvCvalEl0.sysreg()),
        Some(_) | None => system(reg),
    })
}

/// Where `KVM_ARM_GET_REG_WRITABLE_MASKS` speaks of an identification register: the registers with
/// op0 = 3, op1 = 0, 1 or 3, CRn = 0 and CRm below 8, in this order.
#[must_use]
pub fn mask_index(reg: SysReg) -> Option<usize> {
    let (op0, op1, crn, crm, op2) = reg.fields();
    let group = match op1 {
        0 | 1 => op1,
        3 => 2,
        _ => return None,
    };
    ((op0, crn) == (3, 0) && crm < 8)
        .then_some(usize::from(group) << 6 | usize::from(crm) << 3 | usize::from(op2))
}

const fn system(reg: SysReg) -> u64 {
    ARM64 | SIZE_U64 | SYSREG | reg.0 as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Numbers from the headers of Linux, as other programs print them.
    #[test]
    fn numbers_are_those_of_linux() {
        assert_eq!(x(0), 0x6030_0000_0010_0000);
        assert_eq!(x(30), 0x6030_0000_0010_003c);
        assert_eq!(PC, 0x6030_0000_0010_0040);
        assert_eq!(PSTATE, 0x6030_0000_0010_0042);
        assert_eq!(v(0), 0x6040_0000_0010_0054);
        assert_eq!(v(31), 0x6040_0000_0010_00d0);
        assert_eq!(FPSR, 0x6020_0000_0010_00d4);
        assert_eq!(FPCR, 0x6020_0000_0010_00d5);
        for (reg, number) in [
            (Saved::SpEl0, 0x6030_0000_0010_003e),
            (Saved::SpEl1, 0x6030_0000_0010_0044),
            (Saved::ElrEl1, 0x6030_0000_0010_0046),
            (Saved::SpsrEl1, 0x6030_0000_0010_0048),
            (Saved::SctlrEl1, 0x6030_0000_0013_c080),
            (Saved::CntvCtlEl0, 0x6030_0000_0013_df19),
            (Saved::CntvCvalEl0, 0x6030_0000_0013_df02),
        ] {
            assert_eq!(place(reg.sysreg()), Place::Register(number), "{reg:?}");
        }
        let counter = SysReg::new(3, 3, 14, 0, 2);
        assert_eq!(place(counter), Place::Register(0x6030_0000_0013_df1a));
    }

    #[test]
    fn masks_are_found_in_the_kernels_order() {
        for (reg, index) in [
            (SysReg::new(3, 0, 0, 0, 0), Some(0)),
            (SysReg::new(3, 0, 0, 4, 1), Some(33)),
            (SysReg::new(3, 1, 0, 0, 1), Some(65)),
            (SysReg::new(3, 3, 0, 0, 1), Some(129)),
            (SysReg::new(3, 2, 0, 0, 0), None),
            (SysReg::new(3, 0, 1, 0, 0), None),
            (SysReg::new(3, 0, 0, 8, 0), None),
        ] {
            assert_eq!(mask_index(reg), index, "{reg:?}");
        }
    }

    #[test]
    fn every_saved_register_has_a_place_of_its_own() {
        let mut taken = HashSet::from([PC, PSTATE, FPSR, FPCR]);
        taken.extend((0..31).map(x));
        taken.extend((0..32).map(v));
        assert_eq!(taken.len(), 4 + 31 + 32);
        for reg in Saved::ALL {
            match place(reg.sysreg()) {
                Place::Register(number) => assert!(taken.insert(number), "{reg:?}"),
                Place::Zero => assert_eq!(*reg, Saved::OsdlrEl1),
            }
        }
    }
}
