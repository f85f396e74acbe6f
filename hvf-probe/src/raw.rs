//! The functions of Hypervisor.framework as they are: every misuse that a question is about can be
//! made, and answers with the framework's return code.

// UNSAFETY: calls functions of C through a table, also in ways that the framework refuses.
#![expect(unsafe_code, reason = "functions of C")]

use std::ffi::{CStr, c_void};
use std::ptr;

use hv_backend::hvf::abi::{ExitRecord, Return, Timebase, VcpuHandle, status};
use hv_backend::hvf::table::{Object, Table};
use hv_backend::hvf_vector::set_vector;
use memory::Region;
use serde_json::{Value, json};

/// The functions.
#[derive(Clone, Copy, Debug)]
pub struct Raw(&'static Table);

/// What a function answered: a value, or a return code that is not success.
pub type Answer<T> = Result<T, Return>;

/// A return code as the report shows it.
pub fn code(value: Return) -> Value {
    status::name(value).map_or_else(|| json!(format!("{value:#010x}")), |name| json!(name))
}

/// An answer without a value as the report shows it.
pub fn outcome(answer: Answer<()>) -> Value {
    code(answer.err().unwrap_or(status::SUCCESS))
}

fn check<T>(code: Return, value: T) -> Answer<T> {
    if code == status::SUCCESS {
        Ok(value)
    } else {
        Err(code)
    }
}

impl Raw {
    /// The functions of `table`.
    pub const fn new(table: &'static Table) -> Self {
        Self(table)
    }

    /// Makes the process's VM, with this many address bits if any are given.
    pub fn create_vm(self, bits: Option<u32>) -> Answer<()> {
        let Some(bits) = bits else {
            // SAFETY: null asks for defaults.
            return check(unsafe { (self.0.hv_vm_create)(ptr::null_mut()) }, ());
        };
        // SAFETY: it only makes an object.
        let config = unsafe { (self.0.hv_vm_config_create)() };
        // SAFETY: the object was just made.
        let set = unsafe { (self.0.hv_vm_config_set_ipa_size)(config, bits) };
        let made = check(set, ()).and_then(|()| {
            // SAFETY: the object was just made.
            check(unsafe { (self.0.hv_vm_create)(config) }, ())
        });
        self.release(config);
        made
    }

    fn release(self, object: Object) {
        // SAFETY: the caller made the object and forgets it.
        unsafe { (self.0.os_release)(object) };
    }

    /// Destroys the VM.
    pub fn destroy_vm(self) -> Answer<()> {
        // SAFETY: no vCPU that anybody would use afterwards is left.
        check(unsafe { (self.0.hv_vm_destroy)() }, ())
    }

    /// The most vCPUs.
    pub fn max_vcpus(self) -> Answer<u32> {
        let mut count = 0;
        // SAFETY: it writes one integer.
        let code = unsafe { (self.0.hv_vm_get_max_vcpu_count)(&raw mut count) };
        check(code, ())?;
        Ok(count)
    }

    /// The largest and the default address size, in bits.
    pub fn address_bits(self) -> Answer<(u32, u32)> {
        let (mut most, mut default) = (0, 0);
        // SAFETY: it writes one integer.
        let code = unsafe { (self.0.hv_vm_config_get_max_ipa_size)(&raw mut most) };
        check(code, ())?;
        // SAFETY: it writes one integer.
        let code = unsafe { (self.0.hv_vm_config_get_default_ipa_size)(&raw mut default) };
        check(code, (most, default)).map(|_| (most, default))
    }

    /// Maps a part of `region`, which must stay until it is unmapped.
    pub fn map(
        self,
        region: &Region,
        offset: usize,
        gpa: u64,
        bytes: usize,
        flags: u64,
    ) -> Answer<()> {
        let host = region
            .host_base()
            .as_ptr()
            .wrapping_add(offset)
            .cast::<c_void>();
        // SAFETY: what is mapped lies in the region, or the framework refuses it.
        check(unsafe { (self.0.hv_vm_map)(host, gpa, bytes, flags) }, ())
    }

    /// Unmaps.
    pub fn unmap(self, gpa: u64, bytes: usize) -> Answer<()> {
        // SAFETY: it takes memory away from guests only.
        check(unsafe { (self.0.hv_vm_unmap)(gpa, bytes) }, ())
    }

    /// Changes the rights of guests.
    pub fn protect(self, gpa: u64, bytes: usize, flags: u64) -> Answer<()> {
        // SAFETY: it changes what guests may do only.
        check(unsafe { (self.0.hv_vm_protect)(gpa, bytes, flags) }, ())
    }

    /// Tells the processor of code that was written into `region`.
    pub fn publish_code(self, region: &Region) {
        let bytes = usize::try_from(region.size()).unwrap_or(0);
        // SAFETY: the region is mapped for as long as it exists.
        unsafe { (self.0.sys_icache_invalidate)(region.host_base().as_ptr().cast(), bytes) };
    }

    /// Makes a vCPU of this thread.
    pub fn create_vcpu(self) -> Answer<Vcpu> {
        let (mut handle, mut exit) = (0, ptr::null_mut());
        // SAFETY: it writes both, and null asks for defaults.
        let code =
            unsafe { (self.0.hv_vcpu_create)(&raw mut handle, &raw mut exit, ptr::null_mut()) };
        check(code, ())?;
        Ok(Vcpu {
            raw: self,
            handle,
            exit,
        })
    }

    /// Makes the vCPU leave the guest. Any thread.
    pub fn kick(self, vcpu: VcpuHandle) -> Answer<()> {
        // SAFETY: it reads one number.
        check(unsafe { (self.0.hv_vcpus_exit)(&raw const vcpu, 1) }, ())
    }

    /// A register of a vCPU that may be anybody's.
    pub fn reg_of(self, vcpu: VcpuHandle, reg: u32) -> Answer<u64> {
        let mut value = 0;
        // SAFETY: it writes one integer, or refuses.
        let code = unsafe { (self.0.hv_vcpu_get_reg)(vcpu, reg, &raw mut value) };
        check(code, ())?;
        Ok(value)
    }

    /// `mach_absolute_time`, which stands still while the host sleeps.
    pub fn awake_ticks(self) -> u64 {
        // SAFETY: it only reads a clock.
        unsafe { (self.0.mach_absolute_time)() }
    }

    /// `mach_continuous_time`, which goes on.
    pub fn all_ticks(self) -> u64 {
        // SAFETY: it only reads a clock.
        unsafe { (self.0.mach_continuous_time)() }
    }

    /// What a tick is.
    pub fn timebase(self) -> Timebase {
        let mut timebase = Timebase::default();
        // SAFETY: it writes the structure.
        let _ = unsafe { (self.0.mach_timebase_info)(&raw mut timebase) };
        timebase
    }

    /// A number or text that the system tells by name, at most 63 bytes.
    pub fn system(self, name: &CStr) -> Option<Vec<u8>> {
        let mut bytes = [0_u8; 64];
        let mut size = bytes.len() - 1;
        // SAFETY: it reads the name and writes at most `size` bytes; nothing is set.
        let failed = unsafe {
            (self.0.sysctlbyname)(
                name.as_ptr(),
                bytes.as_mut_ptr().cast(),
                &raw mut size,
                ptr::null_mut(),
                0,
            )
        };
        (failed == 0).then(|| bytes[..size.min(bytes.len())].to_vec())
    }

    /// The default identification registers, by the framework's number.
    pub fn feature(self, number: u32) -> Answer<u64> {
        // SAFETY: it only makes an object.
        let config = unsafe { (self.0.hv_vcpu_config_create)() };
        let mut value = 0;
        // SAFETY: the object was just made; it writes one integer.
        let code =
            unsafe { (self.0.hv_vcpu_config_get_feature_reg)(config, number, &raw mut value) };
        self.release(config);
        check(code, ())?;
        Ok(value)
    }

    /// Which functions newer than the oldest macOS are there.
    pub fn newer_functions(self) -> Value {
        let table = self.0;
        json!({
            "hv_vm_config_get_el2_supported": table.hv_vm_config_get_el2_supported.is_some(),
            "hv_sme_config_get_max_svl_bytes": table.hv_sme_config_get_max_svl_bytes.is_some(),
            "hv_vm_config_get_default_ipa_granule": table.hv_vm_config_get_default_ipa_granule.is_some(),
        })
    }
}

/// A vCPU of the thread that made it; it ends with this.
#[derive(Debug)]
pub struct Vcpu {
    raw: Raw,
    handle: VcpuHandle,
    exit: *mut ExitRecord,
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        // SAFETY: nobody has the vCPU any more.
        let _ = unsafe { (self.raw.0.hv_vcpu_destroy)(self.handle) };
    }
}

