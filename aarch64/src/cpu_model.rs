//! CPU models: [`CpuModel`], and what the identification registers of `portable` say.
//!
//! `portable` is the least that every accelerator can offer: ARMv8.0-A with FP and AdvSIMD, and the
//! few later extensions that all hosts of interest have (CRC32, LSE, RDM, AES and PMULL, SHA1,
//! SHA256, FP16, DotProd, LRCPC, DC CVAP, PAN). The software CPU implements exactly this, other
//! accelerators mask their hosts' registers down to it; [`crate::id_contract`] says how. Not here:
//! AArch32, EL2, EL3, PMU, SVE, 64K pages, hardware management of access flags.
//!
//! Registers that depend on the vCPU or its state are the accelerator's: `MPIDR_EL1` (see
//! [`mpidr`]), `DCZID_EL0.DZP`, `CCSIDR_EL1` (see [`ccsidr`]).

use std::fmt;

use crate::{SysReg, VcpuId};

/// What a guest finds its processor to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuModel {
    /// The same on every host: what this module describes.
    Portable,
    /// What the host's processor offers and a vCPU's saved state has room for.
    Host,
}

impl CpuModel {
    /// Every model.
    pub const ALL: [Self; 2] = [Self::Portable, Self::Host];

    /// The name users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Host => "host",
        }
    }

    /// The model of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `CTR_EL0`.
pub const CTR_EL0: SysReg = SysReg::new(3, 3, 0, 0, 1);
/// `DCZID_EL0`.
pub const DCZID_EL0: SysReg = SysReg::new(3, 3, 0, 0, 7);
/// `MPIDR_EL1`.
pub const MPIDR_EL1: SysReg = SysReg::new(3, 0, 0, 0, 5);
/// `CCSIDR_EL1`.
pub const CCSIDR_EL1: SysReg = SysReg::new(3, 1, 0, 0, 0);

/// Bytes of a cache line, for instructions and data.
pub const CACHE_LINE: u64 = 64;
/// Bytes that `DC ZVA` clears.
pub const ZVA_BYTES: u64 = 64;
/// Physical address bits.
pub const PA_BITS: u32 = 40;
/// Breakpoints and watchpoints.
pub const BREAKPOINTS: usize = 6;
/// Watchpoints.
pub const WATCHPOINTS: usize = 4;
/// The lowest breakpoint that can compare context identifiers.
pub const FIRST_CONTEXT_BREAKPOINT: usize = 4;

/// An identification register and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRegister {
    /// Architectural name.
    pub name: &'static str,
    /// Encoding.
    pub reg: SysReg,
    /// What the model says.
    pub value: u64,
}

/// `value` in the 4-bit field from bit `low` on.
const fn field(low: u32, value: u64) -> u64 {
    value << low
}

const fn id(name: &'static str, reg: SysReg, value: u64) -> IdRegister {
    IdRegister { name, reg, value }
}

