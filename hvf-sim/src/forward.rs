//! Which instructions of a guest without `hv_gic` the framework answers itself and which it hands to
//! its user: a pure function of the register and of macOS.
//!
//! What is known comes from macOS 12.5 and from what virtual machine monitors met since.

use aarch64::SysReg;
use softcpu::hypervised::Traps;

use crate::profile::MacOs;
use crate::sysregs;

/// What happens to an access of the guest to a system register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The processor does it.
    Native,
    /// The framework answers a read with the vCPU's value.
    Id,
    /// The framework answers a read with 0.
    Zero,
    /// It leaves the guest.
    Forwarded,
}

/// What happens to an access. `debug` is `hv_vcpu_set_trap_debug_reg_accesses`.
pub(crate) fn access(reg: SysReg, macos: MacOs, debug: bool) -> Access {
    match reg.fields() {
        (2, _, _, _, _) => debug_register(reg, macos, debug),
        (3, 0, 0, 0, 0 | 5) => Access::Id,
        (3, 0, 0, 1..=7, _) => id_space(reg, macos),
        // ICC_PMR_EL1 and the rest of the GIC's CPU interface.
        (3, 0, 4, 6, 0) | (3, 0, 12, 8..=15, _) => Access::Forwarded,
        // PMU: PMINTEN, PMCR and what follows, event counters and types.
        (3, 0, 9, 14, _) | (3, 3, 9, 12..=14, _) | (3, 3, 14, 8..=15, _) => Access::Forwarded,
        // LORSA to LORC, LORID.
        (3, 0, 10, 4, _) => Access::Forwarded,
        // CNTPCT, CNTP_TVAL, CNTP_CTL, CNTP_CVAL.
        (3, 3, 14, 0, 1) | (3, 3, 14, 2, 0..=2) => Access::Forwarded,
        // What implementations define.
        (3, _, 11 | 15, _, _) => Access::Forwarded,
        _ => Access::Native,
    }
}

fn id_space(reg: SysReg, macos: MacOs) -> Access {
    if sysregs::is_id(reg, macos) {
        return Access::Id;
    }
    match reg.fields() {
        // ID_PFR0, ID_PFR1, ID_MMFR0 to 3, ID_ISAR0 to 5, MVFR0 to 2.
        (_, _, _, 1, 0 | 1 | 4..=7) | (_, _, _, 2, 0..=5) | (_, _, _, 3, 0..=2) => Access::Zero,
        _ => Access::Forwarded,
    }
}

fn debug_register(reg: SysReg, macos: MacOs, debug: bool) -> Access {
    match reg.fields() {
        // OSLAR, OSLSR, OSDLR, DBGPRCR, DBGCLAIMSET, DBGCLAIMCLR.
        (2, 0, 1, 0 | 1 | 3 | 4, 4) | (2, 0, 7, 8 | 9, 6) => Access::Forwarded,
        // MDCCINT.
        (2, 0, 0, 2, 0) if macos >= MacOs::V26 => Access::Forwarded,
        _ if debug => Access::Forwarded,
        _ => Access::Native,
    }
}

/// `WFE`
const WFE: u32 = 0xd503_205f;
/// `MRS`, without the register and the encoding.
const MRS: u32 = 0xd530_0000;
/// As [`MRS`], for `MSR`.
const MSR: u32 = 0xd510_0000;

/// The instructions that do not run natively.
#[derive(Debug)]
pub(crate) struct Forwarding {
    pub macos: MacOs,
    pub debug: bool,
}

impl Forwarding {
    /// What happens to an `MRS` or `MSR`.
    pub fn of(&self, insn: u32) -> Access {
        access(SysReg::from_instruction(insn), self.macos, self.debug)
    }
}

