//! The PCI transport (Virtio 1.2, section 4.1): a device as a PCI function with its registers in a
//! BAR, and an interrupt of its own for each queue.
//!
//! | BAR | at | what |
//! |---|---|---|
//! | 0 | 0x0000 | the registers that all devices have |
//! | | 0x1000 | the interrupt status |
//! | | 0x2000 | the device's configuration |
//! | | 0x3000 | where queues are kicked, a word for each |
//! | 1 | | the vectors' table and pending bits |
//!
//! Each register is accessed in its own size, as the specification asks of drivers, addresses of
//! queues also in halves; other accesses read as zero and are ignored. The device's configuration is
//! accessed in any size.
//!
//! While the guest has not let the function use memory (bus master), the device does nothing. Where
//! the accelerator can, kicks ring the queue's bell without an exit, wherever the guest puts the BAR.
//!
//! Omitted: legacy and transitional devices, shared memory regions (none is there), and the registers
//! of features that are not offered (`queue_notify_data`, `queue_reset`, the admin queues).

mod interrupt;
pub mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::{Gpa, Size};

pub use state::VirtioPciState;

use self::interrupt::{Chosen, FunctionInterrupt};
use self::spec::{COMMON, DEVICE, ISR, NOTIFY, Part, REGISTERS_BAR, VECTORS_BAR, common};
use super::core::{Core, Parts};
use super::host::{Binding, Doorbells, GuestRam, Workers};
use super::negotiation::QueueConfig;
use super::{BadVirtioState, VirtioDevice};
use crate::pci::{
    Bar, Capability, Decoding, Description, Identity, Interrupts, PciFunction, Vectors, Width,
};

/// What the driver has selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Selected {
    device_features: u32,
    driver_features: u32,
    queue: u16,
}

/// Kicks that make no exit.
#[derive(Default)]
struct Bound {
    /// Where the registers are for which they are bound.
    at: Option<Gpa>,
    bindings: Vec<Box<dyn Binding>>,
}

/// A virtio device as a PCI function.
pub struct PciTransport {
    // Wiring.
    core: Core,
    interrupt: Arc<FunctionInterrupt>,
    doorbells: Option<Arc<dyn Doorbells>>,
    vectors: u16,
    // State.
    selected: Mutex<Selected>,
    bound: Mutex<Bound>,
}

/// The vectors that a device of so many queues has: one for each, and one for its configuration.
#[must_use]
pub const fn vectors(queues: u16) -> u16 {
    queues.saturating_add(1)
}

impl PciTransport {
    /// Makes a function of `device`, held ([`Core::new`]). Its interrupts have as many vectors as
    /// [`vectors`] says.
    ///
    /// # Errors
    /// When the host has no more threads or bells.
    pub fn new(
        device: Arc<dyn VirtioDevice>,
        ram: Arc<GuestRam>,
        interrupts: Arc<Interrupts>,
        doorbells: Option<Arc<dyn Doorbells>>,
        workers: &dyn Workers,
    ) -> io::Result<Self> {
        let queues = device.queues().len();
        let vectors = interrupts.vectors();
        let interrupt = Arc::new(FunctionInterrupt::new(interrupts, queues));
        let parts = Parts {
            ram,
            interrupt: interrupt.clone(),
            workers,
        };
        let core = Core::new(device, parts)?;
        // Until the guest makes the function a bus master.
        core.set_allowed(false);
        Ok(Self {
            core,
            interrupt,
            doorbells,
            vectors,
            selected: Mutex::default(),
            bound: Mutex::default(),
        })
    }

    /// The device behind the transport.
    #[must_use]
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The state to save. The device is held.
    #[must_use]
    pub fn save(&self) -> VirtioPciState {
        let Selected {
            device_features,
            driver_features,
            queue,
        } = *self.lock();
        let Chosen {
            config,
            queues,
            causes,
        } = self.interrupt.save();
        VirtioPciState {
            device_feature_select: device_features,
            driver_feature_select: driver_features,
            queue_select: queue,
            config_vector: config,
            queue_vectors: queues,
            interrupts: causes,
            virtio: self.core.save(),
        }
    }

    /// Takes up a saved state. The device is held, and guest memory is there.
    ///
    /// # Errors
    /// When no such device can have it; the device is reset then.
    pub fn restore(&self, saved: &VirtioPciState) -> Result<(), BadVirtioState> {
        let VirtioPciState {
            device_feature_select,
            driver_feature_select,
            queue_select,
            config_vector,
            queue_vectors,
            interrupts,
            virtio,
        } = saved;
        self.core.restore(virtio)?;
        *self.lock() = Selected {
            device_features: *device_feature_select,
            driver_features: *driver_feature_select,
            queue: *queue_select,
        };
        let chosen = Chosen {
            config: *config_vector,
            queues: queue_vectors.clone(),
            causes: *interrupts,
        };
        let restored = self.interrupt.restore(chosen);
        restored.ok_or_else(|| {
            self.start_over();
            BadVirtioState::Vectors
        })
    }

