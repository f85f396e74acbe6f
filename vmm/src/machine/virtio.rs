//! The machine's virtio devices: which there are, where guests find them, and everything that the
//! machine does to all of them.
//!
//! The n-th device of [`wanted`], from 0 on, is in slot n of virtio-mmio or is PCI device n + 1, so
//! the order of the list is a part of the machine that guests see, and new devices go to its end.
//!
//! To add a device: a variant of [`Wanted`], a line in [`wanted`], and one in [`Wanted::make`].

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use aarch64::machine::{
    PCIE_ECAM, Span, VIRTIO_MMIO_BASE, VIRTIO_MMIO_INTID, VIRTIO_MMIO_SLOTS, VIRTIO_MMIO_STRIDE,
};
use aarch64::{Gpa, Intid, Size};
use devices::bus::{Bus, BusError};
use devices::clock::Monotonic;
use devices::pci::{PciHost, Slot as PciSlot, intx};
use devices::virtio::console::Console;
use devices::virtio::entropy::Entropy;
use devices::virtio::host::{Bell, Binding};
use devices::virtio::mmio::MmioTransport;
use devices::virtio::pci::{PciTransport, vectors};
use devices::virtio::{
    BadVirtioState, Core, DeviceKind, Doorbells, GuestRam, RateLimit, VirtioDevice,
};
use hv_backend::api::Doorbell;

use super::StartError;
use super::balloon::GuestBalloon;
use super::disk::OpenDisk;
use super::interrupts::Interrupts;
use crate::config::balloon::{Balloon, BalloonConfig};
use crate::config::disk::Limit;
use crate::config::rng::{Rng, RngConfig};
use crate::config::{MachineConfig, Transport};
use crate::fleet::Fleet;
use crate::host::bell::HostWorkers;
use crate::host::clock::Uptime;
use crate::host::random::HostRandom;
use crate::state::SlotState;

/// Bytes of configuration space of one device, with room for eight functions.
const ECAM_STRIDE: u64 = 0x8000;
/// Bytes of configuration space of one function.
const ECAM_FUNCTION: u64 = 0x1000;
/// The most devices behind the bridge.
const MAX_PCI: u16 = 31;

/// The most devices that a machine has: as many as both transports have places for.
pub const MAX_DEVICES: usize = MAX_PCI as usize;

/// A device that the configuration asks for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The disk of that number among those that are open.
    Disk(usize),
    /// The console, with all its ports.
    Console,
    /// A source of entropy.
    Rng(RngConfig),
    /// A memory balloon.
    Balloon(BalloonConfig),
}

/// The devices that a configuration asks for, in their order.
#[must_use]
pub fn wanted(config: &MachineConfig) -> Vec<Wanted> {
    let disks = (0..config.disks.len()).map(Wanted::Disk);
    let console = (!config.consoles.is_empty()).then_some(Wanted::Console);
    let rng = match config.rng {
        Rng::On(config) => Some(Wanted::Rng(config)),
        Rng::Off => None,
    };
    let balloon = match config.balloon {
        Balloon::On(config) => Some(Wanted::Balloon(config)),
        Balloon::Off => None,
    };
    disks.chain(console).chain(rng).chain(balloon).collect()
}

impl Wanted {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        match self {
            Self::Disk(_) => DeviceKind::Block,
            Self::Console => DeviceKind::Console,
            Self::Rng(_) => DeviceKind::Entropy,
            Self::Balloon(_) => DeviceKind::Balloon,
        }
    }

    /// Makes it: what it needs of the host is opened.
    fn make(&self, clock: &Arc<dyn Monotonic>, means: &mut Means<'_>) -> Arc<dyn VirtioDevice> {
        match self {
            Self::Disk(number) => Arc::new(means.disks[*number].device(clock)),
            Self::Console => means.console.clone(),
            Self::Rng(RngConfig { bandwidth }) => {
                let limit = bandwidth.map(rate_limit);
                let source = Box::new(HostRandom);
                Arc::new(Entropy::new(source, clock.clone(), limit))
            }
            Self::Balloon(config) => {
                let ram = (means.ram, means.span);
                let balloon = GuestBalloon::new(config, clock.clone(), means.fleet, ram);
                let balloon = means.balloon.insert(Arc::new(balloon));
                balloon.device().clone()
            }
        }
    }
}

/// A user's limit. Without a burst of its own, a second's worth goes through at once.
pub(super) fn rate_limit(Limit { rate, burst }: Limit) -> RateLimit {
    RateLimit {
        per_second: rate.get(),
        burst: burst.unwrap_or(rate).get(),
    }
}

/// Where device `n` is found, and its interrupt: its slot of virtio-mmio, or the configuration
/// space of its PCI function and the interrupt of its pin.
#[must_use]
pub fn place(transport: Transport, n: u16) -> (Span, Intid) {
    match transport {
        Transport::Mmio => slot(n),
        Transport::Pci => function(n),
    }
}

