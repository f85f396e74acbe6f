//! What a vCPU says that it is: its identification registers.
//!
//! The framework keeps a value for each of them and shows it to the guest; which ones it lets be
//! written depends on macOS. So what was written is read back, and a CPU model that does not come out
//! is refused. What to write is for [`crate::id_policy`] to say; what is particular here:
//! - Registers that this macOS does not know are read by the guest through us, as zero.
//! - The framework shows the processor's address range, also where the VM has less.
//! - The GIC's CPU interface is ours, so the guest is told of it.
//! - Pointer authentication, SME, MTE and the PMU are hidden in the model `host` too: nobody saves
//!   their registers.
//! - `CTR_EL0` and `DCZID_EL0` are the processor's. Its line sizes are compared with the model's, but
//!   not that it needs no cleaning of data caches (`IDC`), which no Mac can hide: a guest that has
//!   seen that needs another host of the kind.

use aarch64::cpu_model::{self, CTR_EL0, CpuModel, DCZID_EL0, MPIDR_EL1};
use aarch64::id_contract::{ID_CONTRACT, IdContract};
use aarch64::{SysReg, VcpuId};

use super::abi::{feature, status};
use super::sys::vcpu::RawVcpu;
use super::sys::{Failure, Framework};
use super::sysregs::{Forwarded, forwarded};
use crate::api::HostError;
use crate::id_policy::{self, Trouble};

const PFR0: SysReg = SysReg::new(3, 0, 0, 4, 0);
const PFR1: SysReg = SysReg::new(3, 0, 0, 4, 1);
const DFR0: SysReg = SysReg::new(3, 0, 0, 5, 0);
const ISAR1: SysReg = SysReg::new(3, 0, 0, 6, 1);
const ISAR2: SysReg = SysReg::new(3, 0, 0, 6, 2);
const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
const CLIDR_EL1: SysReg = SysReg::new(3, 1, 0, 0, 1);
/// `ID_AA64PFR0_EL1.GIC`
const GIC: u64 = 0xf << 24;
/// `ID_AA64PFR1_EL1.MTE` and `SME`
const MTE_AND_SME: u64 = 0xf << 8 | 0xf << 24;
/// `ID_AA64ISAR1_EL1.APA`, `API`, `GPA` and `GPI`
const ISAR1_PAUTH: u64 = 0xff << 4 | 0xff << 24;
/// `ID_AA64ISAR2_EL1.GPA3` and `APA3`
const ISAR2_PAUTH: u64 = 0xff << 8;
/// `ID_AA64DFR0_EL1.PMUVer`
const PMU: u64 = 0xf << 8;
/// `ID_AA64MMFR0_EL1.PARange`
const PA_RANGE: u64 = 0xf;

/// `ID_AA64MMFR0_EL1.PARange` for so many address bits, rounded down. Pure.
fn physical_address_range(bits: u8) -> u64 {
    const SIZES: [u8; 7] = [32, 36, 40, 42, 44, 48, 52];
    let fitting = SIZES.iter().take_while(|size| **size <= bits).count();
    fitting.saturating_sub(1) as u64
}

/// What a register that reads `has` should say, before any model is looked at. Pure.
fn true_value(reg: SysReg, has: u64, address_bits: u8) -> u64 {
    match reg {
        PFR0 => has & !GIC | 1 << 24,
        PFR1 => has & !MTE_AND_SME,
        ISAR1 => has & !ISAR1_PAUTH,
        ISAR2 => has & !ISAR2_PAUTH,
        DFR0 => has & !PMU,
        MMFR0 => has & !PA_RANGE | (has & PA_RANGE).min(physical_address_range(address_bits)),
        _ => has,
    }
}

