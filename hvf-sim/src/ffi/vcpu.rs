//! vCPUs: their lives, kicks, interrupts, timer and debug traps.

// UNSAFETY: functions of C, which take pointers.

use std::ptr;
use std::sync::Arc;

use aarch64::cpu_model;
use hv_backend::hvf::abi::{ExitRecord, Return, VcpuHandle, cache, status};
use hv_backend::hvf::table::Object as Pointer;

use super::{no_vm, put};
use crate::engine::{Engine, disown, is_owner, own, refuse_stranger, with_own};
use crate::ids;
use crate::objects::Object;
use crate::violation::{Violation, record};
use crate::world::{MOST_VCPUS, Seat, world};

/// `hv_vcpu_config_create`
pub(crate) unsafe extern "C" fn config_create() -> Pointer {
    ptr::without_provenance_mut(world().objects.create(Object::Vcpu))
}

/// Whether a configuration is one of a vCPU. That another is a bad argument is a guess.
fn is_config(config: Pointer) -> bool {
    world().objects.get(config.addr()) == Some(Object::Vcpu)
}

/// `hv_vcpu_config_get_feature_reg`
pub(crate) unsafe extern "C" fn config_get_feature_reg(
    config: Pointer,
    reg: u32,
    value: *mut u64,
) -> Return {
    let profile = world().profile;
    match ids::feature(reg, &profile) {
        // SAFETY: the caller's promise.
        Some(feature) if is_config(config) => unsafe {
            put("hv_vcpu_config_get_feature_reg", value, feature)
        },
        _ => status::BAD_ARGUMENT,
    }
}

/// `hv_vcpu_config_get_ccsidr_el1_sys_reg_values`: writes eight values, whatever the caller thinks.
pub(crate) unsafe extern "C" fn config_get_ccsidr_values(
    config: Pointer,
    kind: u32,
    values: *mut u64,
) -> Return {
    let instruction = match kind {
        cache::DATA => 0,
        cache::INSTRUCTION => 1,
        _ => return status::BAD_ARGUMENT,
    };
    if !is_config(config) {
        return status::BAD_ARGUMENT;
    }
    let level = |index: usize| cpu_model::ccsidr((index as u64) << 1 | instruction);
    let all: [u64; cache::CCSIDR_VALUES] = std::array::from_fn(level);
    // SAFETY: the caller's promise.
    unsafe {
        put(
            "hv_vcpu_config_get_ccsidr_el1_sys_reg_values",
            values.cast(),
            all,
        )
    }
}

/// `hv_vcpu_create`: the lowest number that is free, for a thread that has no vCPU yet.
pub(crate) unsafe extern "C" fn create(
    vcpu: *mut VcpuHandle,
    exit: *mut *mut ExitRecord,
    config: Pointer,
) -> Return {
    const CALL: &str = "hv_vcpu_create";
    if !config.is_null() && !is_config(config) {
        return status::BAD_ARGUMENT;
    }
    if vcpu.is_null() || exit.is_null() {
        record(Violation::NullPointer { call: CALL });
        return status::BAD_ARGUMENT;
    }
    if is_owner() {
        return status::BUSY;
    }
    let mut world = world();
    let profile = world.profile;
    let Some(vm) = &mut world.vm else {
        return no_vm(CALL);
    };
    let Some(free) = vm.vcpus.iter().position(Option::is_none) else {
        return status::NO_RESOURCES;
    };
    debug_assert!(free < MOST_VCPUS);
    let seat = Arc::new(Seat::new(free as u64, &vm.shared));
    vm.vcpus[free] = Some(Arc::clone(&seat));
    let engine = Engine::new(seat, Arc::clone(&vm.shared), profile);
    let record = engine.exit.address();
    own(engine);
    // SAFETY: the caller's promise, and not null.
    unsafe { vcpu.write(free as u64) };
    // SAFETY: the caller's promise, and not null.
    unsafe { exit.write(record) };
    status::SUCCESS
}

/// `hv_vcpu_destroy`
pub(crate) unsafe extern "C" fn destroy(vcpu: VcpuHandle) -> Return {
    match disown(vcpu) {
        Some(engine) => {
            engine.leave_world();
            status::SUCCESS
        }
        None => refuse_stranger(vcpu, "hv_vcpu_destroy"),
    }
}

/// `hv_vcpu_run`
pub(crate) unsafe extern "C" fn run(vcpu: VcpuHandle) -> Return {
    with_own(vcpu, "hv_vcpu_run", Engine::run)
}