impl Vcpu {
    /// The framework's number for it.
    pub fn handle(&self) -> VcpuHandle {
        self.handle
    }

    /// Enters the guest.
    pub fn run(&mut self) -> Answer<ExitRecord> {
        // SAFETY: this is the vCPU's thread.
        check(unsafe { (self.raw.0.hv_vcpu_run)(self.handle) }, ())?;
        // SAFETY: the framework made the record for as long as the vCPU lives, and just wrote it.
        Ok(unsafe { self.exit.read() })
    }

    /// A general register.
    pub fn reg(&self, reg: u32) -> Answer<u64> {
        self.raw.reg_of(self.handle, reg)
    }

    /// Sets a general register.
    pub fn set_reg(&mut self, reg: u32, value: u64) -> Answer<()> {
        // SAFETY: it reads integers.
        check(
            unsafe { (self.raw.0.hv_vcpu_set_reg)(self.handle, reg, value) },
            (),
        )
    }

    /// A system register.
    pub fn sysreg(&self, reg: u16) -> Answer<u64> {
        let mut value = 0;
        // SAFETY: it writes one integer.
        let code = unsafe { (self.raw.0.hv_vcpu_get_sys_reg)(self.handle, reg, &raw mut value) };
        check(code, ())?;
        Ok(value)
    }

