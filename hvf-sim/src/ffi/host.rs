//! What the C library of macOS offers besides the framework.

// UNSAFETY: functions of C, which take pointers.

use std::ffi::{CStr, c_char, c_int, c_void};

use hv_backend::hvf::abi::Timebase;
use hv_backend::hvf::table::Object as Pointer;

use crate::clock;
use crate::profile::{Profile, Support};
use crate::world::world;

/// `os_release`
pub(crate) unsafe extern "C" fn os_release(object: Pointer) {
    world().objects.release(object.addr());
}

/// `mach_absolute_time`
pub(crate) unsafe extern "C" fn mach_absolute_time() -> u64 {
    clock::absolute()
}

/// `mach_continuous_time`
pub(crate) unsafe extern "C" fn mach_continuous_time() -> u64 {
    clock::continuous()
}

/// `mach_timebase_info`: 24 MHz.
pub(crate) unsafe extern "C" fn mach_timebase_info(info: *mut Timebase) -> c_int {
    let timebase = Timebase {
        numer: 125,
        denom: 3,
    };
    if info.is_null() {
        return -1;
    }
    // SAFETY: the caller's promise, and not null.
    unsafe { info.write(timebase) };
    0
}

/// `sysctlbyname`, for the names that say what the host is.
pub(crate) unsafe extern "C" fn sysctlbyname(
    name: *const c_char,
    old: *mut c_void,
    old_size: *mut usize,
    _new: *mut c_void,
    _new_size: usize,
) -> c_int {
    if name.is_null() || old_size.is_null() {
        return -1;
    }
    // SAFETY: a C string, as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    let profile = world().profile;
    let Some(value) = sysctl(name.to_bytes(), &profile) else {
        return -1;
    };
    // SAFETY: the caller's promise, and not null.
    let room = unsafe { old_size.read() };
    // SAFETY: as above.
    unsafe { old_size.write(value.len()) };
    if old.is_null() {
        return 0;
    }
    if room < value.len() {
        return -1;
    }
    // SAFETY: the caller says that there is room.
    unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), old.cast(), value.len()) };
    0
}

fn sysctl(name: &[u8], profile: &Profile) -> Option<Vec<u8>> {
    let flag = |set: bool| c_int::from(set).to_ne_bytes().to_vec();
    match name {
        b"kern.hv_support" => match profile.support {
            Support::Full | Support::NoEntitlement | Support::Intel => Some(flag(true)),
            Support::NoHypervisor => Some(flag(false)),
        },
        b"hw.optional.arm64" => (profile.support != Support::Intel).then(|| flag(true)),
        b"kern.osproductversion" => {
            let mut text = profile.macos.version().as_bytes().to_vec();
            text.push(0);
            Some(text)
        }
        _ => None,
    }
}

/// `sys_icache_invalidate`: guests' code is looked after elsewhere.
pub(crate) unsafe extern "C" fn sys_icache_invalidate(_start: *mut c_void, _size: usize) {}
