//! The PCIe host bridge, by the bindings of a "generic" host: its registers are configuration
//! space (ECAM) and nothing else, and everything else about it stands in its node.
//!
//! Addresses of a PCI bus take three cells, the first of which says what they are addresses of; see
//! *PCI Bus Binding to IEEE Std 1275*, section 2.2.1.1.

use aarch64::machine::{self, Span};
use vm_fdt::FdtWriter;

use super::{Phandle, Trigger};
use crate::{Error, Pcie};

/// First cell of an address of port I/O.
const PORT_IO: u32 = 0x0100_0000;
/// First cell of an address of 32-bit memory that is not prefetchable.
const MEMORY_32: u32 = 0x0200_0000;
/// Where the number of a device stands in the first cell of an address of configuration space.
const DEVICE_SHIFT: u32 = 11;
/// Configuration space of one bus.
const BYTES_OF_BUS: u64 = 1 << 20;
/// Requester IDs that the frame for MSIs serves: all of them.
const REQUESTERS: u32 = 0x1_0000;

pub(super) fn write(fdt: &mut FdtWriter, pcie: &Pcie) -> Result<(), Error> {
    let ecam = machine::PCIE_ECAM;
    let last_bus = u32::try_from(ecam.size / BYTES_OF_BUS - 1).unwrap_or(u32::MAX);
    let node = fdt.begin_node(&format!("pcie@{:x}", ecam.base.0))?;
    fdt.property_string("compatible", "pci-host-ecam-generic")?;
    fdt.property_string("device_type", "pci")?;
    super::reg(fdt, &[ecam])?;
    fdt.property_u32("#address-cells", 3)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_array_u32("bus-range", &[0, last_bus])?;
    fdt.property_u32("linux,pci-domain", 0)?;
    let ports = window(PORT_IO, 0, machine::PCIE_PIO);
    // Memory has the addresses on the bus that it has for CPUs.
    let memory = window(MEMORY_32, machine::PCIE_MMIO.base.0, machine::PCIE_MMIO);
    fdt.property_array_u32("ranges", &[ports, memory].concat())?;
    fdt.property_null("dma-coherent")?;
    fdt.property_array_u32("msi-map", &[0, Phandle::V2m as u32, 0, REQUESTERS])?;
    intx(fdt, pcie)?;
    fdt.end_node(node)?;
    Ok(())
}

/// An entry of `ranges`: what is at `on_bus` on the bus is at `span` for CPUs.
fn window(kind: u32, on_bus: u64, span: Span) -> [u32; 7] {
    let [bus_high, bus_low] = cells(on_bus);
    let [high, low] = cells(span.base.0);
    let [size_high, size_low] = cells(span.size);
    [kind, bus_high, bus_low, high, low, size_high, size_low]
}

fn cells(value: u64) -> [u32; 2] {
    [(value >> 32) as u32, value as u32]
}

/// The wires of the pins. Of a device's number the lowest bits count, which the mask says.
fn intx(fdt: &mut FdtWriter, pcie: &Pcie) -> Result<(), Error> {
    const DEVICE_BITS: u32 = 3;
    const PIN_BITS: u32 = 7;
    fdt.property_u32("#interrupt-cells", 1)?;
    let mask = [DEVICE_BITS << DEVICE_SHIFT, 0, 0, PIN_BITS];
    fdt.property_array_u32("interrupt-map-mask", &mask)?;
    let mut map = Vec::new();
    for (device, pins) in (0..).zip(&pcie.intx) {
        for (pin, &intid) in (1..).zip(pins) {
            map.extend([device << DEVICE_SHIFT, 0, 0, pin]);
            // The GIC's own addresses are of two cells, which say nothing here.
            map.extend([Phandle::Gic as u32, 0, 0]);
            map.extend(super::interrupt(intid, Trigger::LevelHigh));
        }
    }
    Ok(fdt.property_array_u32("interrupt-map", &map)?)
}
