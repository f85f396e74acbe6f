//! Registers of a vCPU.

// UNSAFETY: functions of C, which take pointers.

use aarch64::SysReg;
use hv_backend::hvf::abi::{Return, VcpuHandle, status};

use super::put;
use crate::engine::with_own;

/// `hv_vcpu_get_reg`
pub(crate) unsafe extern "C" fn get_reg(vcpu: VcpuHandle, reg: u32, value: *mut u64) -> Return {
    const CALL: &str = "hv_vcpu_get_reg";
    with_own(vcpu, CALL, |engine| match engine.reg(reg) {
        // SAFETY: the caller's promise.
        Some(register) => unsafe { put(CALL, value, register) },
        None => status::BAD_ARGUMENT,
    })
}

/// `hv_vcpu_set_reg`
pub(crate) unsafe extern "C" fn set_reg(vcpu: VcpuHandle, reg: u32, value: u64) -> Return {
    with_own(vcpu, "hv_vcpu_set_reg", |engine| {
        found(engine.set_reg(reg, value))
    })
}

/// `hv_vcpu_get_simd_fp_reg`
pub(crate) unsafe extern "C" fn get_simd_fp_reg(
    vcpu: VcpuHandle,
    reg: u32,
    value: *mut u128,
) -> Return {
    const CALL: &str = "hv_vcpu_get_simd_fp_reg";
    with_own(vcpu, CALL, |engine| {
        match engine.cpu.simd().v.get(reg as usize) {
            // SAFETY: the caller's promise. C aligns a vector to 16 bytes, and so does Rust.
            Some(vector) => unsafe { put(CALL, value, *vector) },
            None => status::BAD_ARGUMENT,
        }
    })
}

/// `hv_vcpu_set_simd_fp_reg`, once its vector has left the register that C passes it in.
///
/// # Safety
/// `value` can be read.
pub(crate) unsafe extern "C" fn set_simd_fp_reg_from_memory(
    vcpu: VcpuHandle,
    reg: u32,
    value: *const u128,
) -> Return {
    // SAFETY: the caller's promise.
    let value = unsafe { value.read_unaligned() };
    with_own(vcpu, "hv_vcpu_set_simd_fp_reg", |engine| {
        let mut simd = engine.cpu.simd();
        match simd.v.get_mut(reg as usize) {
            Some(vector) => *vector = value,
            None => return status::BAD_ARGUMENT,
        }
        engine.cpu.set_simd(&simd);
        status::SUCCESS
    })
}

/// `hv_vcpu_get_sys_reg`. A register that the framework of this macOS does not have is a bad
/// argument; some say it is unsupported.
pub(crate) unsafe extern "C" fn get_sys_reg(vcpu: VcpuHandle, reg: u16, value: *mut u64) -> Return {
    const CALL: &str = "hv_vcpu_get_sys_reg";
    with_own(vcpu, CALL, |engine| match engine.sys_reg(SysReg(reg)) {
        // SAFETY: the caller's promise.
        Some(register) => unsafe { put(CALL, value, register) },
        None => status::BAD_ARGUMENT,
    })
}

/// `hv_vcpu_set_sys_reg`
pub(crate) unsafe extern "C" fn set_sys_reg(vcpu: VcpuHandle, reg: u16, value: u64) -> Return {
    with_own(vcpu, "hv_vcpu_set_sys_reg", |engine| {
        found(engine.set_sys_reg(SysReg(reg), value))
    })
}

fn found(found: bool) -> Return {
    if found {
        status::SUCCESS
    } else {
        status::BAD_ARGUMENT
    }
}