/// `hv_vcpus_exit`, from any thread. None at all is no error and does nothing.
pub(crate) unsafe extern "C" fn exit(vcpus: *const VcpuHandle, count: u32) -> Return {
    const CALL: &str = "hv_vcpus_exit";
    if vcpus.is_null() || count == 0 {
        return status::SUCCESS;
    }
    let world = world();
    let mut result = status::SUCCESS;
    for index in 0..count as usize {
        // SAFETY: the caller has so many.
        let at = unsafe { vcpus.add(index) };
        // SAFETY: as above.
        let vcpu = unsafe { at.read() };
        match world.vm.as_ref().and_then(|vm| vm.seat(vcpu)) {
            Some(seat) => seat.cancel(),
            None => {
                // That one of the possible numbers without a vCPU is no error is a guess.
                record(Violation::NoSuchVcpu { call: CALL, vcpu });
                if vcpu >= MOST_VCPUS as u64 {
                    result = status::BAD_ARGUMENT;
                }
            }
        }
    }
    result
}

/// `hv_vcpu_get_pending_interrupt`
pub(crate) unsafe extern "C" fn get_pending_interrupt(
    vcpu: VcpuHandle,
    kind: u32,
    pending: *mut bool,
) -> Return {
    const CALL: &str = "hv_vcpu_get_pending_interrupt";
    with_own(vcpu, CALL, |engine| {
        match engine.pending.get(kind as usize) {
            // SAFETY: the caller's promise.
            Some(value) => unsafe { put(CALL, pending, *value) },
            None => status::BAD_ARGUMENT,
        }
    })
}

/// `hv_vcpu_set_pending_interrupt`
pub(crate) unsafe extern "C" fn set_pending_interrupt(
    vcpu: VcpuHandle,
    kind: u32,
    pending: bool,
) -> Return {
    with_own(vcpu, "hv_vcpu_set_pending_interrupt", |engine| match engine
        .pending
        .get_mut(kind as usize)
    {
        Some(value) => {
            *value = pending;
            status::SUCCESS
        }
        None => status::BAD_ARGUMENT,
    })
}

/// `hv_vcpu_get_vtimer_mask`
pub(crate) unsafe extern "C" fn get_vtimer_mask(vcpu: VcpuHandle, masked: *mut bool) -> Return {
    const CALL: &str = "hv_vcpu_get_vtimer_mask";
    // SAFETY: the caller's promise.
    with_own(vcpu, CALL, |engine| unsafe {
        put(CALL, masked, engine.vtimer_masked)
    })
}

/// `hv_vcpu_set_vtimer_mask`
pub(crate) unsafe extern "C" fn set_vtimer_mask(vcpu: VcpuHandle, masked: bool) -> Return {
    with_own(vcpu, "hv_vcpu_set_vtimer_mask", |engine| {
        engine.vtimer_masked = masked;
        status::SUCCESS
    })
}

/// `hv_vcpu_get_vtimer_offset`
pub(crate) unsafe extern "C" fn get_vtimer_offset(vcpu: VcpuHandle, offset: *mut u64) -> Return {
    const CALL: &str = "hv_vcpu_get_vtimer_offset";
    // SAFETY: the caller's promise.
    with_own(vcpu, CALL, |engine| unsafe {
        put(CALL, offset, engine.clock.offset())
    })
}

/// `hv_vcpu_set_vtimer_offset`
pub(crate) unsafe extern "C" fn set_vtimer_offset(vcpu: VcpuHandle, offset: u64) -> Return {
    with_own(vcpu, "hv_vcpu_set_vtimer_offset", |engine| {
        engine.clock.set_offset(offset);
        status::SUCCESS
    })
}

/// `hv_vcpu_get_trap_debug_exceptions`
pub(crate) unsafe extern "C" fn get_trap_debug_exceptions(
    vcpu: VcpuHandle,
    trapped: *mut bool,
) -> Return {
    const CALL: &str = "hv_vcpu_get_trap_debug_exceptions";
    // SAFETY: the caller's promise.
    with_own(vcpu, CALL, |engine| unsafe {
        put(CALL, trapped, engine.debug_traps().0)
    })
}

/// `hv_vcpu_set_trap_debug_exceptions`
pub(crate) unsafe extern "C" fn set_trap_debug_exceptions(
    vcpu: VcpuHandle,
    trapped: bool,
) -> Return {
    with_own(vcpu, "hv_vcpu_set_trap_debug_exceptions", |engine| {
        engine.set_debug_traps(trapped, engine.debug_traps().1);
        status::SUCCESS
    })
}

/// `hv_vcpu_get_trap_debug_reg_accesses`
pub(crate) unsafe extern "C" fn get_trap_debug_reg_accesses(
    vcpu: VcpuHandle,
    trapped: *mut bool,
) -> Return {
    const CALL: &str = "hv_vcpu_get_trap_debug_reg_accesses";
    // SAFETY: the caller's promise.
    with_own(vcpu, CALL, |engine| unsafe {
        put(CALL, trapped, engine.debug_traps().1)
    })
}

/// `hv_vcpu_set_trap_debug_reg_accesses`
pub(crate) unsafe extern "C" fn set_trap_debug_reg_accesses(
    vcpu: VcpuHandle,
    trapped: bool,
) -> Return {
    with_own(vcpu, "hv_vcpu_set_trap_debug_reg_accesses", |engine| {
        engine.set_debug_traps(engine.debug_traps().0, trapped);
        status::SUCCESS
    })
}