    fn start_over(&self) {
        self.core.reset();
        self.forget();
    }

    /// What of a reset is the transport's.
    fn forget(&self) {
        *self.lock() = Selected::default();
        self.interrupt.reset();
    }

    fn read_common(&self, offset: u64, size: Size) -> u64 {
        let selected = *self.lock();
        let queue = || self.core.queue_config(selected.queue);
        let address = |field: fn(QueueConfig) -> u64| queue().map_or(0, field);
        match (offset, size) {
            (common::DEVICE_FEATURE_SELECT, Size::W) => selected.device_features.into(),
            (common::DEVICE_FEATURE, Size::W) => self.core.offered(selected.device_features).into(),
            (common::DRIVER_FEATURE_SELECT, Size::W) => selected.driver_features.into(),
            (common::DRIVER_FEATURE, Size::W) => {
                self.core.accepted(selected.driver_features).into()
            }
            (common::CONFIG_MSIX_VECTOR, Size::H) => self.interrupt.config_vector().into(),
            (common::NUM_QUEUES, Size::H) => self.core.queue_count().into(),
            (common::DEVICE_STATUS, Size::B) => self.core.status().into(),
            (common::CONFIG_GENERATION, Size::B) => self.core.generation().into(),
            (common::QUEUE_SELECT, Size::H) => selected.queue.into(),
            (common::QUEUE_SIZE, Size::H) => address(|queue| queue.size.into()),
            (common::QUEUE_MSIX_VECTOR, Size::H) => {
                self.interrupt.queue_vector(selected.queue).into()
            }
            (common::QUEUE_ENABLE, Size::H) => address(|queue| queue.ready.into()),
            (common::QUEUE_NOTIFY_OFF, Size::H) => queue().map_or(0, |_| selected.queue.into()),
            (common::QUEUE_DESC, Size::W | Size::D) => address(|queue| queue.descriptors),
            (common::QUEUE_DESC_HIGH, Size::W) => address(|queue| queue.descriptors >> 32),
            (common::QUEUE_DRIVER, Size::W | Size::D) => address(|queue| queue.available),
            (common::QUEUE_DRIVER_HIGH, Size::W) => address(|queue| queue.available >> 32),
            (common::QUEUE_DEVICE, Size::W | Size::D) => address(|queue| queue.used),
            (common::QUEUE_DEVICE_HIGH, Size::W) => address(|queue| queue.used >> 32),
            _ => 0,
        }
    }

    fn write_common(&self, offset: u64, size: Size, value: u64) {
        match (offset, size) {
            (common::DEVICE_FEATURE_SELECT, Size::W) => self.lock().device_features = value as u32,
            (common::DRIVER_FEATURE_SELECT, Size::W) => self.lock().driver_features = value as u32,
            (common::DRIVER_FEATURE, Size::W) => {
                let word = self.lock().driver_features;
                self.core.accept(word, value as u32);
            }
            (common::CONFIG_MSIX_VECTOR, Size::H) => self.interrupt.set_config_vector(value as u16),
            (common::DEVICE_STATUS, Size::B) => {
                self.core.set_status(value as u8);
                if value as u8 == 0 {
                    self.forget();
                }
            }
            (common::QUEUE_SELECT, Size::H) => self.lock().queue = value as u16,
            (common::QUEUE_MSIX_VECTOR, Size::H) => {
                let queue = self.lock().queue;
                self.interrupt.set_queue_vector(queue, value as u16);
            }
            _ => self.configure(offset, size, value),
        }
    }

    fn configure(&self, offset: u64, size: Size, value: u64) {
        let queue = self.lock().queue;
        let low = u64::from(u32::MAX);
        let half = |address: &mut u64, value: u64| *address = *address & !low | value & low;
        let upper = |address: &mut u64, value: u64| *address = *address & low | value << 32;
        self.core.configure(queue, |config| match (offset, size) {
            (common::QUEUE_SIZE, Size::H) => config.size = value as u16,
            // A queue is disabled by a reset only.
            (common::QUEUE_ENABLE, Size::H) => config.ready |= value == 1,
            (common::QUEUE_DESC, Size::W) => half(&mut config.descriptors, value),
            (common::QUEUE_DESC_HIGH, Size::W) => upper(&mut config.descriptors, value),
            (common::QUEUE_DESC, Size::D) => config.descriptors = value,
            (common::QUEUE_DRIVER, Size::W) => half(&mut config.available, value),
            (common::QUEUE_DRIVER_HIGH, Size::W) => upper(&mut config.available, value),
            (common::QUEUE_DRIVER, Size::D) => config.available = value,
            (common::QUEUE_DEVICE, Size::W) => half(&mut config.used, value),
            (common::QUEUE_DEVICE_HIGH, Size::W) => upper(&mut config.used, value),
            (common::QUEUE_DEVICE, Size::D) => config.used = value,
            _ => {}
        });
    }

