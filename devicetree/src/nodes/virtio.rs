//! Virtio devices behind the MMIO transport.

use vm_fdt::FdtWriter;

use super::Trigger;
use crate::{Error, VirtioMmio};

pub(super) fn write(fdt: &mut FdtWriter, devices: &[VirtioMmio]) -> Result<(), Error> {
    for &VirtioMmio { span, intid } in devices {
        let node = fdt.begin_node(&format!("virtio_mmio@{:x}", span.base.0))?;
        fdt.property_string("compatible", "virtio,mmio")?;
        super::reg(fdt, &[span])?;
        super::interrupts(fdt, intid, Trigger::RisingEdge)?;
        fdt.property_null("dma-coherent")?;
        fdt.end_node(node)?;
    }
    Ok(())
}
