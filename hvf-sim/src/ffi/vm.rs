//! The VM and its configuration.

// UNSAFETY: functions of C, which take pointers.

use std::ptr;

use hv_backend::hvf::abi::{DEFAULT_ADDRESS_BITS, Return, status};
use hv_backend::hvf::table::Object as Pointer;

use super::{no_vm, put};
use crate::host_memory::{Backing, backing};
use crate::objects::Object;
use crate::profile::Support;
use crate::violation::{Violation, record};
use crate::world::{MOST_VCPUS, Vm, world};

/// `HV_IPA_GRANULE_16KB`
const GRANULE_16K: u32 = 1;

/// `hv_vm_create`
pub(crate) unsafe extern "C" fn create(config: Pointer) -> Return {
    let mut world = world();
    match world.profile.support {
        Support::Full => {}
        Support::NoEntitlement => return status::DENIED,
        Support::NoHypervisor | Support::Intel => return status::UNSUPPORTED,
    }
    if world.vm.is_some() {
        return status::BUSY;
    }
    let address_bits = if config.is_null() {
        DEFAULT_ADDRESS_BITS.into()
    } else {
        match world.objects.get(config.addr()) {
            Some(Object::Vm { address_bits }) => address_bits,
            // Guess.
            Some(Object::Vcpu) | None => return status::BAD_ARGUMENT,
        }
    };
    world.vm = Some(Vm::new(address_bits));
    status::SUCCESS
}

/// `hv_vm_destroy`. That a VM with vCPUs is busy is a guess; that it must have none is documented.
/// Memory has to be unmapped first because what backs it may go away before the framework looks.
pub(crate) unsafe extern "C" fn destroy() -> Return {
    let mut world = world();
    let Some(vm) = &mut world.vm else {
        return no_vm("hv_vm_destroy");
    };
    let count = vm.seats().count();
    if count != 0 {
        record(Violation::VcpusLeft { count });
        return status::BUSY;
    }
    let count = vm.stage2.count();
    if count != 0 {
        record(Violation::MappingsLeft { count });
    }
    check_host_memory(vm, 0, u64::MAX);
    world.vm = None;
    status::SUCCESS
}

/// Whether the memory that backs a part of the guest's is still there.
pub(crate) fn check_host_memory(vm: &Vm, ipa: u64, size: u64) {
    for (ipa, size, host) in vm.stage2.host_ranges(ipa, size) {
        if backing(host, size) == Backing::Missing {
            record(Violation::HostMemoryGone { ipa, size });
        }
    }
}

/// Whether what the guest wrote in a part of its memory is still in the host's.
pub(crate) fn check_given_back(vm: &Vm, ipa: u64, size: u64) {
    let gone = vm.stage2.given_back(ipa, size);
    if let Some(ipa) = gone.first().copied() {
        let pages = gone.len();
        record(Violation::GivenBack { ipa, pages });
    }
}

/// `hv_vm_get_max_vcpu_count`
pub(crate) unsafe extern "C" fn get_max_vcpu_count(count: *mut u32) -> Return {
    // SAFETY: the caller's promise.
    unsafe { put("hv_vm_get_max_vcpu_count", count, MOST_VCPUS as u32) }
}

/// `hv_vm_config_create`
pub(crate) unsafe extern "C" fn config_create() -> Pointer {
    let object = Object::Vm {
        address_bits: DEFAULT_ADDRESS_BITS.into(),
    };
    ptr::without_provenance_mut(world().objects.create(object))
}

/// `hv_vm_config_get_max_ipa_size`
pub(crate) unsafe extern "C" fn config_get_max_ipa_size(bits: *mut u32) -> Return {
    let most = world().profile.chip.max_address_bits();
    // SAFETY: the caller's promise.
    unsafe { put("hv_vm_config_get_max_ipa_size", bits, most) }
}

/// `hv_vm_config_get_default_ipa_size`
pub(crate) unsafe extern "C" fn config_get_default_ipa_size(bits: *mut u32) -> Return {
    let default = DEFAULT_ADDRESS_BITS.into();
    // SAFETY: the caller's promise.
    unsafe { put("hv_vm_config_get_default_ipa_size", bits, default) }
}

/// `hv_vm_config_set_ipa_size`: less than the default is fine, even 0.
pub(crate) unsafe extern "C" fn config_set_ipa_size(config: Pointer, bits: u32) -> Return {
    let mut world = world();
    if bits > world.profile.chip.max_address_bits() {
        return status::UNSUPPORTED;
    }
    let object = Object::Vm { address_bits: bits };
    match world.objects.get(config.addr()) {
        Some(Object::Vm { .. }) if world.objects.set(config.addr(), object) => status::SUCCESS,
        // Guess.
        _ => status::BAD_ARGUMENT,
    }
}

/// `hv_vm_config_get_ipa_size`
pub(crate) unsafe extern "C" fn config_get_ipa_size(config: Pointer, bits: *mut u32) -> Return {
    let object = world().objects.get(config.addr());
    match object {
        // SAFETY: the caller's promise.
        Some(Object::Vm { address_bits }) => unsafe {
            put("hv_vm_config_get_ipa_size", bits, address_bits)
        },
        // Guess.
        Some(Object::Vcpu) | None => status::BAD_ARGUMENT,
    }
}

/// `hv_vm_config_get_el2_supported`
pub(crate) unsafe extern "C" fn config_get_el2_supported(supported: *mut bool) -> Return {
    let el2 = world().profile.chip.has_el2();
    // SAFETY: the caller's promise.
    unsafe { put("hv_vm_config_get_el2_supported", supported, el2) }
}

/// `hv_vm_config_get_default_ipa_granule`
pub(crate) unsafe extern "C" fn config_get_default_ipa_granule(granule: *mut u32) -> Return {
    // SAFETY: the caller's promise.
    unsafe { put("hv_vm_config_get_default_ipa_granule", granule, GRANULE_16K) }
}

/// `hv_sme_config_get_max_svl_bytes`
pub(crate) unsafe extern "C" fn sme_config_get_max_svl_bytes(bytes: *mut usize) -> Return {
    let of_chip = world().profile.chip.sme_bytes();
    match of_chip {
        // SAFETY: the caller's promise.
        Some(value) => unsafe { put("hv_sme_config_get_max_svl_bytes", bytes, value) },
        None => status::UNSUPPORTED,
    }
}
