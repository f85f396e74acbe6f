//! The kernel's GICv3 (Linux, Documentation/virt/kvm/devices/arm-vgic-v3.rst).
//!
//! MSIs need nothing of it: the VMM's GICv2m frame turns them into edges of SPIs
//! ([`KernelGic::set_spi`]). There is no ITS, and so there are no LPIs.
//!
//! The kernel lets user space at the registers only while no vCPU is in `KVM_RUN`. For the whole
//! state that is the caller's to see to. One CPU interface, whose vCPU turns off while the others
//! run on, is reset here: the others are held out of `KVM_RUN` for that moment, which they spend in
//! [`Kick`](super::kick::Kick) without leaving [`Vcpu::run`](crate::api::Vcpu::run).

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use aarch64::gic::END_OF_SPIS;
use aarch64::gic_state::GicState;
use aarch64::machine::{GICD, GICR_BASE};
use aarch64::{Intid, VcpuId};
use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_DEV_ARM_VGIC_CTRL_INIT,
    KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, kvm_create_device,
    kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, kvm_vcpu_init,
};
use kvm_ioctls::{DeviceFd, VcpuFd, VmFd};

use super::gic_registers::{Register, Registers, Width};
use super::vm::Shared;
use super::wires::Wires;
use super::{failed, gic_state, sys};
use crate::api::{HostError, KernelGic};

/// Interrupts of the GIC, the private ones too. KVM takes multiples of 32 below 1024.
const NR_IRQS: u32 = END_OF_SPIS;
/// How often, and how far apart, a register that the kernel is busy with is tried again: for a
/// second. A vCPU on its way out of `KVM_RUN` takes microseconds.
const TRIES: u32 = 10_000;
const PAUSE: Duration = Duration::from_micros(100);

/// The GIC of a VM.
#[derive(Debug)]
pub struct KvmGic {
    device: DeviceFd,
    vm: Arc<VmFd>,
    vcpus: Vec<OwnedFd>,
    /// How the vCPUs were made.
    init: kvm_vcpu_init,
    shared: Arc<Shared>,
    wires: Wires,
    /// Held by the one who holds vCPUs out.
    holding_out: Mutex<()>,
}

