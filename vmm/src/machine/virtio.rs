//! The machine's virtio devices: which there are, where guests find them, and everything that the
//! machine does to all of them.
//!
//! The n-th device of [`wanted`] is in slot n of virtio-mmio, so the order of the list is a part of
//! the machine that guests see, and new devices go to its end.
//!
//! To add a device: a variant of [`Wanted`], a line in [`wanted`], and one in [`Wanted::make`].

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use aarch64::machine::{Span, VIRTIO_MMIO_BASE, VIRTIO_MMIO_INTID, VIRTIO_MMIO_STRIDE};
use aarch64::{Gpa, Intid, Size};
use devices::bus::{Bus, BusError};
use devices::clock::Monotonic;
use devices::irq::IrqLine;
use devices::virtio::entropy::Entropy;
use devices::virtio::host::{Bell, Binding};
use devices::virtio::mmio::{MmioState, MmioTransport};
use devices::virtio::{BadVirtioState, DeviceKind, Doorbells, GuestRam, RateLimit, VirtioDevice};
use hv_backend::api::Doorbell;

use super::StartError;
use crate::config::MachineConfig;
use crate::config::disk::Limit;
use crate::config::rng::{Rng, RngConfig};
use crate::fleet::Fleet;
use crate::host::bell::HostWorkers;
use crate::host::clock::Uptime;
use crate::host::random::HostRandom;

/// A device that the configuration asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// A source of entropy.
    Rng(RngConfig),
}

/// The devices that a configuration asks for, in their order.
#[must_use]
pub fn wanted(config: &MachineConfig) -> Vec<Wanted> {
    let rng = match config.rng {
        Rng::On(config) => Some(Wanted::Rng(config)),
        Rng::Off => None,
    };
    rng.into_iter().collect()
}

impl Wanted {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Rng(_) => DeviceKind::Entropy,
        }
    }

    /// Makes it: what it needs of the host is opened.
    fn make(&self, clock: &Arc<dyn Monotonic>) -> Arc<dyn VirtioDevice> {
        match self {
            Self::Rng(RngConfig { bandwidth }) => {
                let limit = bandwidth.map(rate_limit);
                let source = Box::new(HostRandom);
                Arc::new(Entropy::new(source, clock.clone(), limit))
            }
        }
    }
}

/// A user's limit. Without a burst of its own, a second's worth goes through at once.
fn rate_limit(Limit { rate, burst }: Limit) -> RateLimit {
    RateLimit {
        per_second: rate.get(),
        burst: burst.unwrap_or(rate).get(),
    }
}

/// Where slot `n` of virtio-mmio is, and its interrupt.
#[must_use]
pub fn place(n: u16) -> (Span, Intid) {
    let base = Gpa(VIRTIO_MMIO_BASE.0 + u64::from(n) * VIRTIO_MMIO_STRIDE);
    let size = VIRTIO_MMIO_STRIDE;
    let intid = Intid(VIRTIO_MMIO_INTID.0 + u32::from(n));
    (Span { base, size }, intid)
}

/// The devices in their slots.
pub struct VirtioSlots {
    slots: Vec<Arc<MmioTransport>>,
}

impl VirtioSlots {
    /// Makes the devices. They are held until [`VirtioSlots::release`].
    pub fn new(
        wanted: &[Wanted],
        ram: &Arc<GuestRam>,
        fleet: &Arc<Fleet>,
        line: impl Fn(Intid) -> IrqLine,
    ) -> Result<Self, StartError> {
        let clock: Arc<dyn Monotonic> = Arc::new(Uptime::new());
        let doorbells = HostDoorbells(fleet.clone());
        let mut slots = Vec::new();
        for (n, wanted) in (0..).zip(wanted) {
            let (span, intid) = place(n);
            let device = wanted.make(&clock);
            let transport = MmioTransport::new(device, ram.clone(), line(intid), &HostWorkers);
            let mut transport = transport.map_err(|error| {
                let name = wanted.kind().name();
                StartError::Host(format!("cannot start the {name}: {error}"))
            })?;
            if let Err(error) = doorbells.bind_all(&mut transport, span.base) {
                tracing::debug!(%error, "kicks of a virtio device are exits");
            }
            slots.push(Arc::new(transport));
        }
        Ok(Self { slots })
    }

