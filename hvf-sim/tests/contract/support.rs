//! A Mac to test, and a small guest on it.
//!
//! Every call of a function of C here passes places of this file's own, which outlive it, or memory
//! that its test keeps; where a test breaks a rule on purpose, the simulator is there to survive it.

// UNSAFETY: calls functions of C.
#![expect(unsafe_code, reason = "the functions under test are C's")]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all, in the header"
)]
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a panic")]

use std::ffi::{CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aarch64::{Saved, SysReg};
use hv_backend::hvf::abi::{ExitRecord, PAGE_SIZE, Return, reason, reg, status};
use hv_backend::hvf::table::{Object, Table};
use hvf_sim::{Profile, Violation, take_violations};
use memory::Region;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The process as a Mac, for one test at a time. At its end there must be no violation left.
pub struct Mac {
    pub table: &'static Table,
    _turn: MutexGuard<'static, ()>,
}

impl Mac {
    pub fn new(profile: Profile) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let table = hvf_sim::install(profile);
        let _ = take_violations();
        Self { table, _turn: turn }
    }

    /// Another Mac instead of this one.
    pub fn new_after(before: Self, profile: Profile) -> Self {
        drop(before);
        Self::new(profile)
    }

    /// A Mac with a VM.
    pub fn with_vm(profile: Profile) -> Self {
        let mac = Self::new(profile);
        assert_eq!(mac.create_vm(ptr::null_mut()), status::SUCCESS);
        mac
    }

    pub fn create_vm(&self, config: Object) -> Return {
        unsafe { (self.table.hv_vm_create)(config) }
    }

    pub fn destroy_vm(&self) -> Return {
        unsafe { (self.table.hv_vm_destroy)() }
    }

    pub fn map(&self, ram: &Ram, ipa: u64, size: u64, flags: u64) -> Return {
        self.map_at(ram.base().as_ptr().cast(), ipa, size, flags)
    }

    pub fn map_at(&self, host: *mut c_void, ipa: u64, size: u64, flags: u64) -> Return {
        unsafe { (self.table.hv_vm_map)(host, ipa, size as usize, flags) }
    }

    pub fn unmap(&self, ipa: u64, size: u64) -> Return {
        unsafe { (self.table.hv_vm_unmap)(ipa, size as usize) }
    }

    pub fn protect(&self, ipa: u64, size: u64, flags: u64) -> Return {
        unsafe { (self.table.hv_vm_protect)(ipa, size as usize, flags) }
    }

    pub fn create_vcpu(&self) -> Result<Vcpu<'_>, Return> {
        let (mut id, mut exit) = (u64::MAX, ptr::null_mut());
        let status = unsafe { (self.table.hv_vcpu_create)(&mut id, &mut exit, ptr::null_mut()) };
        if status == status::SUCCESS {
            Ok(Vcpu {
                mac: self.table,
                id,
                exit,
                life: std::marker::PhantomData,
            })
        } else {
            Err(status)
        }
    }

    pub fn kick(&self, ids: &[u64]) -> Return {
        kick(self.table, ids)
    }

    pub fn sysctl(&self, name: &str) -> Option<Vec<u8>> {
        let name = CString::new(name).unwrap();
        let (mut bytes, mut size) = ([0u8; 64], 64);
        let old = bytes.as_mut_ptr().cast();
        let call = self.table.sysctlbyname;
        let done = unsafe { call(name.as_ptr(), old, &mut size, ptr::null_mut(), 0) };
        (done == 0).then(|| bytes[..size].to_vec())
    }

    /// The violations so far, which are no fault of the test then.
    pub fn violations(&self) -> Vec<Violation> {
        take_violations()
    }

    /// Runs a test's guest on a Mac of its own.
    pub fn run_guest(profile: Profile, code: &[u32], test: impl FnOnce(&Self, &Vcpu<'_>, &Ram)) {
        let mac = Self::with_vm(profile);
        let ram = Ram::new(4 * PAGE_SIZE);
        ram.write(0, code);
        assert_eq!(mac.map(&ram, RAM, ram.size, 7), status::SUCCESS);
        let vcpu = mac.create_vcpu().unwrap();
        vcpu.define(RAM);
        test(&mac, &vcpu, &ram);
        assert_eq!(vcpu.destroy(), status::SUCCESS);
        assert_eq!(mac.unmap(RAM, ram.size), status::SUCCESS);
        assert_eq!(mac.destroy_vm(), status::SUCCESS);
    }
}

impl Drop for Mac {
    fn drop(&mut self) {
        hvf_sim::check_leaks();
        let left = take_violations();
        assert!(std::thread::panicking() || left.is_empty(), "{left:?}");
    }
}

pub fn kick(table: &Table, ids: &[u64]) -> Return {
    unsafe { (table.hv_vcpus_exit)(ids.as_ptr(), ids.len() as u32) }
}

/// Where tests have their guest's memory.
pub const RAM: u64 = 0x4000_0000;

