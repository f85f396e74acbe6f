//! A VM of the `kvm` backend.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::cpu_model::CpuModel;
use aarch64::psci::id;
use aarch64::state::CounterState;
use aarch64::{Gpa, VcpuId};
use kvm_bindings::{
    KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER,
    KVM_CAP_ARM_NISV_TO_USER, kvm_device_attr, kvm_smccc_filter,
    kvm_smccc_filter_action_KVM_SMCCC_FILTER_FWD_TO_USER, kvm_vcpu_init,
};
use kvm_ioctls::{VcpuFd, VmFd};
use memory::{Layout, LayoutError, PageSet, Prot, Region};

use super::gic::KvmGic;
use super::kick::Kick;
use super::vcpu::KvmVcpu;
use super::{cpu_model, debug, dirty, failed, gic, sys};
use crate::api::{DirtyLog, Doorbells, HostError, KernelGic, Vcpu, Vm};
use crate::debug::registers::Slots;
use crate::discard::{self, Part};

/// Functions of PSCI that leave to the VMM: numbers 0 and 2 to 31 of each width, all but
/// `CPU_SUSPEND`. First and how many.
const FORWARDED: [(u32, u32); 4] = [
    (id::VERSION, 1),
    (id::CPU_OFF, 30),
    (WIDE | id::VERSION, 1),
    (WIDE | id::CPU_OFF, 30),
];
/// The bit of a function's number that says that its arguments have 64 bits.
const WIDE: u32 = 0x4000_0000;

const SET_SLOT: &str = "KVM_SET_USER_MEMORY_REGION";

/// What the VM and its vCPUs share. A vCPU keeps the guest's memory as long as it exists.
#[derive(Debug)]
pub struct Shared {
    kicks: Vec<Kick>,
    memory: Mutex<Memory>,
    /// The host's debug registers.
    pub debug_slots: Slots,
}

impl Shared {
    /// The kicks of a vCPU of the VM.
    pub fn kick(&self, id: VcpuId) -> Option<&Kick> {
        self.kicks.get(id.index())
    }

    /// Guest memory, which nobody changes meanwhile.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guest memory, and which slot of KVM each mapping has.
#[derive(Debug, Default)]
pub struct Memory {
    pub layout: Arc<Layout>,
    slots: Vec<(Gpa, u32)>,
    /// The kernel logs which pages are written.
    logs: bool,
}

impl Memory {
    fn free_slot(&self) -> u32 {
        let free = |slot: &u32| self.slots.iter().all(|(_, taken)| taken != slot);
        (0..u32::MAX).find(free).unwrap_or(u32::MAX)
    }

    /// The mapping that begins at `gpa`, and its slot.
    fn mapping(&self, gpa: Gpa) -> Option<(Prot, u32, &Region)> {
        let (_, slot) = self.slots.iter().find(|(at, _)| *at == gpa)?;
        let (mapping, _) = self.layout.find(gpa)?;
        Some((mapping.prot, *slot, &mapping.region))
    }
}

/// A VM.
#[derive(Debug)]
pub struct KvmVm {
    unbound: Mutex<Vec<Option<VcpuFd>>>,
    gic: KvmGic,
    vm: Arc<VmFd>,
    /// What guest counters lie behind the host's.
    counter_offset: AtomicU64,
    shared: Arc<Shared>,
}

impl KvmVm {
    /// Gives `vm` its vCPUs, GIC, CPU model and counter, in the order that the kernel asks for.
    pub fn new(vm: VmFd, vcpus: u16, model: CpuModel) -> Result<Self, HostError> {
        sys::catch_interrupts();
        sys::enable_cap(&vm, KVM_CAP_ARM_NISV_TO_USER).map_err(os("KVM_ENABLE_CAP"))?;
        let offset = sys::host_counter();
        set_counter_offset(&vm, offset)?;
        for (base, functions) in FORWARDED {
            forward_calls(&vm, base, functions)?;
        }
        let init = vcpu_init(&vm)?;
        let fds = (0..vcpus)
            .map(|n| make_vcpu(&vm, VcpuId(n), &init))
            .collect::<Result<Vec<_>, _>>()?;
        let device = gic::make(&vm, vcpus)?;
        if let Some(first) = fds.first() {
            cpu_model::enforce(&vm, first, model)?;
        }
        let kicks = fds.iter().map(Kick::new).collect::<Result<_, _>>()?;
        let shared = Arc::new(Shared {
            kicks,
            memory: Mutex::default(),
            debug_slots: debug::slots(&vm),
        });
        let vm = Arc::new(vm);
        let gic = KvmGic::new(device, vm.clone(), &fds, init, shared.clone())?;
        Ok(Self {
            unbound: Mutex::new(fds.into_iter().map(Some).collect()),
            gic,
            vm,
            counter_offset: AtomicU64::new(offset),
            shared,
        })
    }
}

impl KvmVm {
    /// The kernel's handle of the VM.
    pub fn fd(&self) -> &VmFd {
        &self.vm
    }

