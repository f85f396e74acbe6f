//! The only code that calls Hypervisor.framework, one safe wrapper for each function.
//!
//! What the framework asks of its callers is kept here by types: a [`vcpu::RawVcpu`] stays on the
//! thread that made it, a [`Backing`] is memory that outlives its mapping because who maps holds it,
//! and a [`vcpu::Stop`] can be used from any thread but not after its vCPU is gone.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the VM, memory, time, what the host offers |
//! | `vcpu` | a vCPU and its registers |
//! | `table` | the functions |
//! | `framework` | where a Mac has them |
//! | `vector_*` | the call that passes a vector by value, for each processor |

// UNSAFETY: calls functions of C through a table.
#![expect(unsafe_code, reason = "functions of C")]

pub mod table;
pub mod vcpu;

use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use memory::Region;

use super::abi::{Return, Timebase, feature, memory as flags, status};
use crate::api::HostError;
use table::{Object, Table};

static REGISTERED: Mutex<Option<&'static Table>> = Mutex::new(None);

/// Makes `table` stand for the framework in this process, for tests, from the next
/// [`open`](super::open) on.
///
/// # Safety
/// Its functions have the types and keep the rules of the framework's.
pub unsafe fn register(table: &'static Table) {
    *registry() = Some(table);
}

/// What [`register`] was given.
pub fn registered() -> Option<&'static Table> {
    *registry()
}

