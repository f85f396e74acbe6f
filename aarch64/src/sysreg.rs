//! System register encodings, and the one table of those that make up a vCPU's saved state.

use std::fmt;

/// A system register by its encoding, packed as `op0[15:14] op1[13:11] CRn[10:7] CRm[6:3] op2[2:0]`
/// (the packing of KVM's and Hypervisor.framework's register numbers).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SysReg(pub u16);

impl SysReg {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`.
    #[must_use]
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        Self(
            ((op0 as u16 & 3) << 14)
                | ((op1 as u16 & 7) << 11)
                | ((crn as u16 & 15) << 7)
                | ((crm as u16 & 15) << 3)
                | (op2 as u16 & 7),
        )
    }

    /// The register named by bits 20:5 of an `MRS`, `MSR` or `SYS` instruction.
    #[must_use]
    pub const fn from_instruction(insn: u32) -> Self {
        Self((insn >> 5) as u16)
    }

    /// op0 to op2 in order: op0, op1, CRn, CRm, op2.
    #[must_use]
    pub const fn fields(self) -> (u8, u8, u8, u8, u8) {
        let v = self.0;
        (
            (v >> 14) as u8,
            (v >> 11 & 7) as u8,
            (v >> 7 & 15) as u8,
            (v >> 3 & 15) as u8,
            (v & 7) as u8,
        )
    }
}

impl fmt::Display for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(saved) = Saved::from_sysreg(*self) {
            return f.write_str(saved.name());
        }
        let (op0, op1, crn, crm, op2) = self.fields();
        write!(f, "S{op0}_{op1}_C{crn}_C{crm}_{op2}")
    }
}

impl fmt::Debug for SysReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! saved_registers {
    ($( $id:ident $name:literal ($op0:literal, $op1:literal, $crn:literal, $crm:literal, $op2:literal) $reset:literal )*) => {
        /// A system register that belongs to a vCPU's saved state.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Saved {
            $( #[doc = concat!("`", $name, "`")] $id, )*
        }

        impl Saved {
            /// Every saved register once, in table order.
            pub const ALL: &'static [Self] = &[$(Self::$id),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            const ROWS: [(&'static str, SysReg, u64); Self::COUNT] =
                [$(($name, SysReg::new($op0, $op1, $crn, $crm, $op2), $reset)),*];
        }
    };
}

impl Saved {
    /// The architectural name, such as `SCTLR_EL1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        Self::ROWS[self as usize].0
    }

    /// The encoding.
    #[must_use]
    pub const fn sysreg(self) -> SysReg {
        Self::ROWS[self as usize].1
    }

    /// The value armlet gives it at reset.
    #[must_use]
    pub const fn reset_value(self) -> u64 {
        Self::ROWS[self as usize].2
    }

    /// The saved register of this encoding.
    #[must_use]
    pub fn from_sysreg(reg: SysReg) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.sysreg() == reg)
    }
}