/// Whether the host can give a VM a GICv3.
///
/// # Errors
/// What else than its lack stands in the way.
pub fn is_offered(vm: &VmFd) -> Result<bool, kvm_ioctls::Error> {
    match create(vm) {
        Ok(_) => Ok(true),
        // What the kernel answers for devices that it does not have.
        Err(error) if error.errno() == libc::ENODEV => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives `vm` a GICv3 where the machine has it. All vCPUs exist already, as the kernel asks.
pub fn make(vm: &VmFd, vcpus: u16) -> Result<DeviceFd, HostError> {
    let gic = create(vm).map_err(failed("KVM_CREATE_DEVICE of a GICv3"))?;
    let address = KVM_DEV_ARM_VGIC_GRP_ADDR;
    let base = GICD.base.0;
    set(&gic, address, KVM_VGIC_V3_ADDR_TYPE_DIST.into(), &base)?;
    let region = redistributors(vcpus);
    let kind = KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION;
    set(&gic, address, kind.into(), &region)?;
    set(&gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &NR_IRQS)?;
    let (group, init) = (KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT);
    set(&gic, group, init.into(), &0_u64)?;
    gic_state::begin(&gic)?;
    Ok(gic)
}

/// The one region of redistributors, as KVM writes it: how many in bits 63:52, the address from
/// bit 16 up, the region's index 0 in the low bits.
fn redistributors(vcpus: u16) -> u64 {
    u64::from(vcpus) << 52 | GICR_BASE.0
}

/// What `KVM_IRQ_LINE` calls the SPI `intid`.
fn spi(intid: Intid) -> u32 {
    KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | intid.0
}

fn create(vm: &VmFd) -> Result<DeviceFd, kvm_ioctls::Error> {
    vm.create_device(&mut kvm_create_device {
        type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
        fd: 0,
        flags: 0,
    })
}

/// Sets an attribute. `value` is of the type that the kernel reads for this attribute.
fn set<T>(gic: &DeviceFd, group: u32, attr: u64, value: &T) -> Result<(), HostError> {
    let attribute = kvm_device_attr {
        flags: 0,
        group,
        attr,
        addr: std::ptr::from_ref(value) as u64,
    };
    gic.set_device_attr(&attribute)
        .map_err(failed("KVM_SET_DEVICE_ATTR of the GICv3"))
}

impl Registers for DeviceFd {
    fn get(&self, register: Register) -> Result<u64, HostError> {
        let (group, attr, _) = register.attribute();
        let value = sys::get_attribute(self, group, attr);
        value.map_err(|source| HostError::Os {
            call: "KVM_GET_DEVICE_ATTR of the GICv3",
            source,
        })
    }

    fn set(&self, register: Register, value: u64) -> Result<(), HostError> {
        let (group, attr, width) = register.attribute();
        match width {
            Width::Word => set(self, group, attr, &(value as u32)),
            Width::Double => set(self, group, attr, &value),
        }
    }
}

/// Whether the kernel refused because a vCPU runs.
fn is_busy(error: &HostError) -> bool {
    matches!(error, HostError::Os { source, .. } if source.raw_os_error() == Some(libc::EBUSY))
}

/// Says what to do about a kernel that is busy.
fn explain(error: HostError) -> HostError {
    if is_busy(&error) {
        let line = "KVM's interrupt controller has a state to save or set only while no vCPU runs";
        return HostError::BadState(line.into());
    }
    error
}

impl KvmGic {
    /// The GIC `device` of `vm`, which was made with these vCPUs.
    pub fn new(
        device: DeviceFd,
        vm: Arc<VmFd>,
        vcpus: &[VcpuFd],
        init: kvm_vcpu_init,
        shared: Arc<Shared>,
    ) -> Result<Self, HostError> {
        let handles = vcpus.iter().map(sys::another_handle);
        let vcpus = handles.collect::<std::io::Result<_>>();
        let vcpus = vcpus.map_err(|source| HostError::Os {
            call: "fcntl of a vCPU",
            source,
        })?;
        Ok(Self {
            device,
            vm,
            vcpus,
            init,
            shared,
            wires: Wires::default(),
            holding_out: Mutex::new(()),
        })
    }

    fn count(&self) -> u16 {
        self.vcpus.len() as u16
    }

    /// Does `work`, again if the kernel is busy, while no vCPU stays in `KVM_RUN`.
    fn without_vcpus(&self, work: impl Fn() -> Result<(), HostError>) -> Result<(), HostError> {
        let _alone = self.holding_out.lock();
        let _alone = _alone.unwrap_or_else(PoisonError::into_inner);
        let kicks = || (0..self.count()).filter_map(|n| self.shared.kick(VcpuId(n)));
        kicks().for_each(|kick| kick.hold_out());
        let mut result = work();
        for _ in 0..TRIES {
            if !result.as_ref().is_err_and(is_busy) {
                break;
            }
            thread::sleep(PAUSE);
            result = work();
        }
        kicks().for_each(|kick| kick.let_in());
        result
    }
}

impl KernelGic for KvmGic {
    fn set_spi(&self, intid: Intid, high: bool) -> Result<(), HostError> {
        self.wires.drive(intid, high, || {
            let line = self.vm.set_irq_line(spi(intid), high);
            line.map_err(failed("KVM_IRQ_LINE"))
        })
    }

    fn save(&self) -> Result<GicState, HostError> {
        gic_state::save(&self.device, self.count(), &self.wires).map_err(explain)
    }

    fn restore(&self, state: &GicState) -> Result<(), HostError> {
        gic_state::restore(&self.device, state, self.count(), &self.wires).map_err(explain)
    }

    /// The vCPUs are reset too, because nothing else ends the active state of their timers'
    /// interrupts.
    fn reset(&self) -> Result<(), HostError> {
        for vcpu in &self.vcpus {
            let result = sys::init_vcpu(vcpu, &self.init);
            result.map_err(|source| HostError::Os {
                call: "KVM_ARM_VCPU_INIT",
                source,
            })?;
        }
        let mut state = GicState::at_reset(self.count());
        for (bank, level) in state.spis.iter_mut().zip(self.wires.levels()) {
            bank.level = level;
        }
        self.restore(&state)
    }

    fn reset_cpu_interface(&self, vcpu: VcpuId) -> Result<(), HostError> {
        let reset = || gic_state::reset_cpu_interface(&self.device, vcpu);
        self.without_vcpus(reset).map_err(explain)
    }
}
