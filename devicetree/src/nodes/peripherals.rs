//! The PrimeCell peripherals, their clock, and the power key.

use aarch64::machine;
use vm_fdt::FdtWriter;

use super::{Phandle, Trigger};
use crate::Error;

/// The clock of the peripheral bus, in Hz. Baud rates are reckoned from it.
const APB_CLOCK: u32 = 24_000_000;
/// `KEY_POWER` of Linux's input events.
const KEY_POWER: u32 = 116;

/// The UART's node, which `/chosen` and `/aliases` name too.
pub(super) fn uart_name() -> String {
    format!("pl011@{:x}", machine::UART.base.0)
}

pub(super) fn write(fdt: &mut FdtWriter) -> Result<(), Error> {
    let clock = Phandle::Clock as u32;
    let node = fdt.begin_node("apb-pclk")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", APB_CLOCK)?;
    fdt.property_string("clock-output-names", "clk24mhz")?;
    fdt.property_phandle(clock)?;
    fdt.end_node(node)?;

    let node = fdt.begin_node(&uart_name())?;
    super::strings(fdt, "compatible", &["arm,pl011", "arm,primecell"])?;
    super::reg(fdt, &[machine::UART])?;
    super::interrupts(fdt, machine::UART_INTID, Trigger::LevelHigh)?;
    fdt.property_array_u32("clocks", &[clock, clock])?;
    super::strings(fdt, "clock-names", &["uartclk", "apb_pclk"])?;
    fdt.end_node(node)?;

    let node = fdt.begin_node(&format!("pl031@{:x}", machine::RTC.base.0))?;
    super::strings(fdt, "compatible", &["arm,pl031", "arm,primecell"])?;
    super::reg(fdt, &[machine::RTC])?;
    super::interrupts(fdt, machine::RTC_INTID, Trigger::LevelHigh)?;
    fdt.property_u32("clocks", clock)?;
    fdt.property_string("clock-names", "apb_pclk")?;
    fdt.end_node(node)?;

    gpio(fdt)
}

fn gpio(fdt: &mut FdtWriter) -> Result<(), Error> {
    let node = fdt.begin_node(&format!("pl061@{:x}", machine::GPIO.base.0))?;
    super::strings(fdt, "compatible", &["arm,pl061", "arm,primecell"])?;
    super::reg(fdt, &[machine::GPIO])?;
    super::interrupts(fdt, machine::GPIO_INTID, Trigger::LevelHigh)?;
    fdt.property_null("gpio-controller")?;
    fdt.property_u32("#gpio-cells", 2)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 2)?;
    fdt.property_u32("#address-cells", 0)?;
    fdt.property_u32("clocks", Phandle::Clock as u32)?;
    fdt.property_string("clock-names", "apb_pclk")?;
    fdt.property_phandle(Phandle::Gpio as u32)?;
    fdt.end_node(node)?;

    const ACTIVE_HIGH: u32 = 0;
    let keys = fdt.begin_node("gpio-keys")?;
    fdt.property_string("compatible", "gpio-keys")?;
    let key = fdt.begin_node("poweroff")?;
    fdt.property_string("label", "power key")?;
    fdt.property_u32("linux,code", KEY_POWER)?;
    let line = [
        Phandle::Gpio as u32,
        machine::POWER_BUTTON_LINE,
        ACTIVE_HIGH,
    ];
    fdt.property_array_u32("gpios", &line)?;
    fdt.end_node(key)?;
    fdt.end_node(keys)?;
    Ok(())
}
