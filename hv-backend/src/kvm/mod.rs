//! The `kvm` backend: guests on the processor itself, through KVM of an arm64 Linux.
//!
//! What the kernel does without an exit: memory, the GICv3 with its CPU interface, the timers,
//! WFI and the identification registers. What leaves as an [`Exit`](crate::api::Exit): accesses to
//! where no memory is, and PSCI calls, which the SMCCC filter hands on, so that one policy in the
//! VMM decides for every accelerator. `CPU_SUSPEND` stays with the kernel, which knows of the
//! interrupts to wait for.
//!
//! | file | what |
//! |---|---|
//! | `vm` | a VM: memory slots, the GIC, the counter, kicks |
//! | `gic`, `gic_state` | the kernel's GICv3, and its state |
//! | `vcpu` | a vCPU: the run loop's answers and exits |
//! | `state` | a vCPU's registers |
//! | `debug` | guest debug |
//! | `dirty` | the log of written memory |
//! | `doorbells` | events in place of exits and calls |
//! | `kick` | how another thread gets a vCPU out of the guest |
//! | `cpu_model` | the CPU model, in the identification registers |
//! | `sys` | the system calls that `kvm-ioctls` leaves to us; the only unsafe code |
//! | `exits`, `signed_load`, `registers`, `gic_registers`, `wires`, `obstacle` | pure: fields of exits, loads that KVM gets wrong, numbers of registers, the SPIs' wires, reasons for users |
//!
//! Steal time is off: to a guest that asks (`PV_TIME_FEATURES`, which stays with the kernel like all
//! calls but PSCI's), the kernel says `NOT_SUPPORTED` as long as the VMM names no memory for it. The
//! offset of the counter is the VM's, so that one call moves it for all vCPUs, which must not run.
//!
//! Needed of the host: Linux 6.4 (SMCCC filter, counter offset) and a GICv3.

mod cpu_model;
mod debug;
mod dirty;
mod doorbells;
pub mod exits;
mod gic;
pub mod gic_registers;
pub mod gic_state;
mod kick;
pub mod obstacle;
pub mod registers;
pub mod signed_load;
mod state;
mod sys;
mod vcpu;
mod vm;
pub mod wires;

use std::io;

use aarch64::cpu_model::CpuModel;
use aarch64::machine;
use kvm_bindings::{KVM_API_VERSION, KVM_CAP_ARM_INJECT_EXT_DABT, KVM_CAP_ARM_NISV_TO_USER};
use kvm_bindings::{KVM_CAP_COUNTER_OFFSET, KVM_CAP_READONLY_MEM};
use kvm_ioctls::{Cap, Kvm};

use crate::api::{Caps, HostError, Hypervisor, TimeSource, Vm, VmConfig};
use obstacle::Obstacle;
use vm::KvmVm;

/// KVM's name for "the caller passes the number of address bits": the least that it takes.
const MIN_ADDRESS_BITS: u8 = 32;

/// The accelerator.
#[derive(Debug)]
pub struct KvmHost {
    kvm: Kvm,
    caps: Caps,
}

/// Opens KVM.
///
/// # Errors
/// What stands in the way.
pub fn open() -> Result<Box<dyn Hypervisor>, Obstacle> {
    let kvm = Kvm::new().map_err(|error| Obstacle::Device(io::Error::from(error).kind()))?;
    let version = kvm.get_api_version();
    if u32::try_from(version) != Ok(KVM_API_VERSION) {
        return Err(Obstacle::Version(version));
    }
    for (cap, what, since) in [
        (Cap::ImmediateExit as u32, "immediate exit", "4.13"),
        (
            Cap::ArmVmIPASize as u32,
            "choice of the address size",
            "4.20",
        ),
        (KVM_CAP_READONLY_MEM, "read-only memory", "3.18"),
        (
            KVM_CAP_ARM_INJECT_EXT_DABT,
            "injection of external aborts",
            "5.5",
        ),
        (
            KVM_CAP_ARM_NISV_TO_USER,
            "report of undecoded accesses",
            "5.5",
        ),
        (KVM_CAP_COUNTER_OFFSET, "offset of the counter", "6.4"),
    ] {
        if kvm.check_extension_raw(cap.into()) <= 0 {
            return Err(Obstacle::Lacks(what, since));
        }
    }
    probe(&kvm)?;
    let most = u16::try_from(kvm.get_max_vcpus()).unwrap_or(u16::MAX);
    let caps = Caps {
        max_vcpus: most.min(machine::MAX_VCPUS),
        address_bits: u8::try_from(kvm.get_host_ipa_limit()).unwrap_or(MIN_ADDRESS_BITS),
        counter_frequency: sys::counter_frequency(),
        any_frequency_up_to: None,
    };
    Ok(Box::new(KvmHost { kvm, caps }))
}

/// Tries on a VM what only a VM can tell.
fn probe(kvm: &Kvm) -> Result<(), Obstacle> {
    let vm = kvm
        .create_vm_with_ipa_size(MIN_ADDRESS_BITS.into())
        .map_err(|error| Obstacle::Call("KVM_CREATE_VM", error.to_string()))?;
    match gic::is_offered(&vm) {
        Ok(true) => {}
        Ok(false) => return Err(Obstacle::NoGicV3),
        Err(error) => {
            let call = "KVM_CREATE_DEVICE of a GICv3";
            return Err(Obstacle::Call(call, error.to_string()));
        }
    }
    if !vm::can_filter_calls(&vm) {
        return Err(Obstacle::Lacks("filter for firmware calls", "6.4"));
    }
    Ok(())
}

impl Hypervisor for KvmHost {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError> {
        config.within(&self.caps, "this host's KVM")?;
        let VmConfig {
            vcpus,
            address_bits,
            time,
            counter_frequency: _,
            cpu,
        } = *config;
        if time == TimeSource::Instructions {
            let line = "KVM counts no instructions to make time of".into();
            return Err(HostError::Limit(line));
        }
        let size = address_bits.max(MIN_ADDRESS_BITS).into();
        let vm = self.kvm.create_vm_with_ipa_size(size);
        let vm = vm.map_err(failed("KVM_CREATE_VM"))?;
        Ok(Box::new(KvmVm::new(vm, vcpus, cpu)?))
    }

    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError> {
        let vm = self.kvm.create_vm_with_ipa_size(MIN_ADDRESS_BITS.into());
        let vm = vm.map_err(failed("KVM_CREATE_VM"))?;
        KvmVm::new(vm, 1, model).map(drop)
    }
}

/// The version of the host's kernel.
fn kernel_release() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(
        |_| "of unknown version".into(),
        |release| release.trim_end().to_owned(),
    )
}

/// Turns a failed call into an error that names it.
fn failed(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> HostError {
    move |error| HostError::Os {
        call,
        source: error.into(),
    }
}
