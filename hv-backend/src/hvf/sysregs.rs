//! System registers: which the framework keeps, which it leaves to us, and what accesses of the guest
//! to those do. Pure.
//!
//! The framework hands on accesses to what it does not know; which these are changes with macOS, so
//! every register has an answer here, whether it is expected or not. Registers of the GIC's CPU
//! interface, and those nobody knows, are the VMM's.

use aarch64::cpu_model::{self, CCSIDR_EL1};
use aarch64::{Saved, SysReg};

/// Where a register of the saved state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the framework.
    Framework,
    /// In the framework since some version of macOS, here before.
    Newer,
    /// Here: the framework has nothing for it.
    Here,
}

/// Where `reg` is.
#[must_use]
pub fn place(reg: Saved) -> Place {
    match reg {
        // Since macOS 15, and then only the bit that orders memory as x86 does.
        Saved::ActlrEl1 => Place::Newer,
        // The physical timer comes with the framework's GIC only.
        Saved::CntpCtlEl0 | Saved::CntpCvalEl0 | Saved::OslsrEl1 | Saved::OsdlrEl1 => Place::Here,
        Saved::SctlrEl1
        | Saved::CpacrEl1
        | Saved::Ttbr0El1
        | Saved::Ttbr1El1
        | Saved::TcrEl1
        | Saved::SpsrEl1
        | Saved::ElrEl1
        | Saved::SpEl0
        | Saved::SpEl1
        | Saved::Afsr0El1
        | Saved::Afsr1El1
        | Saved::EsrEl1
        | Saved::FarEl1
        | Saved::ParEl1
        | Saved::MairEl1
        | Saved::AmairEl1
        | Saved::VbarEl1
        | Saved::ContextidrEl1
        | Saved::TpidrEl1
        | Saved::TpidrEl0
        | Saved::TpidrroEl0
        | Saved::CsselrEl1
        | Saved::CntkctlEl1
        | Saved::CntvCtlEl0
        | Saved::CntvCvalEl0
        | Saved::MdccintEl1
        | Saved::MdscrEl1
        | Saved::Dbgbvr0El1
        | Saved::Dbgbcr0El1
        | Saved::Dbgwvr0El1
        | Saved::Dbgwcr0El1
        | Saved::Dbgbvr1El1
        | Saved::Dbgbcr1El1
        | Saved::Dbgwvr1El1
        | Saved::Dbgwcr1El1
        | Saved::Dbgbvr2El1
        | Saved::Dbgbcr2El1
        | Saved::Dbgwvr2El1
        | Saved::Dbgwcr2El1
        | Saved::Dbgbvr3El1
        | Saved::Dbgbcr3El1
        | Saved::Dbgwvr3El1
        | Saved::Dbgwcr3El1
        | Saved::Dbgbvr4El1
        | Saved::Dbgbcr4El1
        | Saved::Dbgbvr5El1
        | Saved::Dbgbcr5El1 => Place::Framework,
    }
}

/// The bits of `value` that the register holds, where the framework would not see to it.
#[must_use]
pub fn held(reg: Saved, value: u64) -> u64 {
    // CNTx_CTL.ENABLE and IMASK: ISTATUS follows from the rest. OSLSR: the lock, and that there is
    // one. OSDLR: the lock.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a few registers are not all storage"
    )]
    match reg {
        Saved::CntvCtlEl0 | Saved::CntpCtlEl0 => value & 3,
        Saved::OslsrEl1 => value & 2 | 8,
        Saved::OsdlrEl1 => value & 1,
        _ => value,
    }
}

/// What an access does that the framework handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The VMM decides.
    Vmm,
    /// Reads as this; writes are ignored.
    Fixed(u64),
    /// `CCSIDR_EL1`: depends on `CSSELR_EL1`; writes are ignored.
    CacheSize,
    /// A register of the saved state.
    Saved(Saved),
    /// `OSLAR_EL1`: writes set the lock in `OSLSR_EL1`; reads are ignored.
    OsLock,
    /// The counter, read only.
    Counter,
    /// `CNTP_TVAL_EL0`: the compare value of the physical timer, seen from the counter.
    PhysicalTval,
    /// Maintenance of the caches by set and way, which nothing depends on where caches are coherent.
    Ignored,
}

const OSLAR_EL1: SysReg = SysReg::new(2, 0, 1, 0, 4);
const DBGCLAIMSET_EL1: SysReg = SysReg::new(2, 0, 7, 8, 6);
const CNTP_TVAL_EL0: SysReg = SysReg::new(3, 3, 14, 2, 0);
/// `DBGCLAIMSET_EL1` reads as the tags there are.
const CLAIM_TAGS: u64 = 0xff;

