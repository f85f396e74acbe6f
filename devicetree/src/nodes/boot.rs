//! `/chosen`, `/aliases` and `/memory`: what a kernel looks at first.

use vm_fdt::FdtWriter;

use super::peripherals::uart_name;
use crate::{Chosen, Error, Machine};

pub(super) fn write(fdt: &mut FdtWriter, machine: &Machine) -> Result<(), Error> {
    chosen(fdt, &machine.chosen)?;

    let aliases = fdt.begin_node("aliases")?;
    fdt.property_string("serial0", &format!("/{}", uart_name()))?;
    fdt.end_node(aliases)?;

    for &span in &machine.memory {
        let node = fdt.begin_node(&format!("memory@{:x}", span.base.0))?;
        fdt.property_string("device_type", "memory")?;
        super::reg(fdt, &[span])?;
        fdt.end_node(node)?;
    }
    Ok(())
}

fn chosen(fdt: &mut FdtWriter, chosen: &Chosen) -> Result<(), Error> {
    let Chosen {
        bootargs,
        initrd,
        seeds,
    } = chosen;
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("stdout-path", &format!("/{}", uart_name()))?;
    if !bootargs.is_empty() {
        fdt.property_string("bootargs", bootargs)?;
    }
    if let Some(span) = initrd {
        let end = span
            .base
            .checked_add(span.size)
            .ok_or(Error::BadSpan(span.base.0))?;
        fdt.property_u64("linux,initrd-start", span.base.0)?;
        fdt.property_u64("linux,initrd-end", end.0)?;
    }
    if let Some(seeds) = seeds {
        fdt.property("rng-seed", &seeds.rng)?;
        fdt.property_u64("kaslr-seed", seeds.kaslr)?;
    }
    fdt.end_node(node)?;
    Ok(())
}
