//! The system registers that `hv_vcpu_get_sys_reg` and `hv_vcpu_set_sys_reg` reach: those of Apple's
//! headers for each macOS, and nothing more.

use aarch64::{Saved, SysReg};

use crate::profile::{MacOs, Profile};

/// What is behind a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A register of the CPU.
    Cpu(Saved),
    /// `CNTV_CTL_EL0`, whose ISTATUS is computed when it is read.
    TimerControl,
    /// An identification register.
    Id,
    /// `ACTLR_EL1`, of which one bit sticks.
    Actlr,
    /// 64 bits that the software CPU has no use for.
    Storage,
}

/// `ACTLR_EL1.EnTSO`
pub(crate) const EN_TSO: u64 = 1 << 1;

/// What is behind a register of this Mac's framework; `None` if it has no such register.
pub(crate) fn find(reg: SysReg, profile: &Profile) -> Option<Kind> {
    if let Some(saved) = Saved::from_sysreg(reg) {
        return of_saved(saved, profile.macos);
    }
    if is_id(reg, profile.macos) {
        return Some(Kind::Id);
    }
    is_storage(reg, profile).then_some(Kind::Storage)
}

fn of_saved(saved: Saved, macos: MacOs) -> Option<Kind> {
    // Never there, or only with hv_gic.
    const ABSENT: [Saved; 4] = [
        Saved::OslsrEl1,
        Saved::OsdlrEl1,
        Saved::CntpCtlEl0,
        Saved::CntpCvalEl0,
    ];
    if ABSENT.contains(&saved) {
        None
    } else if saved == Saved::ActlrEl1 {
        (macos >= MacOs::V15).then_some(Kind::Actlr)
    } else if saved == Saved::CntvCtlEl0 {
        Some(Kind::TimerControl)
    } else {
        Some(Kind::Cpu(saved))
    }
}

pub(crate) fn is_id(reg: SysReg, macos: MacOs) -> bool {
    match reg.fields() {
        (3, 0, 0, 0, 0 | 5) => true,
        (3, 0, 0, 4..=6, 0 | 1) | (3, 0, 0, 7, 0..=2) => true,
        // ZFR0 and SMFR0.
        (3, 0, 0, 4, 4 | 5) => macos >= MacOs::V15_2,
        _ => false,
    }
}

fn is_storage(reg: SysReg, profile: &Profile) -> bool {
    let sme = profile.macos >= MacOs::V15_2 && profile.chip.sme_bytes().is_some();
    match reg.fields() {
        // Keys of pointer authentication.
        (3, 0, 2, 1 | 2, 0..=3) | (3, 0, 2, 3, 0 | 1) => true,
        // Breakpoints and watchpoints beyond those of the software CPU.
        (2, 0, 0, _, 4..=7) => true,
        // SMPRI, SMCR, TPIDR2.
        (3, 0, 1, 2, 4 | 6) | (3, 3, 13, 0, 5) => sme,
        // SCXTNUM_EL1, SCXTNUM_EL0.
        (3, 0 | 3, 13, 0, 7) => profile.macos >= MacOs::V15_2,
        _ => false,
    }
}

/// Registers whose initial value no document states: whoever runs a vCPU has to set them first.
pub(crate) fn undocumented() -> impl Iterator<Item = Saved> {
    let all = Saved::ALL.iter().copied();
    all.filter(|saved| of_saved(*saved, MacOs::V13).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_come_with_their_macos() {
        let there = |reg, profile: &Profile| find(reg, profile).is_some();
        let (old, mid, new) = (&Profile::M1_13, &Profile::M2_15, &Profile::M4_26);
        for (reg, expected) in [
            (Saved::SctlrEl1.sysreg(), [true, true, true]),
            (Saved::SpEl1.sysreg(), [true, true, true]),
            (Saved::ActlrEl1.sysreg(), [false, true, true]),
            (Saved::CntpCtlEl0.sysreg(), [false, false, false]),
            (Saved::OslsrEl1.sysreg(), [false, false, false]),
            (SysReg::new(3, 0, 0, 4, 4), [false, false, true]),
            (SysReg::new(3, 0, 0, 6, 2), [false, false, false]),
            (SysReg::new(3, 0, 2, 3, 1), [true, true, true]),
            (SysReg::new(3, 0, 1, 2, 6), [false, false, true]),
            (SysReg::new(3, 3, 13, 0, 7), [false, false, true]),
            (SysReg::new(2, 0, 0, 15, 7), [true, true, true]),
            (SysReg::new(3, 3, 14, 0, 0), [false, false, false]),
            (SysReg::new(3, 3, 9, 12, 0), [false, false, false]),
        ] {
            let found = [old, mid, new].map(|profile| there(reg, profile));
            assert_eq!(found, expected, "{reg}");
        }
        assert!(
            !there(SysReg::new(3, 0, 1, 2, 6), &Profile::M2_15_2),
            "no SME"
        );
    }

    #[test]
    fn registers_that_cannot_be_set_need_not_be() {
        assert!(undocumented().all(|saved| find(saved.sysreg(), &Profile::M1_13).is_some()));
        assert!(undocumented().any(|saved| saved == Saved::VbarEl1));
    }
}