    /// Starts or ends the log of every region that the guest may write.
    fn log(&self, on: bool) -> Result<(), HostError> {
        let mut memory = self.shared.memory();
        for (gpa, _) in &memory.slots {
            let Some((Prot::ReadWrite, slot, region)) = memory.mapping(*gpa) else {
                continue;
            };
            // Only a slot that did not log begins with an empty log.
            for log in if on { [false, true] } else { [false, false] } {
                let backing = Some((region, Prot::ReadWrite));
                sys::set_slot(&self.vm, slot, *gpa, backing, log).map_err(os(SET_SLOT))?;
            }
            if on {
                region.start_log();
            } else {
                region.stop_log();
            }
        }
        memory.logs = on;
        Ok(())
    }
}

/// How every vCPU of `vm` is made.
fn vcpu_init(vm: &VmFd) -> Result<kvm_vcpu_init, HostError> {
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init)
        .map_err(failed("KVM_ARM_PREFERRED_TARGET"))?;
    // What is not asked for, the guest does not have: no SVE, no pointer authentication, no PMU.
    init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2;
    Ok(init)
}

fn make_vcpu(vm: &VmFd, id: VcpuId, init: &kvm_vcpu_init) -> Result<VcpuFd, HostError> {
    let fd = vm.create_vcpu(id.0.into());
    let fd = fd.map_err(failed("KVM_CREATE_VCPU"))?;
    fd.vcpu_init(init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
    Ok(fd)
}

fn set_counter_offset(vm: &VmFd, offset: u64) -> Result<(), HostError> {
    sys::set_counter_offset(vm, offset).map_err(os("KVM_ARM_SET_COUNTER_OFFSET"))
}

/// As [`failed`], for calls of our own.
pub fn os(call: &'static str) -> impl FnOnce(std::io::Error) -> HostError {
    move |source| HostError::Os { call, source }
}

/// Hands calls of `count` functions from `base` on to the VMM.
fn forward_calls(vm: &VmFd, base: u32, count: u32) -> Result<(), HostError> {
    let filter = kvm_smccc_filter {
        base,
        nr_functions: count,
        action: kvm_smccc_filter_action_KVM_SMCCC_FILTER_FWD_TO_USER as u8,
        pad: [0; 15],
    };
    vm.set_device_attr(&filter_attribute(&filter))
        .map_err(failed("KVM_SET_DEVICE_ATTR of the SMCCC filter"))
}

fn filter_attribute(filter: &kvm_smccc_filter) -> kvm_device_attr {
    kvm_device_attr {
        flags: 0,
        group: KVM_ARM_VM_SMCCC_CTRL,
        attr: KVM_ARM_VM_SMCCC_FILTER.into(),
        addr: std::ptr::from_ref(filter) as u64,
    }
}

/// Whether the kernel can hand PSCI calls on.
pub fn can_filter_calls(vm: &VmFd) -> bool {
    let filter = kvm_smccc_filter::default();
    vm.has_device_attr(&filter_attribute(&filter)).is_ok()
}

fn refused(gpa: Gpa) -> impl FnOnce(LayoutError) -> HostError {
    move |error| HostError::Map {
        gpa,
        reason: error.to_string(),
    }
}

impl Vm for KvmVm {
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        let mut memory = self.shared.memory();
        let layout = memory.layout.with(gpa, region.clone(), prot);
        let layout = layout.map_err(refused(gpa))?;
        let slot = memory.free_slot();
        let backing = Some((&*region, prot));
        sys::set_slot(&self.vm, slot, gpa, backing, memory.logs).map_err(os(SET_SLOT))?;
        if memory.logs {
            region.start_log();
        }
        memory.layout = Arc::new(layout);
        memory.slots.push((gpa, slot));
        Ok(())
    }

    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        let mut memory = self.shared.memory();
        let (layout, region) = memory.layout.without(gpa).map_err(refused(gpa))?;
        let found = memory.slots.iter().position(|(at, _)| *at == gpa);
        let at = found.ok_or_else(|| refused(gpa)(LayoutError::Unmapped(gpa)))?;
        let slot = memory.slots[at].1;
        sys::set_slot(&self.vm, slot, gpa, None, false).map_err(os(SET_SLOT))?;
        region.stop_log();
        memory.layout = Arc::new(layout);
        memory.slots.swap_remove(at);
        Ok(region)
    }

    /// The kernel takes back from the guest what the process gives back.
    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        let memory = self.shared.memory();
        let parts = discard::parts(&memory.layout, gpa, bytes, aarch64::PAGE_SIZE)?;
        parts.iter().try_for_each(Part::discard)
    }

    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError> {
        let mut unbound = self.unbound.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = unbound.get_mut(id.index()) else {
            return Err(HostError::Limit(format!("the VM has no {id}")));
        };
        let Some(fd) = place.take() else {
            return Err(HostError::Limit(format!("{id} is bound already")));
        };
        Ok(Box::new(KvmVcpu::new(id, fd, self.shared.clone())))
    }

    fn kick(&self, id: VcpuId) {
        if let Some(kick) = self.shared.kick(id) {
            kick.kick();
        }
    }

    fn counter(&self) -> CounterState {
        let offset = self.counter_offset.load(SeqCst);
        CounterState {
            value: sys::host_counter().wrapping_sub(offset),
            frequency: sys::counter_frequency(),
        }
    }

    fn set_counter(&self, state: &CounterState) -> Result<(), HostError> {
        let CounterState { value, frequency } = *state;
        let ours = sys::counter_frequency();
        if frequency != ours {
            return Err(HostError::BadState(format!(
                "the counter runs at {ours} Hz here, not at {frequency} Hz"
            )));
        }
        let offset = sys::host_counter().wrapping_sub(value);
        set_counter_offset(&self.vm, offset)?;
        self.counter_offset.store(offset, SeqCst);
        Ok(())
    }

    /// The kernel makes code visible when it maps memory into the guest, and a guest that writes
    /// code itself maintains its caches. The VMM writes code only before the guest has seen that
    /// memory.
    fn forget_code(&self) {}

    fn kernel_gic(&self) -> Option<&dyn KernelGic> {
        Some(&self.gic)
    }

    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        Some(self)
    }

    fn doorbells(&self) -> Option<&dyn Doorbells> {
        Some(self)
    }
}

impl DirtyLog for KvmVm {
    fn start(&self) -> Result<(), HostError> {
        self.log(true)
    }

    fn take(&self, gpa: Gpa) -> Result<PageSet, HostError> {
        let memory = self.shared.memory();
        if !memory.logs {
            return Err(HostError::BadState("the dirty log was not started".into()));
        }
        let mapping = memory.mapping(gpa).ok_or_else(|| dirty::nothing_at(gpa))?;
        match mapping {
            (Prot::ReadOnly, _, region) => Ok(PageSet::empty(region.size())),
            (Prot::ReadWrite, slot, region) => dirty::take(&self.vm, slot, region),
        }
    }

    fn stop(&self) -> Result<(), HostError> {
        self.log(false)
    }
}