impl Traps for Forwarding {
    fn wants(&self, insn: u32) -> bool {
        match (insn & 0xfff0_0000, self.of(insn)) {
            _ if insn == WFE => true,
            (MRS, access) => access != Access::Native,
            // A write of an identification register is undefined, and stays so.
            (MSR, access) => access == Access::Forwarded,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [MacOs; 4] = [MacOs::V13, MacOs::V15, MacOs::V15_2, MacOs::V26];

    fn everywhere(reg: SysReg) -> Option<Access> {
        let all = LEVELS.map(|macos| access(reg, macos, false));
        all.iter().all(|a| *a == all[0]).then_some(all[0])
    }

    #[test]
    fn each_group_goes_where_it_was_seen_to_go() {
        for (reg, expected) in [
            (SysReg::new(3, 0, 0, 1, 0), Access::Zero),      // ID_PFR0
            (SysReg::new(3, 0, 0, 1, 2), Access::Forwarded), // ID_DFR0
            (SysReg::new(3, 0, 0, 2, 6), Access::Forwarded), // ID_MMFR4
            (SysReg::new(3, 0, 0, 3, 1), Access::Zero),      // MVFR1
            (SysReg::new(3, 0, 0, 4, 0), Access::Id),        // PFR0
            (SysReg::new(3, 0, 0, 6, 2), Access::Forwarded), // ISAR2
            (SysReg::new(3, 0, 0, 0, 5), Access::Id),        // MPIDR
            (SysReg::new(2, 0, 1, 0, 4), Access::Forwarded), // OSLAR
            (SysReg::new(2, 0, 1, 3, 4), Access::Forwarded), // OSDLR
            (SysReg::new(2, 0, 0, 0, 4), Access::Native),    // DBGBVR0
            (SysReg::new(2, 0, 0, 2, 2), Access::Native),    // MDSCR
            (SysReg::new(3, 3, 9, 12, 0), Access::Forwarded), // PMCR
            (SysReg::new(3, 3, 14, 15, 7), Access::Forwarded), // PMCCFILTR
            (SysReg::new(3, 0, 12, 12, 0), Access::Forwarded), // ICC_IAR1
            (SysReg::new(3, 0, 12, 0, 0), Access::Native),   // VBAR
            (SysReg::new(3, 3, 14, 0, 1), Access::Forwarded), // CNTPCT
            (SysReg::new(3, 3, 14, 0, 2), Access::Native),   // CNTVCT
            (SysReg::new(3, 3, 14, 0, 0), Access::Native),   // CNTFRQ
            (SysReg::new(3, 3, 14, 2, 1), Access::Forwarded), // CNTP_CTL
            (SysReg::new(3, 3, 14, 3, 1), Access::Native),   // CNTV_CTL
            (SysReg::new(3, 3, 0, 0, 1), Access::Native),    // CTR
            (SysReg::new(3, 0, 10, 4, 3), Access::Forwarded), // LORC
            (SysReg::new(3, 0, 15, 1, 0), Access::Forwarded), // implementation defined
        ] {
            assert_eq!(everywhere(reg), Some(expected), "{reg:?}");
        }
    }

    #[test]
    fn some_depend_on_macos_or_on_the_debug_trap() {
        let mdccint = SysReg::new(2, 0, 0, 2, 0);
        assert_eq!(access(mdccint, MacOs::V15, false), Access::Native);
        assert_eq!(access(mdccint, MacOs::V26, false), Access::Forwarded);
        let zfr0 = SysReg::new(3, 0, 0, 4, 4);
        assert_eq!(access(zfr0, MacOs::V15, false), Access::Forwarded);
        assert_eq!(access(zfr0, MacOs::V15_2, false), Access::Id);
        let dbgbvr0 = SysReg::new(2, 0, 0, 0, 4);
        assert_eq!(access(dbgbvr0, MacOs::V13, true), Access::Forwarded);
    }

    #[test]
    fn writes_of_id_registers_are_not_wanted() {
        let forwarding = Forwarding {
            macos: MacOs::V13,
            debug: false,
        };
        let pfr0 = u32::from(SysReg::new(3, 0, 0, 4, 0).0) << 5;
        assert!(forwarding.wants(MRS & 0xfff0_0000 | 0xd530_0000 | pfr0));
        assert!(!forwarding.wants(0xd510_0000 | pfr0));
        assert!(forwarding.wants(WFE));
        assert!(!forwarding.wants(0xd503_207f), "WFI leaves by itself");
        // dc civac, x0 shares its upper bits with neither.
        assert!(!forwarding.wants(0xd50b_7e20));
    }
}
