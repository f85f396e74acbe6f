//! The functions of the framework, as C calls them: arguments checked here, work done elsewhere.
//!
//! Which error a wrong argument makes is documented for few functions. Where a comment says
//! "guess", no Mac was seen to do it; the rule is broken all the same and is recorded.

// UNSAFETY: functions of C, which take pointers.
#![expect(unsafe_code, reason = "functions of C")]

pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod registers;
pub(crate) mod vcpu;
pub(crate) mod vm;

use hv_backend::hvf::abi::{PAGE_SIZE, Return, status};
use hv_backend::hvf::table::Table;

use crate::profile::{MacOs, Profile, Support};
use crate::violation::{Violation, record};

/// Writes a result to where the caller wants it; null is a bad argument.
///
/// # Safety
/// `to` is null or can be written.
unsafe fn put<T>(call: &'static str, to: *mut T, value: T) -> Return {
    if to.is_null() {
        record(Violation::NullPointer { call });
        return status::BAD_ARGUMENT;
    }
    // SAFETY: the caller's promise, and not null.
    unsafe { to.write(value) };
    status::SUCCESS
}

/// Whether a range of guest addresses is of whole pages; a violation if not.
fn is_whole_pages(call: &'static str, ipa: u64, size: u64) -> bool {
    let whole = ipa.is_multiple_of(PAGE_SIZE) && size.is_multiple_of(PAGE_SIZE) && size != 0;
    let whole = whole && ipa.checked_add(size).is_some();
    if !whole {
        record(Violation::Misaligned { call, ipa, size });
    }
    whole
}

/// A call needs a VM, and there is none.
fn no_vm(call: &'static str) -> Return {
    record(Violation::NoVm { call });
    status::NO_DEVICE
}

/// The functions that a Mac has.
pub(crate) fn table(profile: &Profile) -> Table {
    let since = |macos: MacOs| profile.macos >= macos && profile.support != Support::Intel;
    Table {
        hv_vm_create: vm::create,
        hv_vm_destroy: vm::destroy,
        hv_vm_get_max_vcpu_count: vm::get_max_vcpu_count,
        hv_vm_config_create: vm::config_create,
        hv_vm_config_get_max_ipa_size: vm::config_get_max_ipa_size,
        hv_vm_config_get_default_ipa_size: vm::config_get_default_ipa_size,
        hv_vm_config_set_ipa_size: vm::config_set_ipa_size,
        hv_vm_config_get_ipa_size: vm::config_get_ipa_size,
        hv_vm_map: memory::map,
        hv_vm_unmap: memory::unmap,
        hv_vm_protect: memory::protect,
        hv_vcpu_config_create: vcpu::config_create,
        hv_vcpu_config_get_feature_reg: vcpu::config_get_feature_reg,
        hv_vcpu_config_get_ccsidr_el1_sys_reg_values: vcpu::config_get_ccsidr_values,
        hv_vcpu_create: vcpu::create,
        hv_vcpu_destroy: vcpu::destroy,
        hv_vcpu_run: vcpu::run,
        hv_vcpus_exit: vcpu::exit,
        hv_vcpu_get_reg: registers::get_reg,
        hv_vcpu_set_reg: registers::set_reg,
        hv_vcpu_get_simd_fp_reg: registers::get_simd_fp_reg,
        hv_vcpu_set_simd_fp_reg: crate::vector::set_simd_fp_reg,
        hv_vcpu_get_sys_reg: registers::get_sys_reg,
        hv_vcpu_set_sys_reg: registers::set_sys_reg,
        hv_vcpu_get_pending_interrupt: vcpu::get_pending_interrupt,
        hv_vcpu_set_pending_interrupt: vcpu::set_pending_interrupt,
        hv_vcpu_get_vtimer_mask: vcpu::get_vtimer_mask,
        hv_vcpu_set_vtimer_mask: vcpu::set_vtimer_mask,
        hv_vcpu_get_vtimer_offset: vcpu::get_vtimer_offset,
        hv_vcpu_set_vtimer_offset: vcpu::set_vtimer_offset,
        hv_vcpu_get_trap_debug_exceptions: vcpu::get_trap_debug_exceptions,
        hv_vcpu_set_trap_debug_exceptions: vcpu::set_trap_debug_exceptions,
        hv_vcpu_get_trap_debug_reg_accesses: vcpu::get_trap_debug_reg_accesses,
        hv_vcpu_set_trap_debug_reg_accesses: vcpu::set_trap_debug_reg_accesses,
        os_release: host::os_release,
        mach_absolute_time: host::mach_absolute_time,
        mach_continuous_time: host::mach_continuous_time,
        mach_timebase_info: host::mach_timebase_info,
        sysctlbyname: host::sysctlbyname,
        sys_icache_invalidate: host::sys_icache_invalidate,
        hv_vm_config_get_el2_supported: since(MacOs::V15).then_some(vm::config_get_el2_supported),
        hv_sme_config_get_max_svl_bytes: since(MacOs::V15_2)
            .then_some(vm::sme_config_get_max_svl_bytes),
        hv_vm_config_get_default_ipa_granule: since(MacOs::V26)
            .then_some(vm::config_get_default_ipa_granule),
    }
}
