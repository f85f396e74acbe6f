//! The CPUs, how to start them, and their timers.

use aarch64::{Intid, VcpuId, machine};
use vm_fdt::FdtWriter;

use super::Trigger;
use crate::Error;

/// Timer PPIs that nothing drives at EL1, in the places the binding gives them.
const SECURE_PHYSICAL_TIMER: Intid = Intid(29);
const HYPERVISOR_TIMER: Intid = Intid(26);

pub(super) fn write(fdt: &mut FdtWriter, vcpus: u16) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    for n in 0..vcpus {
        // One cell holds Aff2 to Aff0; armlet's Aff3 is always 0.
        let affinity = u32::try_from(VcpuId(n).affinity()).unwrap_or(u32::MAX);
        let cpu = fdt.begin_node(&format!("cpu@{affinity:x}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,armv8")?;
        fdt.property_u32("reg", affinity)?;
        fdt.property_string("enable-method", "psci")?;
        fdt.end_node(cpu)?;
    }
    fdt.end_node(cpus)?;

    let psci = fdt.begin_node("psci")?;
    super::strings(fdt, "compatible", &["arm,psci-1.0", "arm,psci-0.2"])?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)?;

    let timer = fdt.begin_node("timer")?;
    super::strings(fdt, "compatible", &["arm,armv8-timer", "arm,armv7-timer"])?;
    let timers = [
        SECURE_PHYSICAL_TIMER,
        machine::PHYSICAL_TIMER_INTID,
        machine::VIRTUAL_TIMER_INTID,
        HYPERVISOR_TIMER,
    ];
    let cells: Vec<u32> = timers
        .iter()
        .flat_map(|&t| super::interrupt(t, Trigger::LevelHigh))
        .collect();
    fdt.property_array_u32("interrupts", &cells)?;
    fdt.property_null("always-on")?;
    fdt.end_node(timer)?;
    Ok(())
}