/// Slot `n` of virtio-mmio.
fn slot(n: u16) -> (Span, Intid) {
    let base = Gpa(VIRTIO_MMIO_BASE.0 + u64::from(n) * VIRTIO_MMIO_STRIDE);
    let size = VIRTIO_MMIO_STRIDE;
    let intid = Intid(VIRTIO_MMIO_INTID.0 + u32::from(n));
    (Span { base, size }, intid)
}

/// The function of device `n`. Device 0 of the bus is the bridge.
fn function(n: u16) -> (Span, Intid) {
    let device = n.saturating_add(1);
    let base = Gpa(PCIE_ECAM.base.0 + u64::from(device) * ECAM_STRIDE);
    let size = ECAM_FUNCTION;
    let intid = intx(device as u8, 0);
    (Span { base, size }, intid)
}

/// A device behind its transport.
#[derive(Debug)]
enum Slot {
    Mmio(Arc<MmioTransport>),
    Pci(Arc<PciTransport>),
}

impl Slot {
    fn core(&self) -> &Core {
        match self {
            Self::Mmio(transport) => transport.core(),
            Self::Pci(transport) => transport.core(),
        }
    }
}

/// What the machine has for its virtio devices.
pub struct Means<'a> {
    pub ram: &'a Arc<GuestRam>,
    /// Where RAM is.
    pub span: Span,
    pub fleet: &'a Arc<Fleet>,
    pub interrupts: &'a Interrupts,
    /// The bridge, if they sit behind one.
    pub bridge: &'a mut Option<PciHost>,
    /// The disks.
    pub disks: Vec<OpenDisk>,
    /// The console.
    pub console: Arc<Console>,
    /// The balloon, as soon as it is made.
    pub balloon: Option<Arc<GuestBalloon>>,
}

/// The devices in their slots.
pub struct VirtioSlots {
    slots: Vec<Slot>,
    disks: Vec<OpenDisk>,
    balloon: Option<Arc<GuestBalloon>>,
}

impl VirtioSlots {
    /// Makes the devices. They are held until [`VirtioSlots::release`].
    pub fn new(wanted: &[Wanted], mut means: Means<'_>) -> Result<Self, StartError> {
        check_count(wanted.len(), means.bridge.is_some())?;
        let clock: Arc<dyn Monotonic> = Arc::new(Uptime::new());
        let mut slots = Vec::new();
        for (n, wanted) in (0..).zip(wanted) {
            let device = wanted.make(&clock, &mut means);
            let slot = match &mut means.bridge {
                Some(bridge) => pci_slot(n, device, bridge, means.ram, means.fleet),
                None => mmio_slot(n, device, &means),
            };
            let name = wanted.kind().name();
            let refuse = |error| StartError::Host(format!("cannot start the {name}: {error}"));
            slots.push(slot.map_err(refuse)?);
        }
        let Means { disks, balloon, .. } = means;
        Ok(Self {
            slots,
            disks,
            balloon,
        })
    }

    /// The memory balloon, if there is one.
    pub fn balloon(&self) -> Option<&Arc<GuestBalloon>> {
        self.balloon.as_ref()
    }

    /// Puts those on the bus that are not behind the bridge.
    pub fn attach(&self, bus: &mut Bus) -> Result<(), BusError> {
        for (n, slot) in (0..).zip(&self.slots) {
            match slot {
                Slot::Mmio(transport) => {
                    let name = transport.core().kind().name();
                    bus.insert(name, self::slot(n).0, transport.clone())?;
                }
                Slot::Pci(_) => {}
            }
        }
        Ok(())
    }

    /// Back to power-on, but for those that the bridge resets. No vCPU runs; guest memory may be
    /// replaced afterwards.
    pub fn reset(&self) {
        for slot in &self.slots {
            match slot {
                Slot::Mmio(transport) => transport.reset(),
                Slot::Pci(_) => {}
            }
        }
    }

    /// Finishes what is under way, and does nothing more.
    pub fn hold(&self) {
        self.slots.iter().for_each(|slot| slot.core().hold());
    }

    /// Goes on.
    pub fn release(&self) {
        self.slots.iter().for_each(|slot| slot.core().release());
    }

    /// The machine has come to its end: finishes what is under way, and has all that was written
    /// last.
    pub fn finish(&self) {
        self.hold();
        self.disks.iter().for_each(OpenDisk::finish);
    }

    /// The states to save, by slot. The devices are held.
    pub fn save(&self) -> Vec<SlotState> {
        let state = |slot: &Slot| match slot {
            Slot::Mmio(transport) => SlotState::Mmio(transport.save()),
            Slot::Pci(transport) => SlotState::Pci(transport.save()),
        };
        self.slots.iter().map(state).collect()
    }

