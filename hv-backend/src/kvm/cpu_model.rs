//! The CPU model of a VM: what its identification registers say.
//!
//! Since Linux 6.7 a VM's identification registers can be written before it first runs; the kernel
//! says which bits, gives every vCPU of the VM the same, and traps the guest's reads where the
//! processor would say something else. What is to be written is for [`crate::id_policy`] to say.
//!
//! `DCZID_EL0` is none of these registers: guests and programs read the processor's, and so does
//! this module.

use aarch64::SysReg;
use aarch64::cpu_model::{CpuModel, DCZID_EL0};
use aarch64::id_contract::{ID_CONTRACT, IdContract};
use kvm_ioctls::{VcpuFd, VmFd};

use super::registers::{self, Place, mask_index};
use super::{failed, kernel_release, sys};
use crate::api::HostError;
use crate::id_policy::{self, Plan};

/// Gives `vm` the CPU model, by way of one of its vCPUs. It has its GIC, whose presence these
/// registers show too, and no vCPU has run.
pub fn enforce(vm: &VmFd, vcpu: &VcpuFd, model: CpuModel) -> Result<(), HostError> {
    let masks = sys::writable_id_registers(vm);
    let writable = |reg| mask_index(reg).map_or(0, |index| masks[index]);
    match model {
        CpuModel::Portable => make_portable(vcpu, writable),
        CpuModel::Host => hide_unsaved(vcpu, writable),
    }
}

fn make_portable(vcpu: &VcpuFd, writable: impl Fn(SysReg) -> u64) -> Result<(), HostError> {
    let mut plans = Vec::with_capacity(ID_CONTRACT.len());
    let mut troubles = Vec::new();
    for row in ID_CONTRACT {
        let plan = id_policy::portable(row, read(vcpu, row)?, writable(row.reg));
        let Plan {
            write,
            troubles: new,
        } = plan;
        troubles.extend(new);
        plans.push((row, write));
    }
    refuse(&troubles)?;
    for (row, value) in plans {
        if let Some(value) = value {
            write(vcpu, row, value, CpuModel::Portable)?;
            troubles.extend(id_policy::settled(row, read(vcpu, row)?));
        }
    }
    refuse(&troubles)
}

fn hide_unsaved(vcpu: &VcpuFd, writable: impl Fn(SysReg) -> u64) -> Result<(), HostError> {
    for row in ID_CONTRACT.iter().filter(|row| row.unsaved != 0) {
        let has = read(vcpu, row)?;
        if let Some(value) = id_policy::host(row, has, writable(row.reg)) {
            write(vcpu, row, value, CpuModel::Host)?;
        }
    }
    Ok(())
}

fn refuse(troubles: &[id_policy::Trouble]) -> Result<(), HostError> {
    if troubles.is_empty() {
        return Ok(());
    }
    let kernel = format!("Linux {}", kernel_release());
    id_policy::refusal(&kernel, troubles).map_or(Ok(()), Err)
}

/// A register that the kernel does not know yet is one that its guests read as zero.
fn read(vcpu: &VcpuFd, row: &IdContract) -> Result<u64, HostError> {
    if row.reg == DCZID_EL0 {
        return Ok(sys::zeroing_block());
    }
    let Place::Register(number) = registers::place(row.reg) else {
        return Ok(0);
    };
    let mut bytes = [0; 8];
    match vcpu.get_one_reg(number, &mut bytes) {
        Ok(_) => Ok(u64::from_le_bytes(bytes)),
        Err(error) if error.errno() == libc::ENOENT => Ok(0),
        Err(error) => Err(failed("KVM_GET_ONE_REG of an identification register")(
            error,
        )),
    }
}

fn write(vcpu: &VcpuFd, row: &IdContract, value: u64, model: CpuModel) -> Result<(), HostError> {
    let Place::Register(number) = registers::place(row.reg) else {
        return Err(HostError::NoRegister(row.reg));
    };
    let refused = |error: kvm_ioctls::Error| HostError::CpuModel {
        model,
        reason: format!(
            "Linux {} refuses the value {value:#x} of {}: {error}",
            kernel_release(),
            row.name
        ),
    };
    let result = vcpu.set_one_reg(number, &value.to_le_bytes());
    result.map(drop).map_err(refused)
}
