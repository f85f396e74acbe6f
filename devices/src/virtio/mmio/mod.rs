//! The MMIO transport, version 2 (Virtio 1.2, section 4.2): a slot of registers with one interrupt.
//!
//! Registers are read and written as aligned words, as the specification asks of drivers; other
//! accesses read as zero and are ignored. The device's configuration, behind them, is accessed in any
//! size.
//!
//! Omitted: the legacy registers of version 1, shared memory regions (none is there), and
//! `QueueReset`, whose feature is not offered.

mod interrupt;
pub mod spec;
mod state;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::{Gpa, Size};

pub use state::MmioState;

use self::interrupt::SlotInterrupt;
use self::spec::reg;
use super::core::{Core, Parts};
use super::host::{Binding, Doorbells, GuestRam, Workers};
use super::negotiation::QueueConfig;
use super::{BadVirtioState, VirtioDevice};
use crate::bus::MmioDevice;
use crate::irq::IrqLine;

/// What the driver has selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Selected {
    device_features: u32,
    driver_features: u32,
    queue: u32,
}

/// A virtio device in a slot.
pub struct MmioTransport {
    // Wiring.
    core: Core,
    interrupt: Arc<SlotInterrupt>,
    bindings: Vec<Box<dyn Binding>>,
    // State.
    selected: Mutex<Selected>,
}