    /// Takes up saved states. The devices are held, guest memory is there, and the bridge has its
    /// state.
    pub fn restore(&self, saved: &[SlotState]) -> Result<(), BadVirtioState> {
        let other = BadVirtioState::Devices {
            found: saved.len(),
            expected: self.slots.len(),
        };
        if saved.len() != self.slots.len() {
            return Err(other);
        }
        for (slot, state) in self.slots.iter().zip(saved) {
            match (slot, state) {
                (Slot::Mmio(transport), SlotState::Mmio(state)) => transport.restore(state)?,
                (Slot::Pci(transport), SlotState::Pci(state)) => transport.restore(state)?,
                (Slot::Mmio(_), SlotState::Pci(_)) | (Slot::Pci(_), SlotState::Mmio(_)) => {
                    return Err(BadVirtioState::Transport);
                }
            }
        }
        Ok(())
    }
}

/// Puts a device into slot `n` of virtio-mmio.
fn mmio_slot(n: u16, device: Arc<dyn VirtioDevice>, means: &Means<'_>) -> io::Result<Slot> {
    let (span, intid) = slot(n);
    let line = means.interrupts.line(intid);
    let mut transport = MmioTransport::new(device, means.ram.clone(), line, &HostWorkers)?;
    let doorbells = HostDoorbells(means.fleet.clone());
    if let Err(error) = doorbells.bind_all(&mut transport, span.base) {
        tracing::debug!(%error, "kicks of a virtio device are exits");
    }
    Ok(Slot::Mmio(Arc::new(transport)))
}

/// Makes a device function `n + 1` behind the bridge.
fn pci_slot(
    n: u16,
    device: Arc<dyn VirtioDevice>,
    bridge: &mut PciHost,
    ram: &Arc<GuestRam>,
    fleet: &Arc<Fleet>,
) -> io::Result<Slot> {
    let number = u8::try_from(n.saturating_add(1)).ok();
    let slot = number
        .and_then(PciSlot::new)
        .ok_or_else(|| io::Error::other("there is no such PCI slot"))?;
    let queues = u16::try_from(device.queues().len()).unwrap_or(u16::MAX);
    let interrupts = bridge.interrupts(slot, vectors(queues));
    let doorbells = fleet.vm().doorbells().is_some();
    let doorbells = doorbells.then(|| Arc::new(HostDoorbells(fleet.clone())) as Arc<dyn Doorbells>);
    let (ram, wires) = (ram.clone(), interrupts.clone());
    let transport = Arc::new(PciTransport::new(
        device,
        ram,
        wires,
        doorbells,
        &HostWorkers,
    )?);
    let inserted = bridge.insert(slot, transport.clone(), interrupts);
    inserted.map_err(io::Error::other)?;
    Ok(Slot::Pci(transport))
}

/// Whether there is a place for each device.
fn check_count(count: usize, bridge: bool) -> Result<(), StartError> {
    let (transport, most) = match bridge {
        true => (Transport::Pci, MAX_PCI),
        false => (Transport::Mmio, VIRTIO_MMIO_SLOTS),
    };
    if count <= usize::from(most) {
        return Ok(());
    }
    let line = format!(
        "{count} virtio devices are too many: a machine has room for {most} with --transport \
         {transport}"
    );
    Err(StartError::Input(line))
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
    use aarch64::machine::PCIE_MMIO;

    use super::*;

    #[test]
    fn devices_without_a_place_are_refused_in_a_line() {
        assert_eq!(check_count(31, true), Ok(()));
        assert_eq!(check_count(32, false), Ok(()));
        for (count, bridge, said) in [
            (32, true, "31 with --transport pci"),
            (33, false, "32 with"),
        ] {
            let Err(StartError::Input(line)) = check_count(count, bridge) else {
                panic!("accepted")
            };
            assert!(line.contains(said), "{line}");
        }
    }

    #[test]
    fn slots_are_where_the_machine_has_them() {
        let (first, intid) = place(Transport::Mmio, 0);
        assert_eq!((first.base, intid), (Gpa(0x0a00_0000), Intid(48)));
        let (second, intid) = place(Transport::Mmio, 1);
        assert_eq!((second.base, intid), (Gpa(0x0a00_0200), Intid(49)));
        let (last, _) = place(Transport::Mmio, VIRTIO_MMIO_SLOTS - 1);
        assert!(last.base.0 + last.size <= PCIE_MMIO.base.0);
        let (first, intid) = place(Transport::Pci, 0);
        assert_eq!((first.base, intid), (Gpa(0x3f00_8000), Intid(36)));
        let (last, intid) = place(Transport::Pci, MAX_PCI - 1);
        assert_eq!((last.base, intid), (Gpa(0x3f0f_8000), Intid(38)));
    }
}
