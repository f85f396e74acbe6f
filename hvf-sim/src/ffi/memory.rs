//! Guest memory.

// UNSAFETY: functions of C, which take pointers.

use std::ffi::c_void;
use std::ptr::NonNull;

use hv_backend::hvf::abi::{PAGE_SIZE, Return, memory, status};

use super::vm::{check_given_back, check_host_memory};
use super::{is_whole_pages, no_vm};
use crate::faults;
use crate::host_memory::{Backing, backing};
use crate::lent::Lent;
use crate::stage2::Refusal;
use crate::violation::{Violation, record};
use crate::world::world;

const KNOWN_FLAGS: u64 = memory::READ | memory::WRITE | memory::EXEC;

/// The guest's rights by flags, which have the same bits.
fn rights(call: &'static str, flags: u64) -> Option<u8> {
    if flags & !KNOWN_FLAGS != 0 {
        record(Violation::UnknownFlags { call, flags });
        return None;
    }
    Some(flags as u8)
}

/// `hv_vm_map`. Documented: alignment, and that the memory is one region of the host's. Measured:
/// what is larger than that or a shared file opened read-only fails. Guesses: the codes for
/// misalignment, for addresses beyond the VM's, and for overlaps.
pub(crate) unsafe extern "C" fn map(
    host: *mut c_void,
    ipa: u64,
    size: usize,
    flags: u64,
) -> Return {
    const CALL: &str = "hv_vm_map";
    let size = size as u64;
    let mut world = world();
    let Some(vm) = &mut world.vm else {
        return no_vm(CALL);
    };
    let Some(rights) = rights(CALL, flags) else {
        return status::BAD_ARGUMENT;
    };
    if !is_whole_pages(CALL, ipa, size) {
        return status::BAD_ARGUMENT;
    }
    let Some(base) = NonNull::new(host.cast::<u8>()) else {
        record(Violation::NullPointer { call: CALL });
        return status::BAD_ARGUMENT;
    };
    if !(host.addr() as u64).is_multiple_of(PAGE_SIZE) {
        let call = CALL;
        record(Violation::Misaligned { call, ipa, size });
        return status::BAD_ARGUMENT;
    }
    if ipa + size > 1 << vm.address_bits {
        return status::BAD_ARGUMENT;
    }
    if faults::fails_this_map() {
        return status::NO_RESOURCES;
    }
    check_host_memory(vm, 0, u64::MAX);
    if backing(host.addr() as u64, size) != Backing::Whole {
        return status::ERROR;
    }
    // SAFETY: the promise of who calls hv_vm_map.
    let lent = unsafe { Lent::new(base, size) };
    match vm.stage2.map(ipa, size, lent, rights) {
        Ok(()) => vm.publish_layout(),
        Err(Refusal::Overlap) => {
            record(Violation::Overlap { ipa, size });
            return status::ERROR;
        }
        Err(Refusal::NotMapped | Refusal::Unusable) => return status::ERROR,
    }
    status::SUCCESS
}

/// `hv_vm_unmap`: any part of what is mapped. What happens to the rest is a guess: nothing is done.
pub(crate) unsafe extern "C" fn unmap(ipa: u64, size: usize) -> Return {
    const CALL: &str = "hv_vm_unmap";
    let size = size as u64;
    let mut world = world();
    let Some(vm) = &mut world.vm else {
        return no_vm(CALL);
    };
    if !is_whole_pages(CALL, ipa, size) {
        return status::BAD_ARGUMENT;
    }
    check_host_memory(vm, ipa, size);
    check_given_back(vm, ipa, size);
    match vm.stage2.unmap(ipa, size) {
        Ok(()) => vm.publish_layout(),
        Err(refusal) => return refuse(CALL, refusal, ipa, size),
    }
    status::SUCCESS
}

/// `hv_vm_protect`: in force for every access that begins after it returned, on vCPUs that run too.
pub(crate) unsafe extern "C" fn protect(ipa: u64, size: usize, flags: u64) -> Return {
    const CALL: &str = "hv_vm_protect";
    let size = size as u64;
    let mut world = world();
    let Some(vm) = &mut world.vm else {
        return no_vm(CALL);
    };
    let Some(rights) = rights(CALL, flags) else {
        return status::BAD_ARGUMENT;
    };
    if !is_whole_pages(CALL, ipa, size) {
        return status::BAD_ARGUMENT;
    }
    match vm.stage2.protect(ipa, size, rights) {
        Ok(true) => vm.publish_rights(flags & memory::EXEC == 0),
        Ok(false) => {}
        Err(refusal) => return refuse(CALL, refusal, ipa, size),
    }
    status::SUCCESS
}

fn refuse(call: &'static str, refusal: Refusal, ipa: u64, size: u64) -> Return {
    match refusal {
        Refusal::NotMapped => record(Violation::NotMapped { call, ipa, size }),
        Refusal::Overlap | Refusal::Unusable => {}
    }
    status::ERROR
}
