//! A debugger's wishes, as KVM takes them (`KVM_SET_GUEST_DEBUG`).

use kvm_bindings::{
    KVM_CAP_GUEST_DEBUG_HW_BPS, KVM_CAP_GUEST_DEBUG_HW_WPS, KVM_GUESTDBG_ENABLE,
    KVM_GUESTDBG_SINGLESTEP, KVM_GUESTDBG_USE_HW, KVM_GUESTDBG_USE_SW_BP, kvm_guest_debug,
};
use kvm_ioctls::{VcpuFd, VmFd};

use super::failed;
use crate::api::HostError;
use crate::debug::Mode;
use crate::debug::registers::{Registers, Slots};

/// How many debug registers the host lends.
pub fn slots(vm: &VmFd) -> Slots {
    let count = |cap: u32| usize::try_from(vm.check_extension_raw(cap.into())).unwrap_or(0);
    Slots {
        breakpoints: count(KVM_CAP_GUEST_DEBUG_HW_BPS),
        watchpoints: count(KVM_CAP_GUEST_DEBUG_HW_WPS),
    }
}

/// Makes a vCPU stop as `mode` says, at `registers`.
pub fn apply(fd: &VcpuFd, mode: Mode, registers: &Registers) -> Result<(), HostError> {
    let mut debug = kvm_guest_debug::default();
    let Mode { step, armed, brk } = mode;
    for (wanted, flag) in [
        (step || armed || brk, KVM_GUESTDBG_ENABLE),
        (step, KVM_GUESTDBG_SINGLESTEP),
        (armed, KVM_GUESTDBG_USE_HW),
        (brk, KVM_GUESTDBG_USE_SW_BP),
    ] {
        if wanted {
            debug.control |= flag;
        }
    }
    let arch = &mut debug.arch;
    let breakpoints = arch.dbg_bvr.iter_mut().zip(&mut arch.dbg_bcr);
    for ((value, control), pair) in breakpoints.zip(&registers.breakpoints) {
        (*value, *control) = (pair.value, pair.control);
    }
    let watchpoints = arch.dbg_wvr.iter_mut().zip(&mut arch.dbg_wcr);
    for ((value, control), pair) in watchpoints.zip(&registers.watchpoints) {
        (*value, *control) = (pair.value, pair.control);
    }
    let result = fd.set_guest_debug(&debug);
    result.map_err(failed("KVM_SET_GUEST_DEBUG"))
}
