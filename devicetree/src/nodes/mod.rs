//! The nodes of the tree, by kind.

mod boot;
mod cpus;
mod gic;
mod pcie;
mod peripherals;
mod virtio;

use aarch64::Intid;
use aarch64::machine::Span;
use vm_fdt::FdtWriter;

use crate::{Error, Machine};

/// Cells of an address and of a size in the root and in every bus.
const CELLS: u32 = 2;

/// Names that nodes refer to each other by.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Phandle {
    Gic = 1,
    V2m,
    Clock,
    Gpio,
}

/// How an interrupt arrives, as the GIC's binding numbers it.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Trigger {
    RisingEdge = 1,
    LevelHigh = 4,
}

/// The whole tree.
pub(crate) fn write(machine: &Machine) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("model", "armlet")?;
    fdt.property_string("compatible", "linux,dummy-virt")?;
    fdt.property_u32("#address-cells", CELLS)?;
    fdt.property_u32("#size-cells", CELLS)?;
    fdt.property_u32("interrupt-parent", Phandle::Gic as u32)?;
    fdt.property_null("dma-coherent")?;
    boot::write(&mut fdt, machine)?;
    cpus::write(&mut fdt, machine.vcpus)?;
    gic::write(&mut fdt, machine.vcpus)?;
    peripherals::write(&mut fdt)?;
    if let Some(pcie) = &machine.pcie {
        pcie::write(&mut fdt, pcie)?;
    }
    virtio::write(&mut fdt, &machine.virtio_mmio)?;
    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

/// A `reg` of some ranges.
fn reg(fdt: &mut FdtWriter, spans: &[Span]) -> Result<(), Error> {
    let cells: Vec<u64> = spans.iter().flat_map(|s| [s.base.0, s.size]).collect();
    Ok(fdt.property_array_u64("reg", &cells)?)
}

/// The three cells of an interrupt: kind (0 is an SPI, 1 a PPI), number in its kind, trigger.
fn interrupt(intid: Intid, trigger: Trigger) -> [u32; 3] {
    const FIRST_PPI: u32 = 16;
    match intid.0.checked_sub(Intid::FIRST_SPI) {
        Some(spi) => [0, spi, trigger as u32],
        None => [1, intid.0.saturating_sub(FIRST_PPI), trigger as u32],
    }
}

/// An `interrupts` property of one SPI.
fn interrupts(fdt: &mut FdtWriter, intid: Intid, trigger: Trigger) -> Result<(), Error> {
    Ok(fdt.property_array_u32("interrupts", &interrupt(intid, trigger))?)
}

/// A `compatible` or another list of strings.
fn strings(fdt: &mut FdtWriter, name: &str, values: &[&str]) -> Result<(), Error> {
    let values = values.iter().map(|&s| s.to_owned()).collect();
    Ok(fdt.property_string_list(name, values)?)
}
