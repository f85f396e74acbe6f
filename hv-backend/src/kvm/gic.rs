//! The kernel's GICv3 (Linux, Documentation/virt/kvm/devices/arm-vgic-v3.rst).

use aarch64::Intid;
use aarch64::gic::END_OF_SPIS;
use aarch64::machine::{GICD, GICR_BASE};
use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_DEV_ARM_VGIC_CTRL_INIT,
    KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_GRP_NR_IRQS,
    KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, kvm_create_device,
    kvm_device_attr, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};

use super::failed;
use crate::api::HostError;

/// Interrupts of the GIC, the private ones too. KVM takes multiples of 32 below 1024.
const NR_IRQS: u32 = END_OF_SPIS;

/// Whether the host can give a VM a GICv3.
pub fn is_offered(vm: &VmFd) -> bool {
    create(vm).is_ok()
}

/// Gives `vm` a GICv3 where the machine has it. All vCPUs exist already, as the kernel asks.
pub fn make(vm: &VmFd, vcpus: u16) -> Result<DeviceFd, HostError> {
    let gic = create(vm).map_err(failed("KVM_CREATE_DEVICE of a GICv3"))?;
    let address = KVM_DEV_ARM_VGIC_GRP_ADDR;
    set(&gic, address, KVM_VGIC_V3_ADDR_TYPE_DIST, &GICD.base.0)?;
    let region = redistributors(vcpus);
    set(&gic, address, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, &region)?;
    set(&gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &NR_IRQS)?;
    let (group, init) = (KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT);
    set(&gic, group, init, &0_u64)?;
    Ok(gic)
}

/// The one region of redistributors, as KVM writes it: how many in bits 63:52, the address from
/// bit 16 up, the region's index 0 in the low bits.
fn redistributors(vcpus: u16) -> u64 {
    u64::from(vcpus) << 52 | GICR_BASE.0
}

/// What `KVM_IRQ_LINE` calls the SPI `intid`.
pub fn spi(intid: Intid) -> u32 {
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
fn set<T>(gic: &DeviceFd, group: u32, attr: u32, value: &T) -> Result<(), HostError> {
    let attribute = kvm_device_attr {
        flags: 0,
        group,
        attr: attr.into(),
        addr: std::ptr::from_ref(value) as u64,
    };
    gic.set_device_attr(&attribute)
        .map_err(failed("KVM_SET_DEVICE_ATTR of the GICv3"))
}
