//! The driver's side, for tests and fuzzing: rings in guest memory ([`Ring`]), a driver over either
//! transport ([`Driver`]), and a host without or with threads ([`NoThreads`], [`Threads`]).
//!
//! A test that wants to see every step has [`NoThreads`] and calls
//! [`Core::turn`](super::Core::turn) itself.

mod host;
mod pci;
mod ring;

use std::sync::Arc;

use aarch64::{Gpa, PAGE_SIZE, Size};
use memory::{Layout, Prot, Region};

pub use host::{Manual, NoThreads, Recorder, Threads};
pub use pci::PciRegisters;
pub use ring::{Buffer, Descriptor, Ring};

use super::mmio::spec::{self as mmio, reg};
use super::spec::{Status, feature};
use super::{GuestRam, QueueConfig};
use crate::bus::MmioDevice;

/// Where the memory of tests begins.
pub const RAM_BASE: u64 = 0x4000_0000;

/// Guest memory of so many pages from [`RAM_BASE`] on, and the cell that devices get it from.
///
/// # Panics
/// When the host has none.
#[must_use]
pub fn ram(pages: u64) -> (Arc<GuestRam>, Arc<Layout>) {
    let layout = Region::new(pages * PAGE_SIZE).ok().and_then(|region| {
        let empty = Layout::default();
        let ram = empty.with(Gpa(RAM_BASE), Arc::new(region), Prot::ReadWrite);
        ram.ok()
    });
    assert!(layout.is_some(), "the host has memory");
    let (ram, layout) = (GuestRam::default(), Arc::new(layout.unwrap_or_default()));
    ram.set(Arc::clone(&layout));
    (Arc::new(ram), layout)
}

/// A transport's registers as a driver uses them.
pub trait Registers {
    /// Reads the device status.
    fn status(&self) -> u8;
    /// Writes the device status.
    fn set_status(&self, status: u8);
    /// Reads the features that the device offers.
    fn offered(&self) -> u64;
    /// Writes the features that the driver accepts.
    fn accept(&self, features: u64);
    /// Reads the most descriptors of a queue.
    fn max_size(&self, queue: u16) -> u16;
    /// Writes the setup of a queue, and makes it ready if the setup says so.
    fn set_queue(&self, queue: u16, config: &QueueConfig);
    /// Makes a queue's buffers known.
    fn kick(&self, queue: u16);
    /// Reads the device's configuration.
    fn config(&self, offset: u64, size: Size) -> u64;
    /// Writes the device's configuration.
    fn set_config(&self, offset: u64, size: Size, value: u64);
    /// Reads the configuration's generation.
    fn generation(&self) -> u32;
    /// Whether interrupts for used buffers and for a changed configuration came since the last call;
    /// they are acknowledged.
    fn take_interrupts(&self) -> (bool, bool);
}

/// A driver of a device.
#[derive(Debug)]
pub struct Driver<T> {
    /// The transport.
    pub registers: T,
    /// The rings, by queue.
    pub rings: Vec<Ring>,
}

impl<T: Registers> Driver<T> {
    /// Takes the device into use as the specification says (section 3.1.1): with these features of
    /// the offered ones, and queues of these sizes, whose rings are put into the first pages of
    /// `layout`, four for each.
    ///
    /// # Panics
    /// When the device does not agree.
    pub fn start(registers: T, layout: &Arc<Layout>, features: u64, sizes: &[u16]) -> Self {
        registers.set_status(0);
        assert_eq!(registers.status(), 0, "the device is reset");
        let mut status = Status::ACKNOWLEDGE | Status::DRIVER;
        registers.set_status(status.bits());
        let features = features | feature::VERSION_1;
        assert_eq!(registers.offered() & features, features, "it has these");
        registers.accept(features);
        status |= Status::FEATURES_OK;
        registers.set_status(status.bits());
        assert_eq!(registers.status(), status.bits(), "it agrees");
        let ring = |(queue, size): (u16, &u16)| {
            let base = RAM_BASE + 4 * PAGE_SIZE * u64::from(queue);
            let ring = Ring::new(Arc::clone(layout), base, *size);
            registers.set_queue(queue, &ring.config());
            ring
        };
        let rings = (0..).zip(sizes).map(ring).collect();
        status |= Status::DRIVER_OK;
        registers.set_status(status.bits());
        assert_eq!(registers.status(), status.bits(), "it is ready");
        Self { registers, rings }
    }

