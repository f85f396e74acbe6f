//! Every function of the host that the backend calls, in one table.
//!
//! On a Mac the linker fills it, and `dlsym` where a function is newer than the oldest macOS that
//! armlet runs on (13); so one program runs on all of them. On other hosts a test may register a table
//! of its own, such as a simulator's. The backend calls nothing that is not in the table.
//!
//! To add a function: a field here, its row in `framework.rs`, its wrapper in `sys`.

// UNSAFETY: types of functions of C, which nobody but their caller can keep safe.

use std::ffi::{c_char, c_int, c_void};

use crate::hvf::abi::{ExitRecord, Return, Timebase, VcpuHandle};

/// An object of the framework, counted by reference; `os_release` gives it back.
pub type Object = *mut c_void;

/// A function that takes a vector by value in a SIMD register, which no stable Rust type stands for.
/// Its real type is `hv_return_t (hv_vcpu_t vcpu, uint32_t reg, uint8x16_t value)`: on AArch64 the
/// vector is in V0, on x86-64 (simulators) in XMM0, and the integers are where they always are.
pub type VectorSetter = unsafe extern "C" fn();

/// The functions, each under its own name and with the types of Apple's headers, where an enum is
/// the integer that it is.
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "they are Apple's; the wrappers in `sys` say what they do"
)]
pub struct Table {
    // The VM.
    pub hv_vm_create: unsafe extern "C" fn(config: Object) -> Return,
    pub hv_vm_destroy: unsafe extern "C" fn() -> Return,
    pub hv_vm_get_max_vcpu_count: unsafe extern "C" fn(count: *mut u32) -> Return,
    pub hv_vm_config_create: unsafe extern "C" fn() -> Object,
    pub hv_vm_config_get_max_ipa_size: unsafe extern "C" fn(bits: *mut u32) -> Return,
    pub hv_vm_config_get_default_ipa_size: unsafe extern "C" fn(bits: *mut u32) -> Return,
    pub hv_vm_config_set_ipa_size: unsafe extern "C" fn(config: Object, bits: u32) -> Return,
    pub hv_vm_config_get_ipa_size: unsafe extern "C" fn(config: Object, bits: *mut u32) -> Return,

    // Memory.
    pub hv_vm_map:
        unsafe extern "C" fn(host: *mut c_void, ipa: u64, size: usize, flags: u64) -> Return,
    pub hv_vm_unmap: unsafe extern "C" fn(ipa: u64, size: usize) -> Return,
    pub hv_vm_protect: unsafe extern "C" fn(ipa: u64, size: usize, flags: u64) -> Return,

    // vCPUs. All but hv_vcpus_exit and the config functions belong to the vCPU's thread.
    pub hv_vcpu_config_create: unsafe extern "C" fn() -> Object,
    pub hv_vcpu_config_get_feature_reg:
        unsafe extern "C" fn(config: Object, reg: u32, value: *mut u64) -> Return,
    /// `values` has room for [`CCSIDR_VALUES`](crate::hvf::abi::cache::CCSIDR_VALUES).
    pub hv_vcpu_config_get_ccsidr_el1_sys_reg_values:
        unsafe extern "C" fn(config: Object, cache: u32, values: *mut u64) -> Return,
    pub hv_vcpu_create: unsafe extern "C" fn(
        vcpu: *mut VcpuHandle,
        exit: *mut *mut ExitRecord,
        config: Object,
    ) -> Return,
    pub hv_vcpu_destroy: unsafe extern "C" fn(vcpu: VcpuHandle) -> Return,
    pub hv_vcpu_run: unsafe extern "C" fn(vcpu: VcpuHandle) -> Return,
    pub hv_vcpus_exit: unsafe extern "C" fn(vcpus: *const VcpuHandle, count: u32) -> Return,

    // Registers.
    pub hv_vcpu_get_reg: unsafe extern "C" fn(VcpuHandle, reg: u32, value: *mut u64) -> Return,
    pub hv_vcpu_set_reg: unsafe extern "C" fn(VcpuHandle, reg: u32, value: u64) -> Return,
    pub hv_vcpu_get_simd_fp_reg:
        unsafe extern "C" fn(VcpuHandle, reg: u32, value: *mut u128) -> Return,
    pub hv_vcpu_set_simd_fp_reg: VectorSetter,
    pub hv_vcpu_get_sys_reg: unsafe extern "C" fn(VcpuHandle, reg: u16, value: *mut u64) -> Return,
    pub hv_vcpu_set_sys_reg: unsafe extern "C" fn(VcpuHandle, reg: u16, value: u64) -> Return,

    // Interrupts, the timer, debugging.
    pub hv_vcpu_get_pending_interrupt:
        unsafe extern "C" fn(VcpuHandle, kind: u32, pending: *mut bool) -> Return,
    pub hv_vcpu_set_pending_interrupt:
        unsafe extern "C" fn(VcpuHandle, kind: u32, pending: bool) -> Return,
    pub hv_vcpu_get_vtimer_mask: unsafe extern "C" fn(VcpuHandle, masked: *mut bool) -> Return,
    pub hv_vcpu_set_vtimer_mask: unsafe extern "C" fn(VcpuHandle, masked: bool) -> Return,
    pub hv_vcpu_get_vtimer_offset: unsafe extern "C" fn(VcpuHandle, offset: *mut u64) -> Return,
    pub hv_vcpu_set_vtimer_offset: unsafe extern "C" fn(VcpuHandle, offset: u64) -> Return,
    pub hv_vcpu_get_trap_debug_exceptions:
        unsafe extern "C" fn(VcpuHandle, trapped: *mut bool) -> Return,
    pub hv_vcpu_set_trap_debug_exceptions:
        unsafe extern "C" fn(VcpuHandle, trapped: bool) -> Return,
    pub hv_vcpu_get_trap_debug_reg_accesses:
        unsafe extern "C" fn(VcpuHandle, trapped: *mut bool) -> Return,
    pub hv_vcpu_set_trap_debug_reg_accesses:
        unsafe extern "C" fn(VcpuHandle, trapped: bool) -> Return,

    // The C library.
    pub os_release: unsafe extern "C" fn(object: Object),
    pub mach_absolute_time: unsafe extern "C" fn() -> u64,
    pub mach_continuous_time: unsafe extern "C" fn() -> u64,
    pub mach_timebase_info: unsafe extern "C" fn(info: *mut Timebase) -> c_int,
    /// Asked for `hw.optional.arm64`, `kern.hv_support` and `kern.osproductversion`.
    pub sysctlbyname: unsafe extern "C" fn(
        name: *const c_char,
        old: *mut c_void,
        old_size: *mut usize,
        new: *mut c_void,
        new_size: usize,
    ) -> c_int,
    pub sys_icache_invalidate: unsafe extern "C" fn(start: *mut c_void, size: usize),

    // Newer than macOS 13, so perhaps not there.
    /// macOS 15.0
    pub hv_vm_config_get_el2_supported:
        Option<unsafe extern "C" fn(supported: *mut bool) -> Return>,
    /// macOS 15.2
    pub hv_sme_config_get_max_svl_bytes: Option<unsafe extern "C" fn(bytes: *mut usize) -> Return>,
    /// macOS 26.0
    pub hv_vm_config_get_default_ipa_granule:
        Option<unsafe extern "C" fn(granule: *mut u32) -> Return>,
}
