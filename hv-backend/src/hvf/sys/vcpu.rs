//! A vCPU of the framework, and how other threads stop it.

// UNSAFETY: calls functions of C through a table.

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::SysReg;

use super::{Failure, Framework, Result, check};
use crate::hvf::abi::{ExitRecord, VcpuHandle, status};
use crate::hvf_vector::set_vector;

/// How other threads get a vCPU out of the guest. It knows the vCPU only while that exists: a stale
/// number may be another vCPU's.
#[derive(Debug, Default)]
pub struct Stop(Mutex<Option<VcpuHandle>>);

impl Stop {
    fn handle(&self) -> MutexGuard<'_, Option<VcpuHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the run under way, or else the next one, return. Any thread. Nothing happens to a vCPU
    /// that is not there.
    pub fn stop(&self, framework: Framework) {
        let handle = self.handle();
        if let Some(vcpu) = *handle {
            // SAFETY: it reads one handle; the vCPU exists while the lock is held.
            let _ = unsafe { (framework.0.hv_vcpus_exit)(&raw const vcpu, 1) };
        }
    }
}

/// A vCPU. It stays on the thread that made it, and goes there.
#[derive(Debug)]
pub struct RawVcpu {
    framework: Framework,
    handle: VcpuHandle,
    exit: NonNull<ExitRecord>,
    /// Knows the vCPU from [`RawVcpu::announce`] on.
    stop: Arc<Stop>,
    _not_send: PhantomData<*const ()>,
}

impl RawVcpu {
    /// Makes a vCPU of this thread.
    pub fn new(framework: Framework, stop: Arc<Stop>) -> Result<Self> {
        let (mut handle, mut exit) = (0, ptr::null_mut());
        // SAFETY: it writes both, and takes no configuration.
        let code = unsafe {
            (framework.0.hv_vcpu_create)(&raw mut handle, &raw mut exit, ptr::null_mut())
        };
        check("hv_vcpu_create", code)?;
        let Some(exit) = NonNull::new(exit) else {
            let code = status::ERROR;
            return Err(Failure {
                call: "hv_vcpu_create",
                code,
            });
        };
        Ok(Self {
            framework,
            handle,
            exit,
            stop,
            _not_send: PhantomData,
        })
    }

    /// Lets other threads stop it, from now on. To be called when it is wholly set up: a vCPU that
    /// failed on the way must not be found.
    pub fn announce(&self) {
        *self.stop.handle() = Some(self.handle);
    }

    /// Enters the guest, and says why it came back.
    pub fn run(&mut self) -> Result<ExitRecord> {
        // SAFETY: this is the vCPU's thread.
        check("hv_vcpu_run", unsafe {
            (self.framework.0.hv_vcpu_run)(self.handle)
        })?;
        // SAFETY: the record lives as long as the vCPU, and is written only while that runs.
        Ok(unsafe { self.exit.read() })
    }

    /// One of X0 to X30 or [`reg`](crate::hvf::abi::reg).
    pub fn reg(&self, reg: u32) -> Result<u64> {
        let mut value = 0;
        // SAFETY: this is the vCPU's thread; it writes the integer.
        let code = unsafe { (self.framework.0.hv_vcpu_get_reg)(self.handle, reg, &raw mut value) };
        check("hv_vcpu_get_reg", code).map(|()| value)
    }

    /// Sets one of X0 to X30 or [`reg`](crate::hvf::abi::reg).
    pub fn set_reg(&mut self, reg: u32, value: u64) -> Result<()> {
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { (self.framework.0.hv_vcpu_set_reg)(self.handle, reg, value) };
        check("hv_vcpu_set_reg", code)
    }

    /// One of V0 to V31.
    pub fn vector(&self, reg: u32) -> Result<u128> {
        let mut value = 0;
        // SAFETY: this is the vCPU's thread; it writes 16 bytes.
        let code =
            unsafe { (self.framework.0.hv_vcpu_get_simd_fp_reg)(self.handle, reg, &raw mut value) };
        check("hv_vcpu_get_simd_fp_reg", code).map(|()| value)
    }

    /// Sets one of V0 to V31.
    pub fn set_vector(&mut self, reg: u32, value: u128) -> Result<()> {
        let function = self.framework.0.hv_vcpu_set_simd_fp_reg;
        // SAFETY: this is the vCPU's thread, and the function has the type for this call.
        let code = unsafe { set_vector(self.handle, reg, &raw const value, function) };
        check("hv_vcpu_set_simd_fp_reg", code)
    }

    /// A system register.
    pub fn sysreg(&self, reg: SysReg) -> Result<u64> {
        let mut value = 0;
        // SAFETY: this is the vCPU's thread; it writes the integer.
        let code =
            unsafe { (self.framework.0.hv_vcpu_get_sys_reg)(self.handle, reg.0, &raw mut value) };
        check("hv_vcpu_get_sys_reg", code).map(|()| value)
    }

    /// Sets a system register.
    pub fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<()> {
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { (self.framework.0.hv_vcpu_set_sys_reg)(self.handle, reg.0, value) };
        check("hv_vcpu_set_sys_reg", code)
    }

    /// Makes an interrupt (of [`interrupt`](crate::hvf::abi::interrupt)) pending for the next run
    /// only.
    pub fn set_pending(&mut self, kind: u32, pending: bool) -> Result<()> {
        let set = self.framework.0.hv_vcpu_set_pending_interrupt;
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { set(self.handle, kind, pending) };
        check("hv_vcpu_set_pending_interrupt", code)
    }

    /// Keeps the virtual timer from ending runs, or no longer.
    pub fn set_timer_mask(&mut self, masked: bool) -> Result<()> {
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { (self.framework.0.hv_vcpu_set_vtimer_mask)(self.handle, masked) };
        check("hv_vcpu_set_vtimer_mask", code)
    }

    /// Sets what the guest's counter lies behind the host's.
    pub fn set_counter_offset(&mut self, offset: u64) -> Result<()> {
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { (self.framework.0.hv_vcpu_set_vtimer_offset)(self.handle, offset) };
        check("hv_vcpu_set_vtimer_offset", code)
    }

    /// Whether debug exceptions leave the guest.
    pub fn set_debug_exceptions_trap(&mut self, trap: bool) -> Result<()> {
        let set = self.framework.0.hv_vcpu_set_trap_debug_exceptions;
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { set(self.handle, trap) };
        check("hv_vcpu_set_trap_debug_exceptions", code)
    }

    /// Whether accesses to debug registers leave the guest.
    pub fn set_debug_registers_trap(&mut self, trap: bool) -> Result<()> {
        let set = self.framework.0.hv_vcpu_set_trap_debug_reg_accesses;
        // SAFETY: this is the vCPU's thread.
        let code = unsafe { set(self.handle, trap) };
        check("hv_vcpu_set_trap_debug_reg_accesses", code)
    }
}

impl Drop for RawVcpu {
    fn drop(&mut self) {
        *self.stop.handle() = None;
        // SAFETY: this is the vCPU's thread, nobody else knows the vCPU any more, and the record is
        // not read after this.
        let _ = unsafe { (self.framework.0.hv_vcpu_destroy)(self.handle) };
    }
}