    /// Puts them on the bus.
    pub fn attach(&self, bus: &mut Bus) -> Result<(), BusError> {
        for (n, transport) in (0..).zip(&self.slots) {
            let name = transport.core().kind().name();
            bus.insert(name, place(n).0, transport.clone())?;
        }
        Ok(())
    }

    /// Back to power-on. No vCPU runs; guest memory may be replaced afterwards.
    pub fn reset(&self) {
        self.slots.iter().for_each(|slot| slot.reset());
    }

    /// Finishes what is under way, and does nothing more.
    pub fn hold(&self) {
        self.slots.iter().for_each(|slot| slot.core().hold());
    }

    /// Goes on.
    pub fn release(&self) {
        self.slots.iter().for_each(|slot| slot.core().release());
    }

    /// The states to save, by slot. The devices are held.
    pub fn save(&self) -> Vec<MmioState> {
        self.slots.iter().map(|slot| slot.save()).collect()
    }

    /// Takes up saved states. The devices are held, and guest memory is there.
    pub fn restore(&self, saved: &[MmioState]) -> Result<(), BadVirtioState> {
        if saved.len() != self.slots.len() {
            return Err(BadVirtioState::Devices {
                found: saved.len(),
                expected: self.slots.len(),
            });
        }
        for (slot, state) in self.slots.iter().zip(saved) {
            slot.restore(state)?;
        }
        Ok(())
    }
}

impl fmt::Debug for VirtioSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.slots).finish()
    }
}

/// The accelerator's doorbells, for devices.
struct HostDoorbells(Arc<Fleet>);

impl HostDoorbells {
    /// Binds all kicks of a slot, if the accelerator has doorbells.
    fn bind_all(&self, transport: &mut MmioTransport, base: Gpa) -> io::Result<()> {
        match self.0.vm().doorbells() {
            Some(_) => transport.bind(base, self),
            None => Ok(()),
        }
    }
}

impl Doorbells for HostDoorbells {
    fn bind(
        &self,
        at: Gpa,
        size: Size,
        value: Option<u64>,
        bell: &dyn Bell,
    ) -> io::Result<Box<dyn Binding>> {
        let none = || io::Error::from(io::ErrorKind::Unsupported);
        let event = bell.event().ok_or_else(none)?;
        let doorbells = self.0.vm().doorbells().ok_or_else(none)?;
        let size = Some(size);
        let bell = Doorbell {
            gpa: at,
            size,
            value,
        };
        doorbells.bind(&bell, event).map_err(io::Error::other)?;
        Ok(Box::new(Bound {
            fleet: self.0.clone(),
            event: event.try_clone_to_owned()?,
            bell,
        }))
    }
}

/// A doorbell in use.
struct Bound {
    fleet: Arc<Fleet>,
    /// Another name of the bell's event.
    event: OwnedFd,
    bell: Doorbell,
}

impl Binding for Bound {}

impl Drop for Bound {
    fn drop(&mut self) {
        use std::os::fd::AsFd;
        let Some(doorbells) = self.fleet.vm().doorbells() else {
            return;
        };
        if let Err(error) = doorbells.unbind(&self.bell, self.event.as_fd()) {
            tracing::warn!(%error, "a doorbell stays bound");
        }
    }
}

#[cfg(test)]
mod tests {
    use aarch64::machine::{PCIE_MMIO, VIRTIO_MMIO_SLOTS};

    use super::*;

    #[test]
    fn slots_are_where_the_machine_has_them() {
        let (first, intid) = place(0);
        assert_eq!((first.base, intid), (Gpa(0x0a00_0000), Intid(48)));
        let (second, intid) = place(1);
        assert_eq!((second.base, intid), (Gpa(0x0a00_0200), Intid(49)));
        let (last, _) = place(VIRTIO_MMIO_SLOTS - 1);
        assert!(last.base.0 + last.size <= PCIE_MMIO.base.0);
    }
}
