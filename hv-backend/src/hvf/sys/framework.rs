//! Where a Mac has the functions.
//!
//! - From `applevisor-sys`, where it declares them with the types they have.
//! - From declarations here, where it has Rust enums for what are integers (any value that a newer
//!   macOS brings would be undefined behaviour), an integer for a vector, or nothing.
//! - By `dlsym`, what is newer than the oldest macOS that is supported: a program that names such a
//!   function does not start where it is missing.

// UNSAFETY: declares functions of C, and gives pointers that `dlsym` found their types.
#![expect(unsafe_code, reason = "functions of C")]

use std::ffi::{CStr, c_int, c_void};
use std::mem::transmute_copy;
use std::sync::OnceLock;

use applevisor_sys as framework;

use crate::hvf::abi::{ExitRecord, Return, Timebase, VcpuHandle};
use crate::hvf::obstacle::Obstacle;
use crate::hvf::table::{Object, Table};

unsafe extern "C" {
    fn hv_vcpu_config_get_feature_reg(config: Object, reg: u32, value: *mut u64) -> Return;
    fn hv_vcpu_config_get_ccsidr_el1_sys_reg_values(
        config: Object,
        cache: u32,
        values: *mut u64,
    ) -> Return;
    fn hv_vcpu_create(vcpu: *mut VcpuHandle, exit: *mut *mut ExitRecord, config: Object) -> Return;
    fn hv_vcpu_get_reg(vcpu: VcpuHandle, reg: u32, value: *mut u64) -> Return;
    fn hv_vcpu_set_reg(vcpu: VcpuHandle, reg: u32, value: u64) -> Return;
    fn hv_vcpu_get_simd_fp_reg(vcpu: VcpuHandle, reg: u32, value: *mut u128) -> Return;
    /// Not its type: see [`VectorSetter`](crate::hvf::table::VectorSetter).
    fn hv_vcpu_set_simd_fp_reg();
    fn hv_vcpu_get_sys_reg(vcpu: VcpuHandle, reg: u16, value: *mut u64) -> Return;
    fn hv_vcpu_set_sys_reg(vcpu: VcpuHandle, reg: u16, value: u64) -> Return;
    fn hv_vcpu_get_pending_interrupt(vcpu: VcpuHandle, kind: u32, pending: *mut bool) -> Return;
    fn hv_vcpu_set_pending_interrupt(vcpu: VcpuHandle, kind: u32, pending: bool) -> Return;
    fn hv_vm_map(host: *mut c_void, ipa: u64, size: usize, flags: u64) -> Return;
    fn mach_absolute_time() -> u64;
    fn mach_continuous_time() -> u64;
    fn mach_timebase_info(info: *mut Timebase) -> c_int;
    fn sys_icache_invalidate(start: *mut c_void, size: usize);
}

/// The functions of this Mac.
///
/// # Errors
/// Never: a Mac with Apple Silicon has them.
pub fn table() -> Result<&'static Table, Obstacle> {
    static TABLE: OnceLock<Table> = OnceLock::new();
    Ok(TABLE.get_or_init(fill))
}

fn fill() -> Table {
    Table {
        hv_vm_create: framework::hv_vm_create,
        hv_vm_destroy: framework::hv_vm_destroy,
        hv_vm_get_max_vcpu_count: framework::hv_vm_get_max_vcpu_count,
        hv_vm_config_create: framework::hv_vm_config_create,
        hv_vm_config_get_max_ipa_size: framework::hv_vm_config_get_max_ipa_size,
        hv_vm_config_get_default_ipa_size: framework::hv_vm_config_get_default_ipa_size,
        hv_vm_config_set_ipa_size: framework::hv_vm_config_set_ipa_size,
        hv_vm_config_get_ipa_size: framework::hv_vm_config_get_ipa_size,
        hv_vm_map,
        hv_vm_unmap: framework::hv_vm_unmap,
        hv_vm_protect: framework::hv_vm_protect,
        hv_vcpu_config_create: framework::hv_vcpu_config_create,
        hv_vcpu_config_get_feature_reg,
        hv_vcpu_config_get_ccsidr_el1_sys_reg_values,
        hv_vcpu_create,
        hv_vcpu_destroy: framework::hv_vcpu_destroy,
        hv_vcpu_run: framework::hv_vcpu_run,
        hv_vcpus_exit: framework::hv_vcpus_exit,
        hv_vcpu_get_reg,
        hv_vcpu_set_reg,
        hv_vcpu_get_simd_fp_reg,
        hv_vcpu_set_simd_fp_reg,
        hv_vcpu_get_sys_reg,
        hv_vcpu_set_sys_reg,
        hv_vcpu_get_pending_interrupt,
        hv_vcpu_set_pending_interrupt,
        hv_vcpu_get_vtimer_mask: framework::hv_vcpu_get_vtimer_mask,
        hv_vcpu_set_vtimer_mask: framework::hv_vcpu_set_vtimer_mask,
        hv_vcpu_get_vtimer_offset: framework::hv_vcpu_get_vtimer_offset,
        hv_vcpu_set_vtimer_offset: framework::hv_vcpu_set_vtimer_offset,
        hv_vcpu_get_trap_debug_exceptions: framework::hv_vcpu_get_trap_debug_exceptions,
        hv_vcpu_set_trap_debug_exceptions: framework::hv_vcpu_set_trap_debug_exceptions,
        hv_vcpu_get_trap_debug_reg_accesses: framework::hv_vcpu_get_trap_debug_reg_accesses,
        hv_vcpu_set_trap_debug_reg_accesses: framework::hv_vcpu_set_trap_debug_reg_accesses,
        os_release: framework::os_release,
        mach_absolute_time,
        mach_continuous_time,
        mach_timebase_info,
        sysctlbyname: libc::sysctlbyname,
        sys_icache_invalidate,
        hv_vm_config_get_el2_supported: newer(c"hv_vm_config_get_el2_supported"),
        hv_sme_config_get_max_svl_bytes: newer(c"hv_sme_config_get_max_svl_bytes"),
        hv_vm_config_get_default_ipa_granule: newer(c"hv_vm_config_get_default_ipa_granule"),
    }
}

/// A function that this macOS may have. `F` is the type that Apple's headers give it.
fn newer<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) }
    // SAFETY: the name ends in a NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a function of this name has this type, and pointers of both kinds are the same size.
    Some(unsafe { transmute_copy(&found) })
}