// The reset value of SCTLR_EL1 is its RES1 bits in ARMv8.0 (D17.2.118): MMU and caches off.
saved_registers! {
    SctlrEl1      "SCTLR_EL1"      (3, 0, 1, 0, 0)  0x30d0_0800
    ActlrEl1      "ACTLR_EL1"      (3, 0, 1, 0, 1)  0
    CpacrEl1      "CPACR_EL1"      (3, 0, 1, 0, 2)  0
    Ttbr0El1      "TTBR0_EL1"      (3, 0, 2, 0, 0)  0
    Ttbr1El1      "TTBR1_EL1"      (3, 0, 2, 0, 1)  0
    TcrEl1        "TCR_EL1"        (3, 0, 2, 0, 2)  0
    SpsrEl1       "SPSR_EL1"       (3, 0, 4, 0, 0)  0
    ElrEl1        "ELR_EL1"        (3, 0, 4, 0, 1)  0
    SpEl0         "SP_EL0"         (3, 0, 4, 1, 0)  0
    SpEl1         "SP_EL1"         (3, 4, 4, 1, 0)  0
    Afsr0El1      "AFSR0_EL1"      (3, 0, 5, 1, 0)  0
    Afsr1El1      "AFSR1_EL1"      (3, 0, 5, 1, 1)  0
    EsrEl1        "ESR_EL1"        (3, 0, 5, 2, 0)  0
    FarEl1        "FAR_EL1"        (3, 0, 6, 0, 0)  0
    ParEl1        "PAR_EL1"        (3, 0, 7, 4, 0)  0
    MairEl1       "MAIR_EL1"       (3, 0, 10, 2, 0) 0
    AmairEl1      "AMAIR_EL1"      (3, 0, 10, 3, 0) 0
    VbarEl1       "VBAR_EL1"       (3, 0, 12, 0, 0) 0
    ContextidrEl1 "CONTEXTIDR_EL1" (3, 0, 13, 0, 1) 0
    TpidrEl1      "TPIDR_EL1"      (3, 0, 13, 0, 4) 0
    TpidrEl0      "TPIDR_EL0"      (3, 3, 13, 0, 2) 0
    TpidrroEl0    "TPIDRRO_EL0"    (3, 3, 13, 0, 3) 0
    CsselrEl1     "CSSELR_EL1"     (3, 2, 0, 0, 0)  0
    CntkctlEl1    "CNTKCTL_EL1"    (3, 0, 14, 1, 0) 0
    CntpCtlEl0    "CNTP_CTL_EL0"   (3, 3, 14, 2, 1) 0
    CntpCvalEl0   "CNTP_CVAL_EL0"  (3, 3, 14, 2, 2) 0
    CntvCtlEl0    "CNTV_CTL_EL0"   (3, 3, 14, 3, 1) 0
    CntvCvalEl0   "CNTV_CVAL_EL0"  (3, 3, 14, 3, 2) 0
    MdccintEl1    "MDCCINT_EL1"    (2, 0, 0, 2, 0)  0
    MdscrEl1      "MDSCR_EL1"      (2, 0, 0, 2, 2)  0
    OslsrEl1      "OSLSR_EL1"      (2, 0, 1, 1, 4)  0xa
    OsdlrEl1      "OSDLR_EL1"      (2, 0, 1, 3, 4)  0
    Dbgbvr0El1    "DBGBVR0_EL1"    (2, 0, 0, 0, 4)  0
    Dbgbcr0El1    "DBGBCR0_EL1"    (2, 0, 0, 0, 5)  0
    Dbgwvr0El1    "DBGWVR0_EL1"    (2, 0, 0, 0, 6)  0
    Dbgwcr0El1    "DBGWCR0_EL1"    (2, 0, 0, 0, 7)  0
    Dbgbvr1El1    "DBGBVR1_EL1"    (2, 0, 0, 1, 4)  0
    Dbgbcr1El1    "DBGBCR1_EL1"    (2, 0, 0, 1, 5)  0
    Dbgwvr1El1    "DBGWVR1_EL1"    (2, 0, 0, 1, 6)  0
    Dbgwcr1El1    "DBGWCR1_EL1"    (2, 0, 0, 1, 7)  0
    Dbgbvr2El1    "DBGBVR2_EL1"    (2, 0, 0, 2, 4)  0
    Dbgbcr2El1    "DBGBCR2_EL1"    (2, 0, 0, 2, 5)  0
    Dbgwvr2El1    "DBGWVR2_EL1"    (2, 0, 0, 2, 6)  0
    Dbgwcr2El1    "DBGWCR2_EL1"    (2, 0, 0, 2, 7)  0
    Dbgbvr3El1    "DBGBVR3_EL1"    (2, 0, 0, 3, 4)  0
    Dbgbcr3El1    "DBGBCR3_EL1"    (2, 0, 0, 3, 5)  0
    Dbgwvr3El1    "DBGWVR3_EL1"    (2, 0, 0, 3, 6)  0
    Dbgwcr3El1    "DBGWCR3_EL1"    (2, 0, 0, 3, 7)  0
    Dbgbvr4El1    "DBGBVR4_EL1"    (2, 0, 0, 4, 4)  0
    Dbgbcr4El1    "DBGBCR4_EL1"    (2, 0, 0, 4, 5)  0
    Dbgbvr5El1    "DBGBVR5_EL1"    (2, 0, 0, 5, 4)  0
    Dbgbcr5El1    "DBGBCR5_EL1"    (2, 0, 0, 5, 5)  0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_saved_register_has_its_own_encoding_and_name() {
        for (i, a) in Saved::ALL.iter().enumerate() {
            assert_eq!(*a as usize, i);
            assert_eq!(Saved::from_sysreg(a.sysreg()), Some(*a));
            assert_eq!(
                Saved::ALL.iter().filter(|b| b.name() == a.name()).count(),
                1
            );
        }
    }

    #[test]
    fn packing_matches_the_instruction_field() {
        // MRS X0, CTR_EL0 = S3_3_C0_C0_1
        let reg = SysReg::from_instruction(0xd53b_0020);
        assert_eq!(reg.fields(), (3, 3, 0, 0, 1));
        assert_eq!(SysReg::new(3, 3, 0, 0, 1), reg);
        assert_eq!(reg.to_string(), "S3_3_C0_C0_1");
    }
}