    /// Makes a buffer available and kicks the queue. The head of its chain.
    pub fn send(&mut self, queue: u16, buffers: &[Buffer]) -> u16 {
        let head = self.rings[usize::from(queue)].add(buffers);
        self.registers.kick(queue);
        head
    }

    /// The buffers of a queue that the device has used since the last call: heads, bytes written.
    pub fn used(&mut self, queue: u16) -> Vec<(u32, u32)> {
        self.rings[usize::from(queue)].used()
    }
}

/// The registers of the MMIO transport.
#[derive(Clone, Copy)]
pub struct MmioRegisters<'a>(pub &'a dyn MmioDevice);

impl MmioRegisters<'_> {
    fn read(&self, offset: u64) -> u32 {
        self.0.read(offset, Size::W) as u32
    }

    fn write(&self, offset: u64, value: u32) {
        self.0.write(offset, Size::W, value.into());
    }

    fn write_pair(&self, low: u64, high: u64, value: u64) {
        self.write(low, value as u32);
        self.write(high, (value >> 32) as u32);
    }
}

impl Registers for MmioRegisters<'_> {
    fn status(&self) -> u8 {
        self.read(reg::STATUS) as u8
    }

    fn set_status(&self, status: u8) {
        self.write(reg::STATUS, status.into());
    }

    fn offered(&self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        let low = self.read(reg::DEVICE_FEATURES);
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        u64::from(self.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    fn accept(&self, features: u64) {
        for (word, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
            self.write(reg::DRIVER_FEATURES_SEL, word);
            self.write(reg::DRIVER_FEATURES, half);
        }
    }

    fn max_size(&self, queue: u16) -> u16 {
        self.write(reg::QUEUE_SEL, queue.into());
        self.read(reg::QUEUE_NUM_MAX) as u16
    }

    fn set_queue(&self, queue: u16, config: &QueueConfig) {
        let QueueConfig {
            size,
            ready,
            descriptors,
            available,
            used,
        } = *config;
        self.write(reg::QUEUE_SEL, queue.into());
        self.write(reg::QUEUE_NUM, size.into());
        self.write_pair(reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH, descriptors);
        self.write_pair(reg::QUEUE_DRIVER_LOW, reg::QUEUE_DRIVER_HIGH, available);
        self.write_pair(reg::QUEUE_DEVICE_LOW, reg::QUEUE_DEVICE_HIGH, used);
        self.write(reg::QUEUE_READY, ready.into());
    }

    fn kick(&self, queue: u16) {
        self.write(reg::QUEUE_NOTIFY, queue.into());
    }

    fn config(&self, offset: u64, size: Size) -> u64 {
        self.0.read(reg::CONFIG + offset, size) & size.mask()
    }

    fn set_config(&self, offset: u64, size: Size, value: u64) {
        self.0.write(reg::CONFIG + offset, size, value);
    }

    fn generation(&self) -> u32 {
        self.read(reg::CONFIG_GENERATION)
    }

    fn take_interrupts(&self) -> (bool, bool) {
        let causes = self.read(reg::INTERRUPT_STATUS);
        self.write(reg::INTERRUPT_ACK, causes);
        (causes & mmio::USED != 0, causes & mmio::CONFIG_CHANGED != 0)
    }
}

impl std::fmt::Debug for MmioRegisters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MmioRegisters")
    }
}