/// What an access to `reg` does.
#[must_use]
pub fn forwarded(reg: SysReg) -> Forwarded {
    match reg {
        OSLAR_EL1 => return Forwarded::OsLock,
        DBGCLAIMSET_EL1 => return Forwarded::Fixed(CLAIM_TAGS),
        CNTP_TVAL_EL0 => return Forwarded::PhysicalTval,
        CCSIDR_EL1 => return Forwarded::CacheSize,
        _ => {}
    }
    if let Some(saved) = Saved::from_sysreg(reg) {
        return Forwarded::Saved(saved);
    }
    if let Some(value) = cpu_model::id_register(reg) {
        return Forwarded::Fixed(value);
    }
    match reg.fields() {
        // DC ISW, CSW and CISW.
        (1, 0, 7, 6 | 10 | 14, 2) => Forwarded::Ignored,
        // Debug, trace: reads as zero, ignores writes.
        (2, ..) => Forwarded::Fixed(0),
        // LORSA_EL1 to LORID_EL1: no limited ordering regions.
        (3, 0, 10, 4, 0..=3 | 7) => Forwarded::Fixed(0),
        // CNTPCT_EL0, CNTVCT_EL0, and both in order.
        (3, 3, 14, 0, 1 | 2 | 5 | 6) => Forwarded::Counter,
        _ => Forwarded::Vmm,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_registers_are_answered_here() {
        for (fields, answer) in [
            ((2, 0, 1, 0, 4), Forwarded::OsLock),
            ((2, 0, 1, 1, 4), Forwarded::Saved(Saved::OslsrEl1)),
            ((2, 0, 1, 3, 4), Forwarded::Saved(Saved::OsdlrEl1)),
            // macOS 26 hands this on, older ones do not.
            ((2, 0, 0, 2, 0), Forwarded::Saved(Saved::MdccintEl1)),
            ((2, 0, 1, 4, 4), Forwarded::Fixed(0)),
            ((2, 0, 7, 8, 6), Forwarded::Fixed(0xff)),
            ((2, 1, 0, 0, 1), Forwarded::Fixed(0)),
            // ID_AA64ISAR2_EL1 and ID_AA64MMFR3_EL1.
            ((3, 0, 0, 6, 2), Forwarded::Fixed(0)),
            ((3, 0, 0, 7, 3), Forwarded::Fixed(0)),
            ((3, 1, 0, 0, 0), Forwarded::CacheSize),
            ((3, 0, 10, 4, 3), Forwarded::Fixed(0)),
            ((3, 0, 1, 0, 1), Forwarded::Saved(Saved::ActlrEl1)),
            ((3, 3, 14, 0, 1), Forwarded::Counter),
            ((3, 3, 14, 2, 0), Forwarded::PhysicalTval),
            ((3, 3, 14, 2, 1), Forwarded::Saved(Saved::CntpCtlEl0)),
            ((1, 0, 7, 14, 2), Forwarded::Ignored),
        ] {
            let (op0, op1, crn, crm, op2) = fields;
            let reg = SysReg::new(op0, op1, crn, crm, op2);
            assert_eq!(forwarded(reg), answer, "{reg}");
        }
    }

    #[test]
    fn the_gic_and_the_unknown_are_the_vmms() {
        for fields in [
            (3, 0, 12, 12, 0), // ICC_IAR1_EL1
            (3, 0, 4, 6, 0),   // ICC_PMR_EL1
            (3, 3, 9, 12, 0),  // PMCR_EL0
            (3, 0, 9, 14, 1),  // PMINTENSET_EL1
            (3, 0, 15, 1, 0),  // implementation defined
            (3, 4, 1, 1, 0),   // HCR_EL2
        ] {
            let (op0, op1, crn, crm, op2) = fields;
            let reg = SysReg::new(op0, op1, crn, crm, op2);
            assert_eq!(forwarded(reg), Forwarded::Vmm, "{reg}");
        }
    }

    #[test]
    fn every_register_has_an_answer_and_debug_never_reaches_the_vmm() {
        for bits in 0..=u16::MAX {
            let reg = SysReg(bits);
            let answer = forwarded(reg);
            if reg.fields().0 == 2 {
                assert_ne!(answer, Forwarded::Vmm, "{reg}");
            }
        }
    }

    #[test]
    fn what_follows_from_other_bits_is_not_held() {
        assert_eq!(held(Saved::CntvCtlEl0, 7), 3);
        assert_eq!(held(Saved::OslsrEl1, 0), 8);
        assert_eq!(held(Saved::OslsrEl1, 0xa), 0xa);
        assert_eq!(held(Saved::OsdlrEl1, 3), 1);
        assert_eq!(held(Saved::TcrEl1, u64::MAX), u64::MAX);
    }
}