/// Memory of the host, aligned to its pages.
pub struct Ram {
    region: Region,
    skip: u64,
    pub size: u64,
}

impl Ram {
    pub fn new(size: u64) -> Self {
        let region = Region::new(size + PAGE_SIZE).unwrap();
        let at = region.host_base().as_ptr() as u64;
        let skip = at.next_multiple_of(PAGE_SIZE) - at;
        Self { region, skip, size }
    }

    pub fn base(&self) -> NonNull<u8> {
        unsafe { self.region.host_base().add(self.skip as usize) }
    }

    pub fn write(&self, offset: u64, words: &[u32]) {
        for (i, word) in words.iter().enumerate() {
            let at = self.skip + offset + 4 * i as u64;
            self.region.write(at, &word.to_le_bytes()).unwrap();
        }
    }

    /// Gives memory back to the host.
    pub fn discard(&self, offset: u64, bytes: u64) {
        self.region.discard(self.skip + offset, bytes).unwrap();
    }

    pub fn word(&self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.region.read(self.skip + offset, &mut bytes).unwrap();
        u32::from_le_bytes(bytes)
    }
}

/// A vCPU of this thread.
pub struct Vcpu<'a> {
    mac: &'static Table,
    pub id: u64,
    exit: *mut ExitRecord,
    life: std::marker::PhantomData<&'a ()>,
}

impl Vcpu<'_> {
    /// Sets everything that has no documented value, and the PC.
    pub fn define(&self, pc: u64) {
        for saved in Saved::ALL {
            // Those that this Mac does not have say so.
            let _ = self.set_sys(saved.sysreg(), saved.reset_value());
        }
        self.set(reg::CPSR, 0x3c5);
        self.set(reg::PC, pc);
    }

    pub fn try_run(&self) -> Return {
        unsafe { (self.mac.hv_vcpu_run)(self.id) }
    }

    /// Runs, and what the exit record says.
    pub fn run(&self) -> ExitRecord {
        assert_eq!(self.try_run(), status::SUCCESS);
        self.record()
    }

    /// Runs up to an exception; its syndrome.
    pub fn syndrome(&self) -> u64 {
        let exit = self.run();
        assert_eq!(exit.reason, reason::EXCEPTION, "{exit:x?}");
        exit.syndrome
    }

    pub fn record(&self) -> ExitRecord {
        unsafe { self.exit.read() }
    }

    pub fn try_get(&self, number: u32) -> Result<u64, Return> {
        let mut value = 0;
        let status = unsafe { (self.mac.hv_vcpu_get_reg)(self.id, number, &mut value) };
        given(status, value)
    }

    pub fn get(&self, number: u32) -> u64 {
        self.try_get(number).unwrap()
    }

    pub fn try_set(&self, number: u32, value: u64) -> Return {
        unsafe { (self.mac.hv_vcpu_set_reg)(self.id, number, value) }
    }

    pub fn set(&self, number: u32, value: u64) {
        assert_eq!(self.try_set(number, value), status::SUCCESS);
    }

    pub fn pc(&self) -> u64 {
        self.get(reg::PC)
    }

    pub fn sys(&self, register: SysReg) -> Result<u64, Return> {
        let mut value = 0;
        let status = unsafe { (self.mac.hv_vcpu_get_sys_reg)(self.id, register.0, &mut value) };
        given(status, value)
    }

    pub fn set_sys(&self, register: SysReg, value: u64) -> Return {
        unsafe { (self.mac.hv_vcpu_set_sys_reg)(self.id, register.0, value) }
    }

    pub fn set_saved(&self, saved: Saved, value: u64) {
        assert_eq!(self.set_sys(saved.sysreg(), value), status::SUCCESS);
    }

    pub fn vector(&self, number: u32) -> Result<u128, Return> {
        let mut value = 0;
        let status = unsafe { (self.mac.hv_vcpu_get_simd_fp_reg)(self.id, number, &mut value) };
        given(status, value)
    }

    pub fn set_vector(&self, number: u32, value: u128) -> Return {
        let function = self.mac.hv_vcpu_set_simd_fp_reg;
        unsafe { hv_backend::hvf_vector::set_vector(self.id, number, &value, function) }
    }

    pub fn set_pending(&self, kind: u32, pending: bool) -> Return {
        unsafe { (self.mac.hv_vcpu_set_pending_interrupt)(self.id, kind, pending) }
    }

    pub fn pending(&self, kind: u32) -> Result<bool, Return> {
        let mut value = false;
        let call = self.mac.hv_vcpu_get_pending_interrupt;
        let status = unsafe { call(self.id, kind, &mut value) };
        given(status, value)
    }

    pub fn mask_timer(&self, masked: bool) {
        let status = unsafe { (self.mac.hv_vcpu_set_vtimer_mask)(self.id, masked) };
        assert_eq!(status, status::SUCCESS);
    }

    pub fn timer_is_masked(&self) -> bool {
        let mut value = false;
        let status = unsafe { (self.mac.hv_vcpu_get_vtimer_mask)(self.id, &mut value) };
        given(status, value).unwrap()
    }

    pub fn set_offset(&self, offset: u64) {
        let status = unsafe { (self.mac.hv_vcpu_set_vtimer_offset)(self.id, offset) };
        assert_eq!(status, status::SUCCESS);
    }

    pub fn offset(&self) -> u64 {
        let mut value = 0;
        let status = unsafe { (self.mac.hv_vcpu_get_vtimer_offset)(self.id, &mut value) };
        given(status, value).unwrap()
    }

    pub fn trap_debug(&self, exceptions: bool, registers: bool) {
        let call = self.mac.hv_vcpu_set_trap_debug_exceptions;
        assert_eq!(unsafe { call(self.id, exceptions) }, status::SUCCESS);
        let call = self.mac.hv_vcpu_set_trap_debug_reg_accesses;
        assert_eq!(unsafe { call(self.id, registers) }, status::SUCCESS);
    }

    pub fn debug_traps(&self) -> (bool, bool) {
        let (mut exceptions, mut registers) = (false, false);
        let call = self.mac.hv_vcpu_get_trap_debug_exceptions;
        assert_eq!(unsafe { call(self.id, &mut exceptions) }, status::SUCCESS);
        let call = self.mac.hv_vcpu_get_trap_debug_reg_accesses;
        assert_eq!(unsafe { call(self.id, &mut registers) }, status::SUCCESS);
        (exceptions, registers)
    }

    pub fn destroy(&self) -> Return {
        unsafe { (self.mac.hv_vcpu_destroy)(self.id) }
    }
}