/// What to write to a register that reads `has`, and what stands in the way of the model. Pure.
fn wanted(row: &IdContract, has: u64, model: CpuModel, bits: u8) -> (u64, Vec<Trouble>) {
    let value = true_value(row.reg, has, bits);
    match model {
        CpuModel::Portable => {
            let plan = id_policy::portable(row, model_range(row, value, bits), u64::MAX);
            let value = plan.write.unwrap_or(row.portable());
            (true_value(row.reg, value, bits), plan.troubles)
        }
        CpuModel::Host => {
            let value = id_policy::host(row, value, u64::MAX).unwrap_or(value);
            (value, Vec::new())
        }
    }
}

/// A value with the model's address range, where it has that of a VM with less.
fn model_range(row: &IdContract, value: u64, bits: u8) -> u64 {
    if row.reg == MMFR0 && value & PA_RANGE == physical_address_range(bits) {
        let range = (value & PA_RANGE).max(row.portable() & PA_RANGE);
        return value & !PA_RANGE | range;
    }
    value
}

/// What of the model a register lacks that now reads `now`. Pure.
fn lacks(row: &IdContract, now: u64, value: u64, model: CpuModel, bits: u8) -> Vec<Trouble> {
    match model {
        CpuModel::Host => Vec::new(),
        CpuModel::Portable if now == value => Vec::new(),
        CpuModel::Portable => id_policy::settled(row, model_range(row, now, bits)),
    }
}

/// Gives a new vCPU its number and its CPU model.
pub fn set(
    raw: &mut RawVcpu,
    framework: Framework,
    id: VcpuId,
    model: CpuModel,
    bits: u8,
) -> Result<(), HostError> {
    raw.set_sysreg(MPIDR_EL1, cpu_model::mpidr(id))?;
    let mut troubles = Vec::new();
    for row in ID_CONTRACT {
        if let Some(feature) = feature_of(row.reg) {
            troubles.extend(fixed(row, framework.feature(feature)?, model));
            continue;
        }
        let Ok(has) = raw.sysreg(row.reg) else {
            // Unknown to this macOS.
            continue;
        };
        let (value, trouble) = wanted(row, has, model, bits);
        troubles.extend(trouble);
        if value != has {
            // A write that is refused shows in what is read next.
            let _ = raw.set_sysreg(row.reg, value);
            let now = raw.sysreg(row.reg)?;
            troubles.extend(lacks(row, now, value, model, bits));
        }
    }
    let version = framework.system_version().unwrap_or_default();
    id_policy::refusal(format!("macOS {version}").trim_end(), &troubles).map_or(Ok(()), Err)
}

/// What of the model a register lacks that is the processor's. Pure.
fn fixed(row: &IdContract, has: u64, model: CpuModel) -> Vec<Trouble> {
    if model == CpuModel::Host {
        return Vec::new();
    }
    let mut troubles = id_policy::portable(row, has, 0).troubles;
    troubles.retain(|trouble| trouble.field.name != "IDC");
    troubles
}

/// The name by which the framework tells of a register that is the processor's.
fn feature_of(reg: SysReg) -> Option<u32> {
    match reg {
        CTR_EL0 => Some(feature::CTR),
        CLIDR_EL1 => Some(feature::CLIDR),
        DCZID_EL0 => Some(feature::DCZID),
        _ => None,
    }
}

/// What the guest reads of an identification register.
pub fn read(raw: &RawVcpu, framework: Framework, reg: SysReg) -> Result<u64, HostError> {
    if let Some(feature) = feature_of(reg) {
        return Ok(framework.feature(feature)?);
    }
    let (op0, _, crn, ..) = reg.fields();
    if (op0, crn) != (3, 0) {
        return Err(HostError::NoRegister(reg));
    }
    match (raw.sysreg(reg), forwarded(reg)) {
        (Ok(value), _) | (Err(_), Forwarded::Fixed(value)) => Ok(value),
        (Err(_), _) => Err(HostError::NoRegister(reg)),
    }
}

