//! The registers of the PCI transport, by the addresses that a guest uses.

use std::fmt;

use aarch64::{Gpa, Size};

use super::super::QueueConfig;
use super::super::pci::spec::{self, COMMON, DEVICE, ISR, NOTIFY, common};
use super::Registers;
use crate::bus::Bus;

/// The registers of a function whose BAR is at `base`.
#[derive(Clone, Copy)]
pub struct PciRegisters<'a> {
    /// The machine's bus.
    pub bus: &'a Bus,
    /// Where the BAR is.
    pub base: u64,
}

impl PciRegisters<'_> {
    fn load(&self, offset: u64, size: Size) -> u64 {
        let value = self.bus.read(Gpa(self.base + offset), size);
        assert!(value.is_some(), "there is a bus at {offset:#x}");
        value.unwrap_or(0)
    }

    fn store(&self, offset: u64, size: Size, value: u64) {
        let done = self.bus.write(Gpa(self.base + offset), size, value);
        assert!(done.is_some(), "there is a bus at {offset:#x}");
    }

    fn read(&self, register: u64, size: Size) -> u64 {
        self.load(u64::from(COMMON.offset) + register, size)
    }

    fn write(&self, register: u64, size: Size, value: u64) {
        self.store(u64::from(COMMON.offset) + register, size, value);
    }

    /// Writes the vectors of the configuration and of the first queues.
    pub fn set_vectors(&self, config: u16, queues: &[u16]) {
        self.write(common::CONFIG_MSIX_VECTOR, Size::H, config.into());
        for (queue, vector) in (0..).zip(queues) {
            self.write(common::QUEUE_SELECT, Size::H, queue);
            self.write(common::QUEUE_MSIX_VECTOR, Size::H, u64::from(*vector));
        }
    }

    /// Reads the vectors of the configuration and of a queue.
    #[must_use]
    pub fn vectors(&self, queue: u16) -> (u16, u16) {
        self.write(common::QUEUE_SELECT, Size::H, queue.into());
        let read = |register| self.read(register, Size::H) as u16;
        let config = read(common::CONFIG_MSIX_VECTOR);
        (config, read(common::QUEUE_MSIX_VECTOR))
    }
}

impl Registers for PciRegisters<'_> {
    fn status(&self) -> u8 {
        self.read(common::DEVICE_STATUS, Size::B) as u8
    }

    fn set_status(&self, status: u8) {
        self.write(common::DEVICE_STATUS, Size::B, status.into());
    }

    fn offered(&self) -> u64 {
        let half = |word| {
            self.write(common::DEVICE_FEATURE_SELECT, Size::W, word);
            self.read(common::DEVICE_FEATURE, Size::W)
        };
        half(1) << 32 | half(0)
    }

    fn accept(&self, features: u64) {
        for word in [0, 1] {
            self.write(common::DRIVER_FEATURE_SELECT, Size::W, word);
            self.write(common::DRIVER_FEATURE, Size::W, features >> (32 * word));
        }
    }

    fn max_size(&self, queue: u16) -> u16 {
        self.write(common::QUEUE_SELECT, Size::H, queue.into());
        self.read(common::QUEUE_SIZE, Size::H) as u16
    }

    fn set_queue(&self, queue: u16, config: &QueueConfig) {
        let QueueConfig {
            size,
            ready,
            descriptors,
            available,
            used,
        } = *config;
        self.write(common::QUEUE_SELECT, Size::H, queue.into());
        self.write(common::QUEUE_SIZE, Size::H, size.into());
        for (register, address) in [
            (common::QUEUE_DESC, descriptors),
            (common::QUEUE_DRIVER, available),
            (common::QUEUE_DEVICE, used),
        ] {
            self.write(register, Size::W, address);
            self.write(register + 4, Size::W, address >> 32);
        }
        self.write(common::QUEUE_ENABLE, Size::H, ready.into());
    }

    fn kick(&self, queue: u16) {
        self.write(common::QUEUE_SELECT, Size::H, queue.into());
        let offset = self.read(common::QUEUE_NOTIFY_OFF, Size::H);
        let offset = offset * u64::from(spec::NOTIFY_MULTIPLIER);
        self.store(u64::from(NOTIFY.offset) + offset, Size::H, queue.into());
    }

    fn config(&self, offset: u64, size: Size) -> u64 {
        self.load(u64::from(DEVICE.offset) + offset, size)
    }

    fn set_config(&self, offset: u64, size: Size, value: u64) {
        self.store(u64::from(DEVICE.offset) + offset, size, value);
    }

    fn generation(&self) -> u32 {
        self.read(common::CONFIG_GENERATION, Size::B) as u32
    }

    fn take_interrupts(&self) -> (bool, bool) {
        let causes = self.load(ISR.offset.into(), Size::B) as u8;
        let is = |cause| causes & cause != 0;
        (is(spec::USED), is(spec::CONFIG_CHANGED))
    }
}

impl fmt::Debug for PciRegisters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PciRegisters({:#x})", self.base)
    }
}
