//! Which bits of the saved system registers exist in the CPU model `portable`.
//!
//! The software CPU keeps exactly these. A host's processor may keep more, of features that the
//! identification registers hide; guests set some of them without asking, since they mean nothing
//! where the feature is missing. They are no part of a `portable` guest's state.

use crate::pstate;
use crate::state::VcpuState;
use crate::sysreg::Saved;

/// The bits of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Those that hold what is written.
    pub exist: u64,
    /// Those that read as one.
    pub ones: u64,
}

impl Bits {
    /// What a register with these bits holds after `value` was written.
    #[must_use]
    pub const fn kept(self, value: u64) -> u64 {
        value & self.exist | self.ones
    }
}

/// `SCTLR_EL1`: M, A, C, SA, SA0, ITD, SED, UMA, I, DZE, UCT, nTWI, nTWE, WXN, SPAN, UCI. The
/// model is little-endian only, so EE and E0E do not exist.
const SCTLR: u64 = 0x048d_d39f;
const SCTLR_ONES: u64 = 0x3050_0800;
/// `TCR_EL1` without what later extensions added.
const TCR: u64 = 0x77_ffff_ffbf;
const BCR: u64 = 0x00ff_e1e7;
const WCR: u64 = 0x1f1f_ffff;

/// Registers that are not just 64 bits of storage.
const ROWS: &[(Saved, u64, u64)] = &[
    (Saved::SctlrEl1, SCTLR, SCTLR_ONES),
    (Saved::ActlrEl1, 0, 0),
    (Saved::CpacrEl1, 3 << 20, 0),
    (Saved::Ttbr0El1, !1, 0),
    (Saved::Ttbr1El1, !1, 0),
    (Saved::TcrEl1, TCR, 0),
    (Saved::SpsrEl1, pstate::DEFINED | pstate::MODE, 0),
    (Saved::EsrEl1, 0xffff_ffff, 0),
    (Saved::VbarEl1, !0x7ff, 0),
    (Saved::ContextidrEl1, 0xffff_ffff, 0),
    (Saved::CsselrEl1, 0xf, 0),
    (Saved::CntkctlEl1, 0x3ff, 0),
    (Saved::CntpCtlEl0, 3, 0),
    (Saved::CntvCtlEl0, 3, 0),
    (Saved::MdccintEl1, 0x6000_0000, 0),
    (Saved::MdscrEl1, 0xf041, 0),
    (Saved::OslsrEl1, 2, 8),
    (Saved::OsdlrEl1, 1, 0),
    (Saved::Dbgbvr0El1, !3, 0),
    (Saved::Dbgbvr1El1, !3, 0),
    (Saved::Dbgbvr2El1, !3, 0),
    (Saved::Dbgbvr3El1, !3, 0),
    (Saved::Dbgbcr0El1, BCR, 0),
    (Saved::Dbgbcr1El1, BCR, 0),
    (Saved::Dbgbcr2El1, BCR, 0),
    (Saved::Dbgbcr3El1, BCR, 0),
    (Saved::Dbgbcr4El1, BCR, 0),
    (Saved::Dbgbcr5El1, BCR, 0),
    (Saved::Dbgwvr0El1, !3, 0),
    (Saved::Dbgwvr1El1, !3, 0),
    (Saved::Dbgwvr2El1, !3, 0),
    (Saved::Dbgwvr3El1, !3, 0),
    (Saved::Dbgwcr0El1, WCR, 0),
    (Saved::Dbgwcr1El1, WCR, 0),
    (Saved::Dbgwcr2El1, WCR, 0),
    (Saved::Dbgwcr3El1, WCR, 0),
];

/// Bits of `FPCR`: FZ16, FZ, DN, AHP and the rounding mode.
pub const FPCR: u32 = 0x07c8_0000;
/// Bits of `FPSR`: the exception flags and QC.
pub const FPSR: u32 = 0x0800_009f;

/// [`Bits`] of every saved register, by its number.
static BITS: [Bits; Saved::COUNT] = {
    let all = Bits {
        exist: u64::MAX,
        ones: 0,
    };
    let mut bits = [all; Saved::COUNT];
    let mut i = 0;
    while i < ROWS.len() {
        let (reg, exist, ones) = ROWS[i];
        bits[reg as usize] = Bits { exist, ones };
        i += 1;
    }
    bits
};

/// The bits of a saved register.
#[inline]
#[must_use]
pub fn bits(reg: Saved) -> Bits {
    BITS[reg as usize]
}

/// Drops from a vCPU's state what does not exist in the model.
pub fn drop_others(state: &mut VcpuState) {
    let VcpuState { core, simd, sys } = state;
    core.pstate &= pstate::DEFINED;
    simd.fpcr &= FPCR;
    simd.fpsr &= FPSR;
    for reg in Saved::ALL {
        sys[*reg] = bits(*reg).kept(sys[*reg]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_after_reset_has_nothing_to_drop() {
        let mut state = VcpuState::default();
        drop_others(&mut state);
        assert_eq!(state, VcpuState::default());
    }

    #[test]
    fn reset_values_have_no_bits_that_do_not_exist() {
        for reg in Saved::ALL {
            let reset = reg.reset_value();
            assert_eq!(bits(*reg).kept(reset), reset, "{}", reg.name());
        }
    }

    #[test]
    fn every_register_has_one_row_at_most() {
        for (i, (reg, ..)) in ROWS.iter().enumerate() {
            assert!(ROWS[..i].iter().all(|(other, ..)| other != reg), "{reg:?}");
        }
    }
}
