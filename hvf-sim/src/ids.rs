//! Identification registers: what a vCPU shows when nobody has set them.
//!
//! Only those of M5 under macOS 26.4 were published as measured. The others are what Linux shows on
//! the bare chip, under the masks that macOS 12.5 was found to apply: guesses, good enough to hold
//! every feature that a guest must not see unasked (pointer authentication, SME, BTI, SSBS).

use aarch64::SysReg;
use aarch64::cpu_model::{self, CTR_EL0, DCZID_EL0};

use crate::profile::{Chip, MacOs, Profile};

/// `MIDR_EL1`
pub const MIDR: SysReg = SysReg::new(3, 0, 0, 0, 0);
/// `MPIDR_EL1`
pub const MPIDR: SysReg = SysReg::new(3, 0, 0, 0, 5);
const PFR0: SysReg = SysReg::new(3, 0, 0, 4, 0);
const PFR1: SysReg = SysReg::new(3, 0, 0, 4, 1);
const ZFR0: SysReg = SysReg::new(3, 0, 0, 4, 4);
const SMFR0: SysReg = SysReg::new(3, 0, 0, 4, 5);
const DFR0: SysReg = SysReg::new(3, 0, 0, 5, 0);
const DFR1: SysReg = SysReg::new(3, 0, 0, 5, 1);
const ISAR0: SysReg = SysReg::new(3, 0, 0, 6, 0);
const ISAR1: SysReg = SysReg::new(3, 0, 0, 6, 1);
const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
const MMFR1: SysReg = SysReg::new(3, 0, 0, 7, 1);
const MMFR2: SysReg = SysReg::new(3, 0, 0, 7, 2);
const CLIDR: SysReg = SysReg::new(3, 1, 0, 0, 1);

/// The registers of `hv_vcpu_config_get_feature_reg`, by number.
const FEATURES: [SysReg; 14] = [
    DFR0, DFR1, ISAR0, ISAR1, MMFR0, MMFR1, MMFR2, PFR0, PFR1, CTR_EL0, CLIDR, DCZID_EL0, SMFR0,
    ZFR0,
];

/// Those of [`FEATURES`] that came with SME.
const FIRST_SME_FEATURE: usize = 12;

/// The values of a vCPU, each of which its owner may set.
#[derive(Clone, Debug)]
pub(crate) struct IdRegisters(Vec<(SysReg, u64)>);

impl IdRegisters {
    /// What a new vCPU shows.
    pub fn new(profile: &Profile) -> Self {
        let chip = profile.chip;
        let mut values = vec![
            (MIDR, 0x610f_0000),
            (MPIDR, 1 << 31),
            (PFR0, 0x1101_0000_1011_0011),
            (PFR1, pfr1(chip)),
            (DFR0, 0x1030_5006),
            (DFR1, 0),
            (ISAR0, 0x0221_1001_1021_2120),
            (ISAR1, isar1(chip, profile.macos)),
            // 40 bits of address, however few the VM has.
            (MMFR0, 0x0000_1000_0f10_0022),
            (MMFR1, 0x1121_2000),
            (MMFR2, 0x1201_1111_0000_1011),
        ];
        if profile.macos >= MacOs::V15_2 {
            values.push((ZFR0, 0));
            values.push((
                SMFR0,
                if chip.sme_bytes().is_some() {
                    SMFR0_OF_M4
                } else {
                    0
                },
            ));
        }
        Self(values)
    }

    /// The value of a register, if it is one that can be set.
    pub fn get(&self, reg: SysReg) -> Option<u64> {
        let row = self.0.iter().find(|(known, _)| *known == reg);
        row.map(|(_, value)| *value)
    }

    /// Sets a register; false if it is not one that can be set.
    pub fn set(&mut self, reg: SysReg, value: u64) -> bool {
        let Some(row) = self.0.iter_mut().find(|(known, _)| *known == reg) else {
            return false;
        };
        row.1 = if reg == MPIDR { value | 1 << 31 } else { value };
        true
    }
}

/// SME2 with all its element types.
const SMFR0_OF_M4: u64 = 0x80f1_00fd_0000_0000;

fn pfr1(chip: Chip) -> u64 {
    match chip {
        Chip::M1 => 0x20,
        Chip::M2 => 0x21,
        Chip::M4 | Chip::M5 => 0x0000_0002_0200_0001,
    }
}

/// `ID_AA64ISAR1_EL1`: Apple's pointer authentication is in API and GPI.
fn isar1(chip: Chip, macos: MacOs) -> u64 {
    const M1: u64 = 0x0111_1021_1402;
    const BF16_DGH_I8MM: u64 = 1 << 44 | 1 << 48 | 1 << 52;
    const MASK_OF_12_5: u64 = 0xfff_ffff_ffff;
    let value = match chip {
        Chip::M1 => M1,
        Chip::M2 | Chip::M4 | Chip::M5 => M1 | BF16_DGH_I8MM,
    };
    if macos < MacOs::V15 {
        value & MASK_OF_12_5
    } else {
        value
    }
}

/// `hv_vcpu_config_get_feature_reg`. Caches are those of the software CPU: guests see them natively.
pub(crate) fn feature(number: u32, profile: &Profile) -> Option<u64> {
    let index = usize::try_from(number).ok()?;
    let reg = *FEATURES.get(index)?;
    if index >= FIRST_SME_FEATURE && profile.macos < MacOs::V15_2 {
        return None;
    }
    IdRegisters::new(profile)
        .get(reg)
        .or_else(|| cpu_model::id_register(reg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(profile: &Profile, reg: SysReg, low: u32) -> u64 {
        IdRegisters::new(profile).get(reg).unwrap() >> low & 15
    }

    #[test]
    fn features_to_hide_are_there_to_be_hidden() {
        for profile in [Profile::M1_13, Profile::M2_15, Profile::M4_26] {
            assert_ne!(field(&profile, ISAR1, 8), 0, "API");
            assert_ne!(field(&profile, ISAR1, 28), 0, "GPI");
            assert_eq!(field(&profile, MMFR0, 0), 2, "40 bits");
            assert_eq!(field(&profile, PFR0, 24), 0, "no GIC");
        }
        assert_ne!(field(&Profile::M1_13, PFR1, 4), 0, "SSBS");
        assert_eq!(field(&Profile::M1_13, PFR1, 0), 0, "BTI");
        assert_ne!(field(&Profile::M2_15, PFR1, 0), 0, "BTI");
        assert_ne!(field(&Profile::M4_26, PFR1, 24), 0, "SME");
    }

    #[test]
    fn what_is_set_is_read_and_the_affinity_has_its_bit() {
        let mut ids = IdRegisters::new(&Profile::M1_13);
        assert!(ids.set(ISAR1, 1));
        assert_eq!(ids.get(ISAR1), Some(1));
        assert!(ids.set(MPIDR, 3));
        assert_eq!(ids.get(MPIDR), Some(0x8000_0003));
        assert!(!ids.set(SMFR0, 0));
        assert!(IdRegisters::new(&Profile::M4_26).set(SMFR0, 0));
    }

    #[test]
    fn feature_registers_depend_on_macos() {
        assert_eq!(feature(0, &Profile::M1_13), Some(0x1030_5006));
        assert_eq!(feature(11, &Profile::M1_13), Some(4));
        assert_eq!(feature(12, &Profile::M1_13), None);
        assert_eq!(feature(12, &Profile::M4_26), Some(SMFR0_OF_M4));
        assert_eq!(feature(14, &Profile::M4_26), None);
    }
}
