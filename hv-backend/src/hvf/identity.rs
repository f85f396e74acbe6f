//! What a vCPU says that it is: its identification registers.
//!
//! The framework keeps a value for each of them and shows it to the guest; which ones it lets be
//! written depends on macOS. So what was written is read back, and a CPU model that does not come out
//! is refused.

use aarch64::cpu_model::{self, CTR_EL0, CpuModel, DCZID_EL0, MPIDR_EL1, PORTABLE};
use aarch64::{SysReg, VcpuId};

use super::abi::{feature, status};
use super::sys::vcpu::RawVcpu;
use super::sys::{Failure, Framework};
use super::sysregs::{Forwarded, forwarded};
use crate::api::HostError;

const PFR1: SysReg = SysReg::new(3, 0, 0, 4, 1);
const DFR0: SysReg = SysReg::new(3, 0, 0, 5, 0);
const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
const CLIDR_EL1: SysReg = SysReg::new(3, 1, 0, 0, 1);

/// `ID_AA64MMFR0_EL1.PARange` for so many address bits, rounded down. Pure.
fn physical_address_range(bits: u8) -> u64 {
    const SIZES: [u8; 7] = [32, 36, 40, 42, 44, 48, 52];
    let fitting = SIZES.iter().take_while(|size| **size <= bits).count();
    fitting.saturating_sub(1) as u64
}

/// What to write to an identification register that reads `has`. Pure.
fn wanted(reg: SysReg, has: u64, model: CpuModel, address_bits: u8) -> u64 {
    let value = match model {
        CpuModel::Portable => cpu_model::id_register(reg).unwrap_or(has),
        CpuModel::Host => match reg {
            // No SME, whose registers nobody saves.
            PFR1 => has & !(0xf << 24),
            // No PMU: the framework leaves its registers to nobody.
            DFR0 => has & !(0xf << 8),
            _ => has,
        },
    };
    if reg != MMFR0 {
        return value;
    }
    // The framework shows what the processor has, also where the VM has less.
    let range = (value & 0xf).min(physical_address_range(address_bits));
    value & !0xf | range
}

/// Whether it is a register in which a CPU model shows.
fn belongs_to_model(reg: SysReg) -> bool {
    let (op0, op1, crn, crm, _) = reg.fields();
    (op0, op1, crn) == (3, 0, 0) && (4..8).contains(&crm)
}

/// Gives a new vCPU its number and its CPU model.
pub fn set(raw: &mut RawVcpu, id: VcpuId, model: CpuModel, bits: u8) -> Result<(), HostError> {
    raw.set_sysreg(MPIDR_EL1, cpu_model::mpidr(id))?;
    for row in PORTABLE.iter().filter(|row| belongs_to_model(row.reg)) {
        let has = raw.sysreg(row.reg)?;
        let value = wanted(row.reg, has, model, bits);
        if value == has {
            continue;
        }
        let set = raw.set_sysreg(row.reg, value);
        let now = raw.sysreg(row.reg)?;
        if set.is_err() || now != value {
            let name = row.name;
            let reason = format!("macOS keeps {name} at {now:#x}, it should be {value:#x}");
            return Err(HostError::CpuModel { model, reason });
        }
    }
    Ok(())
}

/// What the guest reads of an identification register.
pub fn read(raw: &RawVcpu, framework: Framework, reg: SysReg) -> Result<u64, HostError> {
    let features = [
        (CTR_EL0, feature::CTR),
        (CLIDR_EL1, feature::CLIDR),
        (DCZID_EL0, feature::DCZID),
    ];
    if let Some((_, feature)) = features.iter().find(|(of, _)| *of == reg) {
        return Ok(framework.feature(*feature)?);
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

    #[test]
    fn the_address_range_is_that_of_the_vm() {
        for (bits, range) in [(36, 1), (39, 1), (40, 2), (48, 5), (64, 6), (8, 0)] {
            assert_eq!(physical_address_range(bits), range, "{bits}");
        }
        let portable = wanted(MMFR0, 0x0001_0000_0f10_0022, CpuModel::Portable, 36);
        assert_eq!(portable & 0xf, 1);
        assert_eq!(portable >> 4, cpu_model::id_register(MMFR0).unwrap() >> 4);
        assert_eq!(wanted(MMFR0, 0x1122, CpuModel::Host, 48) & 0xf, 2);
    }

    #[test]
    fn what_nobody_saves_is_hidden_in_every_model() {
        for model in CpuModel::ALL {
            assert_eq!(wanted(PFR1, 0x0200_0000, model, 40), 0, "SME");
            assert_eq!(wanted(DFR0, 0x1030_5106, model, 40), 0x1030_5006, "PMU");
        }
        assert_eq!(wanted(PFR1, 1, CpuModel::Host, 40), 1, "BTI stays");
        assert_eq!(wanted(PFR1, 1, CpuModel::Portable, 40), 0);
    }
}
