//! The guest-visible machine: one memory map and one set of interrupts on every accelerator.
//!
//! It is laid out as QEMU's `virt` machine, so that firmware and kernels made for that run
//! unmodified. Everything but RAM lies below 1 GiB, and so below the 36-bit address space that is
//! the smallest default of Hypervisor.framework.

use crate::{Gpa, Intid};

/// A range of guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First address.
    pub base: Gpa,
    /// Bytes.
    pub size: u64,
}

impl Span {
    const fn new(base: u64, size: u64) -> Self {
        Self {
            base: Gpa(base),
            size,
        }
    }

    /// Whether `gpa` lies in the span.
    #[must_use]
    pub fn contains(&self, gpa: Gpa) -> bool {
        gpa.0.wrapping_sub(self.base.0) < self.size
    }
}

/// Firmware flash.
pub const FLASH0: Span = Span::new(0x0000_0000, 64 << 20);
/// Variable store flash.
pub const FLASH1: Span = Span::new(0x0400_0000, 64 << 20);
/// GIC distributor.
pub const GICD: Span = Span::new(0x0800_0000, 0x1_0000);
/// GICv2m MSI frame.
pub const GICV2M: Span = Span::new(0x0802_0000, 0x1000);
/// GIC interrupt translation service.
pub const GITS: Span = Span::new(0x0808_0000, 0x2_0000);
/// First GIC redistributor; one of [`GICR_STRIDE`] bytes for each vCPU follows.
pub const GICR_BASE: Gpa = Gpa(0x080a_0000);
/// Bytes of one redistributor.
pub const GICR_STRIDE: u64 = 0x2_0000;
/// PL011 UART.
pub const UART: Span = Span::new(0x0900_0000, 0x1000);
/// PL031 real-time clock.
pub const RTC: Span = Span::new(0x0901_0000, 0x1000);
/// PL061 GPIO with the power button.
pub const GPIO: Span = Span::new(0x0903_0000, 0x1000);
/// First virtio-mmio slot; slots are [`VIRTIO_MMIO_STRIDE`] bytes.
pub const VIRTIO_MMIO_BASE: Gpa = Gpa(0x0a00_0000);
/// Bytes of one virtio-mmio slot.
pub const VIRTIO_MMIO_STRIDE: u64 = 0x200;
/// Virtio-mmio slots.
pub const VIRTIO_MMIO_SLOTS: u16 = 32;
/// PCIe 32-bit memory window.
pub const PCIE_MMIO: Span = Span::new(0x1000_0000, 0x2eff_0000);
/// PCIe port I/O window.
pub const PCIE_PIO: Span = Span::new(0x3eff_0000, 0x1_0000);
/// PCIe configuration space, 16 buses.
pub const PCIE_ECAM: Span = Span::new(0x3f00_0000, 0x100_0000);
/// Start of RAM.
pub const RAM_BASE: Gpa = Gpa(0x4000_0000);
/// The most vCPUs whose redistributors fit below the UART.
pub const MAX_VCPUS: u16 = 123;
/// The most RAM: the 40-bit physical address space of the `portable` CPU, less what lies below it.
pub const MAX_RAM: u64 = (1 << 40) - RAM_BASE.0;

/// UART interrupt.
pub const UART_INTID: Intid = Intid::spi(1);
/// RTC interrupt.
pub const RTC_INTID: Intid = Intid::spi(2);
/// First of the four PCIe INTx interrupts.
pub const PCIE_INTX_INTID: Intid = Intid::spi(3);
/// GPIO interrupt.
pub const GPIO_INTID: Intid = Intid::spi(7);
/// Interrupt of virtio-mmio slot 0.
pub const VIRTIO_MMIO_INTID: Intid = Intid::spi(16);
/// First SPI of the GICv2m frame (SPI number, not INTID) and how many it hands out.
pub const GICV2M_SPIS: (u16, u16) = (48, 128);
/// Virtual timer PPI.
pub const VIRTUAL_TIMER_INTID: Intid = Intid(27);
/// Physical timer PPI.
pub const PHYSICAL_TIMER_INTID: Intid = Intid(30);
/// PMU PPI.
pub const PMU_INTID: Intid = Intid(23);
/// GPIO line of the power button.
pub const POWER_BUTTON_LINE: u32 = 3;
/// SPIs of the machine's GIC (INTIDs 32 to 255): what its devices and MSIs need, in whole banks of 32,
/// as KVM wants them. A guest writes a register or more for each as it starts, and a state holds them
/// all.
pub const SPIS: u16 = 224;

const _: () = assert!(GICV2M_SPIS.0 + GICV2M_SPIS.1 <= SPIS && SPIS.is_multiple_of(32));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redistributors_end_below_the_uart() {
        assert_eq!(
            (UART.base.0 - GICR_BASE.0) / GICR_STRIDE,
            u64::from(MAX_VCPUS)
        );
    }
}
