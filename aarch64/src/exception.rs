//! Taking an exception to EL1 (D1.3.2): what a processor does to PC and PSTATE, as a pure function.
//!
//! Everybody who takes an exception in the guest's name shares it: the software CPU, and
//! accelerators whose host leaves one to them.
//!
//! Omitted: exceptions to and from EL2 and EL3, AArch32, and what extensions beyond the `portable`
//! CPU model add that no guest of ours can have (`PSTATE.TCO`, `PSTATE.ALLINT`, `PSTATE.EXLOCK`).

use crate::pstate;

/// `SCTLR_EL1.SPAN`: PAN is left alone.
const SPAN: u64 = 1 << 23;
/// `SCTLR_EL1.DSSBS`: what `PSTATE.SSBS` becomes.
const DSSBS: u64 = 1 << 44;

/// Which of a group's four vectors an exception is taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vector {
    /// Synchronous exceptions.
    Synchronous = 0x000,
    /// Interrupts of Group 1.
    Irq = 0x080,
    /// Interrupts of Group 0.
    Fiq = 0x100,
}

/// What an exception leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The vector's address.
    pub pc: u64,
    /// PSTATE at the vector.
    pub pstate: u64,
    /// `ELR_EL1`
    pub elr: u64,
    /// `SPSR_EL1`
    pub spsr: u64,
}

/// Takes an exception at EL0 or EL1: `pc` is where to return to, `pstate` what to return with.
/// NZCV stay as they are, as the architecture allows.
#[must_use]
pub const fn take(vector: Vector, pc: u64, pstate: u64, vbar: u64, sctlr: u64) -> Taken {
    let group = match (pstate >> 2 & 3, pstate & 1) {
        (0, _) => 0x400,
        (_, 0) => 0x000,
        _ => 0x200,
    };
    let kept = pstate & (pstate::NZCV | pstate::PAN | pstate::DIT);
    let pan = if sctlr & SPAN == 0 { pstate::PAN } else { 0 };
    let ssbs = if sctlr & DSSBS != 0 { pstate::SSBS } else { 0 };
    Taken {
        pc: vbar.wrapping_add(group + vector as u64),
        pstate: kept | pan | ssbs | pstate::DAIF | pstate::EL1H,
        elr: pc,
        spsr: pstate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pstate::{DAIF, DIT, EL0T, EL1H, EL1T, IL, PAN, SS, SSBS, Z};

    #[test]
    fn the_vector_depends_on_the_mode_left() {
        let at = |vector, mode| take(vector, 0, mode, 0x8000, SPAN).pc;
        assert_eq!(at(Vector::Synchronous, EL1T), 0x8000);
        assert_eq!(at(Vector::Irq, EL1H), 0x8280);
        assert_eq!(at(Vector::Fiq, EL0T), 0x8500);
    }

    #[test]
    fn the_state_left_can_be_returned_to() {
        let old = EL0T | Z | IL | SS | DIT | SSBS;
        let taken = take(Vector::Synchronous, 0x1234, old, 0, SPAN);
        assert_eq!((taken.elr, taken.spsr), (0x1234, old));
        assert_eq!(taken.pstate, EL1H | DAIF | Z | DIT);
    }

    #[test]
    fn sctlr_decides_on_pan_and_ssbs() {
        let pstate = |old, sctlr| take(Vector::Irq, 0, old, 0, sctlr).pstate;
        assert_eq!(pstate(EL1H, 0), EL1H | DAIF | PAN);
        assert_eq!(pstate(EL1H | PAN, SPAN), EL1H | DAIF | PAN);
        assert_eq!(pstate(EL1H, SPAN | DSSBS), EL1H | DAIF | SSBS);
    }
}