/// Why there is no vCPU, in words for a user.
pub fn vcpu_refused(failure: Failure) -> HostError {
    let line = match failure.code {
        status::NO_RESOURCES => {
            "macOS has no vCPU left for this VM: start it with fewer, or end other VMs"
        }
        status::BUSY => "this thread has a vCPU already",
        _ => return failure.into(),
    };
    HostError::Limit(line.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Registers like those of a new vCPU on a recent Mac without the framework's GIC.
    const MAC: [(&str, u64); 7] = [
        ("ID_AA64PFR0_EL1", 0x1101_0000_1011_0011),
        ("ID_AA64PFR1_EL1", 0x0000_0000_0200_0001),
        ("ID_AA64DFR0_EL1", 0x1030_5006),
        ("ID_AA64ISAR0_EL1", 0x0221_1001_1021_2120),
        ("ID_AA64ISAR1_EL1", 0x0010_1111_0231_2502),
        ("ID_AA64MMFR0_EL1", 0x0000_1000_0f10_0022),
        ("ID_AA64SMFR0_EL1", 0x8cff_0080_0000_0000),
    ];

    fn row(name: &str) -> &'static IdContract {
        ID_CONTRACT.iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn a_mac_can_be_made_the_portable_model() {
        for (name, has) in MAC {
            let row = row(name);
            for bits in [36, 40] {
                let (value, troubles) = wanted(row, has, CpuModel::Portable, bits);
                assert_eq!(troubles, [], "{name}");
                let expected = true_value(row.reg, row.portable(), bits);
                assert_eq!(value, expected, "{name}");
                assert_eq!(lacks(row, value, value, CpuModel::Portable, bits), []);
            }
        }
        let mmfr0 = wanted(row("ID_AA64MMFR0_EL1"), 0x0f10_0022, CpuModel::Portable, 36);
        assert_eq!(mmfr0.0 & PA_RANGE, 1, "the VM has 36 address bits");
    }

    #[test]
    fn a_write_that_does_not_stick_is_noticed() {
        let row = row("ID_AA64ISAR1_EL1");
        let has = 0x0010_1111_0231_2502;
        let (value, _) = wanted(row, has, CpuModel::Portable, 36);
        let troubles = lacks(row, has, value, CpuModel::Portable, 36);
        assert!(
            troubles.iter().any(|t| t.field.name == "API"),
            "{troubles:?}"
        );
    }

    #[test]
    fn the_address_range_is_that_of_the_vm() {
        for (bits, range) in [(36, 1), (39, 1), (40, 2), (48, 5), (64, 6), (8, 0)] {
            assert_eq!(physical_address_range(bits), range, "{bits}");
        }
        assert_eq!(true_value(MMFR0, 0x1122, 48) & PA_RANGE, 2);
        assert_eq!(true_value(MMFR0, 0x1122, 36) & PA_RANGE, 1);
    }

    #[test]
    fn what_nobody_saves_is_hidden_in_every_model() {
        for model in CpuModel::ALL {
            let value = |name, has| wanted(row(name), has, model, 40).0;
            assert_eq!(value("ID_AA64PFR1_EL1", 0x0200_0300), 0, "SME, MTE");
            let isar1 = value("ID_AA64ISAR1_EL1", 0x0010_1111_0231_2502);
            assert_eq!(isar1 & 0xff00_0ff0, 0, "keys of pointers");
            assert_eq!(value("ID_AA64ISAR2_EL1", 0x0000_5500), 0, "the same");
            assert_eq!(value("ID_AA64DFR0_EL1", 0x1030_5106), 0x1030_5006, "PMU");
        }
        let bti = |model| wanted(row("ID_AA64PFR1_EL1"), 1, model, 40).0;
        assert_eq!(bti(CpuModel::Host), 1);
        assert_eq!(bti(CpuModel::Portable), 0);
    }

    #[test]
    fn line_sizes_are_compared_and_nothing_else_that_a_mac_cannot_hide() {
        let ctr = row("CTR_EL0");
        assert_eq!(fixed(ctr, 0x9_9444_c004, CpuModel::Portable), []);
        let longer = fixed(ctr, 0x9_9444_c005, CpuModel::Portable);
        assert_eq!(longer.len(), 1);
        assert_eq!(fixed(ctr, 0x9_9444_c005, CpuModel::Host), []);
    }
}