/// Every identification register that is the same on all vCPUs and not zero, and those whose
/// zero is worth naming.
pub const PORTABLE: &[IdRegister] = &[
    // Implementer 0: for software. Architecture 0xf: see the identification registers.
    id("MIDR_EL1", SysReg::new(3, 0, 0, 0, 0), 0x000f_a640),
    id("REVIDR_EL1", SysReg::new(3, 0, 0, 0, 6), 0),
    id(
        "ID_AA64PFR0_EL1",
        SysReg::new(3, 0, 0, 4, 0),
        // EL0 and EL1 AArch64 only; half precision in FP and AdvSIMD; GIC system registers; CSV2 and CSV3: no speculation to defend
        // against that the host has not defended against already.
        field(0, 1)
            | field(4, 1)
            | field(16, 1)
            | field(20, 1)
            | field(24, 1)
            | field(56, 1)
            | field(60, 1),
    ),
    id("ID_AA64PFR1_EL1", SysReg::new(3, 0, 0, 4, 1), 0),
    id(
        "ID_AA64DFR0_EL1",
        SysReg::new(3, 0, 0, 5, 0),
        // ARMv8.0 debug; breakpoints, watchpoints, context-aware breakpoints, each minus one.
        field(0, 6)
            | field(12, BREAKPOINTS as u64 - 1)
            | field(20, WATCHPOINTS as u64 - 1)
            | field(28, (BREAKPOINTS - FIRST_CONTEXT_BREAKPOINT) as u64 - 1),
    ),
    id(
        "ID_AA64ISAR0_EL1",
        SysReg::new(3, 0, 0, 6, 0),
        // AES and PMULL, SHA1, SHA256, CRC32, LSE, RDM, DotProd.
        field(4, 2)
            | field(8, 1)
            | field(12, 1)
            | field(16, 1)
            | field(20, 2)
            | field(28, 1)
            | field(44, 1),
    ),
    id(
        "ID_AA64ISAR1_EL1",
        SysReg::new(3, 0, 0, 6, 1),
        // DC CVAP, LRCPC.
        field(0, 1) | field(20, 1),
    ),
    id(
        "ID_AA64MMFR0_EL1",
        SysReg::new(3, 0, 0, 7, 0),
        // 40-bit physical addresses, 16-bit ASIDs, little-endian only, granules 4K and 16K.
        field(0, 2) | field(4, 2) | field(20, 1) | field(24, 0xf),
    ),
    id(
        "ID_AA64MMFR1_EL1",
        SysReg::new(3, 0, 0, 7, 1),
        // PAN, without the AT variants that honour it.
        field(20, 1),
    ),
    id("ID_AA64MMFR2_EL1", SysReg::new(3, 0, 0, 7, 2), 0),
    // L1 instruction and data, unified L2; coherent from L2 on.
    id(
        "CLIDR_EL1",
        SysReg::new(3, 1, 0, 0, 1),
        0b011 | 0b100 << 3 | 1 << 21 | 2 << 24 | 1 << 27,
    ),
    id("AIDR_EL1", SysReg::new(3, 1, 0, 0, 7), 0),
    // PIPT, 64-byte lines. IDC and DIC are 0: guests clean and invalidate after writing code, as
    // they must on the hosts that saved state may move to.
    id("CTR_EL0", CTR_EL0, 0x8444_c004),
    id("DCZID_EL0", DCZID_EL0, 4),
];

/// The value of an identification register of the model. Those that are architected but not in
/// the table, the whole space `S3_0_C0_C1..7`, are zero.
#[must_use]
pub fn id_register(reg: SysReg) -> Option<u64> {
    if let Some(row) = PORTABLE.iter().find(|row| row.reg == reg) {
        return Some(row.value);
    }
    let (op0, op1, crn, crm, _) = reg.fields();
    ((op0, op1, crn) == (3, 0, 0) && (1..8).contains(&crm)).then_some(0)
}

/// `MPIDR_EL1` of a vCPU.
#[must_use]
pub fn mpidr(vcpu: VcpuId) -> u64 {
    1 << 31 | vcpu.affinity()
}

/// `CCSIDR_EL1` for what `CSSELR_EL1` selects: 32 KiB of L1, 1 MiB of L2.
#[must_use]
pub fn ccsidr(csselr: u64) -> u64 {
    let geometry = |sets: u64, ways: u64| (sets - 1) << 13 | (ways - 1) << 3 | 2;
    match csselr & 0xf {
        0 | 1 => geometry(128, 4),
        2 => geometry(1024, 16),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_well_known_registers() {
        let value = |op1, crm, op2| id_register(SysReg::new(3, op1, 0, crm, op2));
        assert_eq!(value(0, 6, 0), Some(0x0000_1000_1021_1120));
        assert_eq!(value(0, 7, 0), Some(0x0f10_0022));
        assert_eq!(value(0, 4, 0), Some(0x1100_0000_0111_0011));
        assert_eq!(value(0, 5, 0), Some(0x1030_5006));
        assert_eq!(value(0, 2, 3), Some(0), "AArch32 registers are zero");
        assert_eq!(value(0, 0, 4), None);
        assert_eq!(mpidr(VcpuId(17)), 0x8000_0101);
    }

    #[test]
    fn models_are_found_by_their_names() {
        for model in CpuModel::ALL {
            assert_eq!(CpuModel::named(&model.to_string()), Some(model));
        }
        for wrong in ["", "Portable", "max", "auto"] {
            assert_eq!(CpuModel::named(wrong), None);
        }
    }

    #[test]
    fn cache_sizes_multiply_out() {
        let size = |v: u64| (((v >> 13) + 1) * ((v >> 3 & 0x3ff) + 1)) << ((v & 7) + 4);
        assert_eq!(size(ccsidr(0)), 32 << 10);
        assert_eq!(size(ccsidr(2)), 1 << 20);
        assert_eq!(ccsidr(7), 0);
    }
}
