//! The interrupt controller and its frame for message-signalled interrupts.

use aarch64::Intid;
use aarch64::machine::{self, Span};
use vm_fdt::FdtWriter;

use super::{CELLS, Phandle};
use crate::Error;

pub(super) fn write(fdt: &mut FdtWriter, vcpus: u16) -> Result<(), Error> {
    let redistributors = Span {
        base: machine::GICR_BASE,
        size: machine::GICR_STRIDE * u64::from(vcpus),
    };
    let gic = fdt.begin_node(&format!("intc@{:x}", machine::GICD.base.0))?;
    fdt.property_string("compatible", "arm,gic-v3")?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    super::reg(fdt, &[machine::GICD, redistributors])?;
    fdt.property_u32("#redistributor-regions", 1)?;
    fdt.property_phandle(Phandle::Gic as u32)?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;
    fdt.property_null("ranges")?;
    v2m(fdt)?;
    fdt.end_node(gic)?;
    Ok(())
}

fn v2m(fdt: &mut FdtWriter) -> Result<(), Error> {
    let (first, count) = machine::GICV2M_SPIS;
    let frame = fdt.begin_node(&format!("v2m@{:x}", machine::GICV2M.base.0))?;
    fdt.property_string("compatible", "arm,gic-v2m-frame")?;
    fdt.property_null("msi-controller")?;
    super::reg(fdt, &[machine::GICV2M])?;
    // The binding's "SPI" is the interrupt's INTID, as in the frame's own MSI_TYPER.
    fdt.property_u32("arm,msi-base-spi", Intid::spi(first).0)?;
    fdt.property_u32("arm,msi-num-spis", u32::from(count))?;
    fdt.property_phandle(Phandle::V2m as u32)?;
    fdt.end_node(frame)?;
    Ok(())
}