impl MmioTransport {
    /// Puts `device` into a slot, held ([`Core::new`]).
    ///
    /// # Errors
    /// When the host has no more threads or bells.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        ram: Arc<GuestRam>,
        irq: IrqLine,
        workers: &dyn Workers,
    ) -> io::Result<Self> {
        let interrupt = Arc::new(SlotInterrupt::new(irq));
        let parts = Parts {
            ram,
            interrupt: interrupt.clone(),
            workers,
        };
        Ok(Self {
            core: Core::new(device, parts)?,
            interrupt,
            bindings: Vec::new(),
            selected: Mutex::default(),
        })
    }

    /// Has kicks ring the bells of queues without an exit, for a slot at `base`.
    ///
    /// # Errors
    /// When the host refuses; those that are not bound are exits.
    pub fn bind(&mut self, base: Gpa, doorbells: &dyn Doorbells) -> io::Result<()> {
        let at = Gpa(base.0 + reg::QUEUE_NOTIFY);
        for queue in 0..self.core.queue_count() {
            if let Some(bell) = self.core.bell(queue) {
                let bound = doorbells.bind(at, Size::W, Some(queue.into()), &**bell)?;
                self.bindings.push(bound);
            }
        }
        Ok(())
    }

    /// The device behind the transport.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Back to the state at power-on.
    pub fn reset(&self) {
        self.core.reset();
        *self.lock() = Selected::default();
        self.interrupt.set(0);
    }

    /// The state to save. The device is held.
    #[must_use]
    pub fn save(&self) -> MmioState {
        let Selected {
            device_features,
            driver_features,
            queue,
        } = *self.lock();
        MmioState {
            device_features_sel: device_features,
            driver_features_sel: driver_features,
            queue_sel: queue,
            interrupts: self.interrupt.causes(),
            virtio: self.core.save(),
        }
    }

    /// Takes up a saved state. The device is held, and guest memory is there.
    ///
    /// # Errors
    /// When no such device can have it; the device is reset then.
    pub fn restore(&self, saved: &MmioState) -> Result<(), BadVirtioState> {
        let MmioState {
            device_features_sel,
            driver_features_sel,
            queue_sel,
            interrupts,
            virtio,
        } = saved;
        self.core.restore(virtio)?;
        *self.lock() = Selected {
            device_features: *device_features_sel,
            driver_features: *driver_features_sel,
            queue: *queue_sel,
        };
        self.interrupt.set(*interrupts);
        Ok(())
    }

    fn read_register(&self, offset: u64) -> u32 {
        let selected = *self.lock();
        match offset {
            reg::MAGIC => spec::MAGIC,
            reg::VERSION => spec::VERSION,
            reg::DEVICE => self.core.kind().id().into(),
            reg::VENDOR => spec::VENDOR,
            reg::DEVICE_FEATURES => self.core.offered(selected.device_features),
            reg::QUEUE_NUM_MAX => selected.queue().map_or(0, |q| self.core.max_size(q)).into(),
            reg::QUEUE_READY => {
                let config = selected.queue().and_then(|q| self.core.queue_config(q));
                config.is_some_and(|config| config.ready).into()
            }
            reg::INTERRUPT_STATUS => self.interrupt.causes(),
            reg::STATUS => self.core.status().into(),
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH => spec::NO_REGION,
            reg::CONFIG_GENERATION => self.core.generation(),
            _ => 0,
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.lock().device_features = value,
            reg::DRIVER_FEATURES_SEL => self.lock().driver_features = value,
            reg::QUEUE_SEL => self.lock().queue = value,
            reg::DRIVER_FEATURES => {
                let word = self.lock().driver_features;
                self.core.accept(word, value);
            }
            reg::QUEUE_NOTIFY => {
                if let Ok(queue) = u16::try_from(value) {
                    self.core.kick(queue);
                }
            }
            reg::INTERRUPT_ACK => self.interrupt.acknowledge(value),
            reg::STATUS => self.write_status(value),
            _ => self.configure(offset, value),
        }
    }

    fn write_status(&self, value: u32) {
        // No bit is defined above the low byte.
        self.core.set_status(value as u8);
        if value as u8 == 0 {
            *self.lock() = Selected::default();
            self.interrupt.set(0);
        }
    }

    fn configure(&self, offset: u64, value: u32) {
        let Some(queue) = self.lock().queue() else {
            return;
        };
        let change = |config: &mut QueueConfig| match offset {
            // A size that does not fit is as bad as 0: the queue is refused when it is used.
            reg::QUEUE_NUM => config.size = u16::try_from(value).unwrap_or(0),
            reg::QUEUE_READY => config.ready = value & 1 != 0,
            reg::QUEUE_DESC_LOW => set_low(&mut config.descriptors, value),
            reg::QUEUE_DESC_HIGH => set_high(&mut config.descriptors, value),
            reg::QUEUE_DRIVER_LOW => set_low(&mut config.available, value),
            reg::QUEUE_DRIVER_HIGH => set_high(&mut config.available, value),
            reg::QUEUE_DEVICE_LOW => set_low(&mut config.used, value),
            reg::QUEUE_DEVICE_HIGH => set_high(&mut config.used, value),
            _ => {}
        };
        if offset == reg::QUEUE_READY && value & 1 == 0 {
            self.core.disable(queue);
        } else {
            self.core.configure(queue, change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Selected> {
        self.selected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Selected {
    fn queue(&self) -> Option<u16> {
        u16::try_from(self.queue).ok()
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !0 << 32 | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & !0 >> 32 | u64::from(value) << 32;
}

impl MmioDevice for MmioTransport {
    fn read(&self, offset: u64, size: Size) -> u64 {
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            let mut bytes = [0; 8];
            let len = usize::try_from(size.bytes()).unwrap_or(0);
            self.core.read_config(offset, &mut bytes[..len]);
            return u64::from_le_bytes(bytes);
        }
        match (size, offset % 4) {
            (Size::W, 0) => self.read_register(offset).into(),
            _ => 0,
        }
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            let len = usize::try_from(size.bytes()).unwrap_or(0);
            self.core.write_config(offset, &value.to_le_bytes()[..len]);
        } else if size == Size::W && offset.is_multiple_of(4) {
            self.write_register(offset, value as u32);
        }
    }
}

impl fmt::Debug for MmioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmioTransport")
            .field("core", &self.core)
            .field("interrupt", &self.interrupt)
            .field("bindings", &self.bindings.len())
            .field("selected", &*self.lock())
            .finish()
    }
}