    /// Sets a system register.
    pub fn set_sysreg(&mut self, reg: u16, value: u64) -> Answer<()> {
        // SAFETY: it reads integers.
        check(
            unsafe { (self.raw.0.hv_vcpu_set_sys_reg)(self.handle, reg, value) },
            (),
        )
    }

    /// A SIMD register.
    pub fn simd(&self, reg: u32) -> Answer<u128> {
        let mut value = 0;
        // SAFETY: it writes 16 bytes.
        let code =
            unsafe { (self.raw.0.hv_vcpu_get_simd_fp_reg)(self.handle, reg, &raw mut value) };
        check(code, ())?;
        Ok(value)
    }

    /// Sets a SIMD register.
    pub fn set_simd(&mut self, reg: u32, value: u128) -> Answer<()> {
        let setter = self.raw.0.hv_vcpu_set_simd_fp_reg;
        // SAFETY: the setter is a function of that type, and the value is readable.
        let code = unsafe { set_vector(self.handle, reg, &raw const value, setter) };
        check(code, ())
    }

    /// Holds an interrupt input high for the next entry.
    pub fn interrupt(&mut self, input: u32) -> Answer<()> {
        // SAFETY: it reads integers.
        let code = unsafe { (self.raw.0.hv_vcpu_set_pending_interrupt)(self.handle, input, true) };
        check(code, ())
    }

    /// Keeps the timer from leaving the guest, or not.
    pub fn set_timer_mask(&mut self, masked: bool) -> Answer<()> {
        // SAFETY: it reads integers.
        check(
            unsafe { (self.raw.0.hv_vcpu_set_vtimer_mask)(self.handle, masked) },
            (),
        )
    }

    /// Sets what the guest's counter lies behind the host's ticks.
    pub fn set_counter_offset(&mut self, offset: u64) -> Answer<()> {
        // SAFETY: it reads integers.
        check(
            unsafe { (self.raw.0.hv_vcpu_set_vtimer_offset)(self.handle, offset) },
            (),
        )
    }
}