fn registry() -> MutexGuard<'static, Option<&'static Table>> {
    REGISTERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A function of the framework did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which function.
    pub call: &'static str,
    /// What it returned.
    pub code: Return,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match status::name(self.code) {
            Some(name) => f.write_str(name),
            None => write!(f, "error {:#x}", self.code),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for HostError {
    fn from(failure: Failure) -> Self {
        Self::Os {
            call: failure.call,
            source: std::io::Error::other(failure),
        }
    }
}

/// The outcome of a call.
type Result<T> = std::result::Result<T, Failure>;

fn check(call: &'static str, code: Return) -> Result<()> {
    match code {
        status::SUCCESS => Ok(()),
        code => Err(Failure { call, code }),
    }
}

/// What the guest may do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Read and execute.
    ReadExecute,
    /// All.
    All,
}

impl Rights {
    fn flags(self) -> u64 {
        match self {
            Self::ReadExecute => flags::READ | flags::EXEC,
            Self::All => flags::READ | flags::WRITE | flags::EXEC,
        }
    }
}

/// Guest memory in a region: which bytes of it.
#[derive(Clone, Copy, Debug)]
pub struct Backing<'a> {
    /// The region.
    pub region: &'a Region,
    /// First byte.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// The functions of the host.
#[derive(Clone, Copy, Debug)]
pub struct Framework(&'static Table);

impl Framework {
    /// Those in `table`.
    pub fn new(table: &'static Table) -> Self {
        Self(table)
    }

    /// Whether the host says that it runs VMs at all. `None`: it has never heard of it.
    pub fn is_supported(self) -> Option<bool> {
        self.flag(c"kern.hv_support")
    }

    /// Whether the processor is Apple's own. On a Mac with another one the framework has functions of
    /// the same names that do something else.
    pub fn is_apple_silicon(self) -> bool {
        self.flag(c"hw.optional.arm64") == Some(true)
    }

    fn flag(self, name: &CStr) -> Option<bool> {
        let mut value = [0; 4];
        let read = self.sysctl(name, &mut value)?;
        (read == value.len()).then(|| i32::from_ne_bytes(value) != 0)
    }

    /// The version of macOS.
    pub fn system_version(self) -> Option<String> {
        let mut value = [0; 32];
        let read = self.sysctl(c"kern.osproductversion", &mut value)?;
        let text = CStr::from_bytes_until_nul(value.get(..read)?).ok()?;
        text.to_str().ok().map(str::to_owned)
    }

    fn sysctl(self, name: &CStr, value: &mut [u8]) -> Option<usize> {
        let mut size = value.len();
        // SAFETY: the name ends in a NUL, `size` says how much may be written, nothing is set.
        let result = unsafe {
            (self.0.sysctlbyname)(
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                &raw mut size,
                ptr::null_mut(),
                0,
            )
        };
        (result == 0).then_some(size)
    }

    /// Ticks since the host started, less those it slept.
    pub fn awake_ticks(self) -> u64 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { (self.0.mach_absolute_time)() }
    }

    /// Ticks since the host started.
    pub fn all_ticks(self) -> u64 {
        // SAFETY: it takes nothing and cannot fail.
        unsafe { (self.0.mach_continuous_time)() }
    }

    /// What a tick is.
    pub fn timebase(self) -> Result<Timebase> {
        let mut info = Timebase::default();
        // SAFETY: it writes the structure.
        let code = unsafe { (self.0.mach_timebase_info)(&raw mut info) };
        check("mach_timebase_info", code).map(|()| info)
    }

    /// The most vCPUs of a VM.
    pub fn max_vcpus(self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: it writes the integer.
        let code = unsafe { (self.0.hv_vm_get_max_vcpu_count)(&raw mut count) };
        check("hv_vm_get_max_vcpu_count", code).map(|()| count)
    }

    /// The most bits of guest physical address that a VM may be made with.
    pub fn max_address_bits(self) -> Result<u32> {
        let mut bits = 0;
        // SAFETY: it writes the integer.
        let code = unsafe { (self.0.hv_vm_config_get_max_ipa_size)(&raw mut bits) };
        check("hv_vm_config_get_max_ipa_size", code).map(|()| bits)
    }

    /// Makes the VM of this process.
    pub fn create_vm(self, address_bits: u32) -> Result<()> {
        // SAFETY: it takes nothing; the object is ours.
        let config = unsafe { (self.0.hv_vm_config_create)() };
        let config = Owned(self, config);
        // SAFETY: the object is a configuration, or null, which is refused.
        let code = unsafe { (self.0.hv_vm_config_set_ipa_size)(config.1, address_bits) };
        check("hv_vm_config_set_ipa_size", code)?;
        // SAFETY: as above; the framework does not keep it.
        check("hv_vm_create", unsafe { (self.0.hv_vm_create)(config.1) })
    }

    /// Ends the VM of this process, which has no vCPUs any more.
    pub fn destroy_vm(self) -> Result<()> {
        // SAFETY: nothing of the VM is used after this: its owner is being dropped.
        check("hv_vm_destroy", unsafe { (self.0.hv_vm_destroy)() })
    }

    /// Backs guest addresses from `gpa` on. The caller keeps the region until they are unmapped.
    pub fn map(self, gpa: u64, backing: Backing<'_>, rights: Rights) -> Result<()> {
        let Backing {
            region,
            offset,
            bytes,
        } = backing;
        let end = offset.checked_add(bytes);
        if end.is_none_or(|end| end > region.size()) {
            let code = status::BAD_ARGUMENT;
            return Err(Failure {
                call: "hv_vm_map",
                code,
            });
        }
        let base = region.host_base().as_ptr().wrapping_add(offset as usize);
        // SAFETY: the memory is inside of a region, made to be shared with a guest; the caller keeps
        // it.
        let code = unsafe { (self.0.hv_vm_map)(base.cast(), gpa, bytes as usize, rights.flags()) };
        check("hv_vm_map", code)
    }

    /// Takes backing away.
    pub fn unmap(self, gpa: u64, bytes: u64) -> Result<()> {
        // SAFETY: it takes integers; the guest traps where memory is gone.
        let code = unsafe { (self.0.hv_vm_unmap)(gpa, bytes as usize) };
        check("hv_vm_unmap", code)
    }

    /// Changes what the guest may do with mapped memory. Any thread, vCPUs may run.
    pub fn protect(self, gpa: u64, bytes: u64, rights: Rights) -> Result<()> {
        // SAFETY: it takes integers.
        let code = unsafe { (self.0.hv_vm_protect)(gpa, bytes as usize, rights.flags()) };
        check("hv_vm_protect", code)
    }

    /// Makes instruction fetches see what was written to a region.
    pub fn publish_code(self, region: &Region) {
        let base = region.host_base().as_ptr().cast();
        // SAFETY: the memory is mapped as long as the region.
        unsafe { (self.0.sys_icache_invalidate)(base, region.size() as usize) }
    }

    /// The value that vCPUs start with of one of [`feature`].
    pub fn feature(self, reg: u32) -> Result<u64> {
        debug_assert!(reg <= feature::DCZID);
        // SAFETY: it takes nothing; the object is ours.
        let config = Owned(self, unsafe { (self.0.hv_vcpu_config_create)() });
        let mut value = 0;
        // SAFETY: the object is a configuration, or null, which is refused; it writes the integer.
        let code =
            unsafe { (self.0.hv_vcpu_config_get_feature_reg)(config.1, reg, &raw mut value) };
        check("hv_vcpu_config_get_feature_reg", code).map(|()| value)
    }
}

/// An object to give back.
struct Owned(Framework, Object);

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.1.is_null() {
            // SAFETY: it is ours, and used no more.
            unsafe { (self.0.0.os_release)(self.1) }
        }
    }
}
