//! A vCPU's registers, one call of the kernel each.

use aarch64::SysReg;
use aarch64::state::{CoreRegs, SimdRegs};
use kvm_ioctls::VcpuFd;

use super::failed;
use super::registers::{self, Place};
use crate::api::HostError;

fn get<const N: usize>(fd: &VcpuFd, register: u64) -> Result<[u8; N], HostError> {
    let mut bytes = [0; N];
    let result = fd.get_one_reg(register, &mut bytes);
    result.map_err(failed("KVM_GET_ONE_REG"))?;
    Ok(bytes)
}

fn set(fd: &VcpuFd, register: u64, bytes: &[u8]) -> Result<(), HostError> {
    let result = fd.set_one_reg(register, bytes);
    result.map(drop).map_err(failed("KVM_SET_ONE_REG"))
}

fn get_u64(fd: &VcpuFd, register: u64) -> Result<u64, HostError> {
    get(fd, register).map(u64::from_le_bytes)
}

/// The program counter.
pub fn pc(fd: &VcpuFd) -> Result<u64, HostError> {
    get_u64(fd, registers::PC)
}

/// PSTATE.
pub fn pstate(fd: &VcpuFd) -> Result<u64, HostError> {
    get_u64(fd, registers::PSTATE)
}

/// Sets the program counter and PSTATE.
pub fn set_place(fd: &VcpuFd, pc: u64, pstate: u64) -> Result<(), HostError> {
    set(fd, registers::PC, &pc.to_le_bytes())?;
    set(fd, registers::PSTATE, &pstate.to_le_bytes())
}

/// Sets a general register.
pub fn set_x(fd: &VcpuFd, n: usize, value: u64) -> Result<(), HostError> {
    set(fd, registers::x(n), &value.to_le_bytes())
}

/// See [`crate::api::Vcpu::core`].
pub fn core(fd: &VcpuFd) -> Result<CoreRegs, HostError> {
    let mut regs = CoreRegs {
        pc: pc(fd)?,
        pstate: pstate(fd)?,
        ..CoreRegs::default()
    };
    for (n, x) in regs.x.iter_mut().enumerate() {
        *x = get_u64(fd, registers::x(n))?;
    }
    Ok(regs)
}

/// See [`crate::api::Vcpu::set_core`].
pub fn set_core(fd: &VcpuFd, regs: &CoreRegs) -> Result<(), HostError> {
    use aarch64::pstate::{EL0T, EL1H, EL1T, MODE};
    let CoreRegs { x, pc, pstate } = regs;
    if ![EL0T, EL1T, EL1H].contains(&(pstate & MODE)) {
        let line = format!("PSTATE {pstate:#x} is no EL0 or EL1 state");
        return Err(HostError::BadState(line));
    }
    for (n, x) in x.iter().enumerate() {
        set_x(fd, n, *x)?;
    }
    set_place(fd, *pc, *pstate)
}

/// See [`crate::api::Vcpu::simd`].
pub fn simd(fd: &VcpuFd) -> Result<SimdRegs, HostError> {
    let mut regs = SimdRegs {
        fpcr: get(fd, registers::FPCR).map(u32::from_le_bytes)?,
        fpsr: get(fd, registers::FPSR).map(u32::from_le_bytes)?,
        ..SimdRegs::default()
    };
    for (n, v) in regs.v.iter_mut().enumerate() {
        *v = get(fd, registers::v(n)).map(u128::from_le_bytes)?;
    }
    Ok(regs)
}

/// See [`crate::api::Vcpu::set_simd`].
pub fn set_simd(fd: &VcpuFd, regs: &SimdRegs) -> Result<(), HostError> {
    let SimdRegs { v, fpcr, fpsr } = regs;
    for (n, v) in v.iter().enumerate() {
        set(fd, registers::v(n), &v.to_le_bytes())?;
    }
    set(fd, registers::FPCR, &fpcr.to_le_bytes())?;
    set(fd, registers::FPSR, &fpsr.to_le_bytes())
}

/// What a failed access to a system register means.
fn no_register(reg: SysReg, call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> HostError {
    move |error| match error.errno() {
        libc::ENOENT | libc::EINVAL | libc::EPERM => HostError::NoRegister(reg),
        _ => failed(call)(error),
    }
}

/// See [`crate::api::Vcpu::sysreg`].
pub fn sysreg(fd: &VcpuFd, reg: SysReg) -> Result<u64, HostError> {
    let Place::Register(register) = registers::place(reg) else {
        return Ok(0);
    };
    let mut bytes = [0; 8];
    let result = fd.get_one_reg(register, &mut bytes);
    result.map_err(no_register(reg, "KVM_GET_ONE_REG"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// See [`crate::api::Vcpu::set_sysreg`].
pub fn set_sysreg(fd: &VcpuFd, reg: SysReg, value: u64) -> Result<(), HostError> {
    match registers::place(reg) {
        Place::Zero if value == 0 => Ok(()),
        Place::Zero => Err(HostError::NoRegister(reg)),
        Place::Register(register) => {
            let result = fd.set_one_reg(register, &value.to_le_bytes());
            result
                .map(drop)
                .map_err(no_register(reg, "KVM_SET_ONE_REG"))
        }
    }
}