    /// Binds kicks to bells for registers at `at`. What the host refuses to bind stays an exit.
    fn bind(&self, at: Option<Gpa>) {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        if bound.at == at {
            return;
        }
        bound.bindings.clear();
        bound.at = at;
        let (Some(Gpa(at)), Some(doorbells)) = (at, &self.doorbells) else {
            return;
        };
        for queue in 0..self.core.queue_count() {
            let kick = u64::from(NOTIFY.offset + u32::from(queue) * spec::NOTIFY_MULTIPLIER);
            let Some(bell) = self.core.bell(queue) else {
                continue;
            };
            match doorbells.bind(Gpa(at + kick), Size::H, None, &**bell) {
                Ok(binding) => bound.bindings.push(binding),
                Err(error) => tracing::debug!(queue, %error, "kicks of a queue are exits"),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Selected> {
        self.selected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of the registers that has all of an access, and the offset in it.
fn part(offset: u64, size: Size) -> Option<(Part, u64)> {
    let parts = [COMMON, ISR, DEVICE, NOTIFY].into_iter();
    let mut found = parts.filter_map(|part| {
        let inside = offset.checked_sub(part.offset.into())?;
        (inside + size.bytes() <= part.length.into()).then_some((part, inside))
    });
    found.next()
}

/// The queue that a store there kicks.
fn kicked(offset: u64) -> Option<u16> {
    let multiplier = u64::from(spec::NOTIFY_MULTIPLIER);
    let queue = u16::try_from(offset / multiplier).ok()?;
    offset.is_multiple_of(multiplier).then_some(queue)
}

impl PciFunction for PciTransport {
    fn description(&self) -> Description {
        let kind = self.core.kind();
        let id = spec::FIRST_DEVICE + kind.id();
        let mut bars = [None; crate::pci::BARS];
        bars[REGISTERS_BAR] = Some(Bar {
            size: spec::REGISTERS_BYTES,
            width: Width::Bits32,
            prefetchable: false,
        });
        Description {
            identity: Identity {
                vendor: spec::VENDOR,
                device: id,
                revision: spec::REVISION,
                class: spec::class(kind),
                subsystem_vendor: spec::VENDOR,
                subsystem: id,
            },
            bars,
            capabilities: capabilities(),
            interrupts: Some(Vectors {
                count: self.vectors,
                bar: VECTORS_BAR,
            }),
        }
    }

    fn read_bar(&self, _: usize, offset: u64, size: Size) -> u64 {
        match part(offset, size) {
            Some((COMMON, offset)) => self.read_common(offset, size),
            Some((ISR, _)) => self.interrupt.take_causes().into(),
            Some((DEVICE, offset)) => {
                let mut bytes = [0; 8];
                let len = usize::try_from(size.bytes()).unwrap_or(0);
                self.core.read_config(offset, &mut bytes[..len]);
                u64::from_le_bytes(bytes)
            }
            Some(_) | None => 0,
        }
    }

    fn write_bar(&self, _: usize, offset: u64, size: Size, value: u64) {
        match part(offset, size) {
            Some((COMMON, offset)) => self.write_common(offset, size, value),
            Some((DEVICE, offset)) => {
                let len = usize::try_from(size.bytes()).unwrap_or(0);
                self.core.write_config(offset, &value.to_le_bytes()[..len]);
            }
            // The address says which queue; the value says it again.
            Some((NOTIFY, offset)) => {
                if let Some(queue) = kicked(offset) {
                    self.core.kick(queue);
                }
            }
            Some(_) | None => {}
        }
    }

    fn set_decoding(&self, now: &Decoding) {
        let Decoding { bars, bus_master } = now;
        self.bind(bars[REGISTERS_BAR]);
        self.core.set_allowed(*bus_master);
    }

    fn reset(&self) {
        self.start_over();
    }
}

/// What leads a driver to the parts of the BAR.
fn capabilities() -> Vec<Capability> {
    let body = |kind: u8, offset: u32, length: u32, more: &[u8]| {
        let bytes = 16 + more.len();
        let mut body = vec![u8::try_from(bytes).unwrap_or(u8::MAX), kind];
        // The BAR, an ID among those of one kind, and padding.
        body.extend([u8::try_from(REGISTERS_BAR).unwrap_or(u8::MAX), 0, 0, 0]);
        body.extend(offset.to_le_bytes());
        body.extend(length.to_le_bytes());
        body.extend(more);
        body
    };
    let part = |part: Part| body(part.kind, part.offset, part.length, &[]);
    let multiplier = spec::NOTIFY_MULTIPLIER.to_le_bytes();
    let notify = body(NOTIFY.kind, NOTIFY.offset, NOTIFY.length, &multiplier);
    let access = body(spec::CONFIG_ACCESS, 0, 0, &[0; 4]);
    vec![
        Capability::vendor(part(COMMON)),
        Capability::vendor(notify),
        Capability::vendor(part(ISR)),
        Capability::vendor(part(DEVICE)),
        Capability::bar_window(access),
    ]
}

impl fmt::Debug for PciTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciTransport")
            .field("core", &self.core)
            .field("interrupt", &self.interrupt)
            .field("selected", &*self.lock())
            .finish_non_exhaustive()
    }
}