pub fn given<T>(status: Return, value: T) -> Result<T, Return> {
    if status == status::SUCCESS {
        Ok(value)
    } else {
        Err(status)
    }
}

/// A handle to another thread's vCPU, as C code might come by one.
pub fn pretend<'a>(mac: &'static Table, id: u64, mine: &Vcpu<'a>) -> Vcpu<'a> {
    Vcpu { mac, id, ..*mine }
}

/// A configuration of a VM, released with it.
pub struct VmConfig<'a>(pub &'a Mac, pub Object);

impl<'a> VmConfig<'a> {
    pub fn new(mac: &'a Mac) -> Self {
        Self(mac, unsafe { (mac.table.hv_vm_config_create)() })
    }

    pub fn set_bits(&self, bits: u32) -> Return {
        unsafe { (self.0.table.hv_vm_config_set_ipa_size)(self.1, bits) }
    }

    pub fn bits(&self) -> Result<u32, Return> {
        let mut bits = 0;
        let call = self.0.table.hv_vm_config_get_ipa_size;
        let status = unsafe { call(self.1, &mut bits) };
        given(status, bits)
    }
}

impl Drop for VmConfig<'_> {
    fn drop(&mut self) {
        release(self.0, self.1);
    }
}

pub fn release(mac: &Mac, object: Object) {
    unsafe { (mac.table.os_release)(object) }
}

/// Calls a function that fills one place.
pub fn ask<T: Default>(call: unsafe extern "C" fn(*mut T) -> Return) -> Result<T, Return> {
    let mut value = T::default();
    let status = unsafe { call(&mut value) };
    given(status, value)
}

/// The same, with null.
pub fn ask_nowhere<T>(call: unsafe extern "C" fn(*mut T) -> Return) -> Return {
    unsafe { call(ptr::null_mut()) }
}

/// A vCPU's configuration and what it says of a feature and of the caches.
pub fn feature(mac: &Mac, number: u32) -> Result<u64, Return> {
    let config = unsafe { (mac.table.hv_vcpu_config_create)() };
    let mut value = 0;
    let call = mac.table.hv_vcpu_config_get_feature_reg;
    let status = unsafe { call(config, number, &mut value) };
    release(mac, config);
    given(status, value)
}

/// The sizes of caches, with a word behind the eight that must not change.
pub fn caches(mac: &Mac, kind: u32) -> Result<[u64; 9], Return> {
    let config = unsafe { (mac.table.hv_vcpu_config_create)() };
    let mut values = [77; 9];
    let call = mac.table.hv_vcpu_config_get_ccsidr_el1_sys_reg_values;
    let status = unsafe { call(config, kind, values.as_mut_ptr()) };
    release(mac, config);
    given(status, values)
}

/// `mach_absolute_time` and `mach_continuous_time`.
pub fn clocks(mac: &Mac) -> (u64, u64) {
    let absolute = unsafe { (mac.table.mach_absolute_time)() };
    (absolute, unsafe { (mac.table.mach_continuous_time)() })
}

/// Numerator and denominator of a tick in nanoseconds.
pub fn timebase(mac: &Mac) -> (u32, u32) {
    let mut info = hv_backend::hvf::abi::Timebase::default();
    assert_eq!(unsafe { (mac.table.mach_timebase_info)(&mut info) }, 0);
    (info.numer, info.denom)
}
