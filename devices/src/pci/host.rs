//! The host bridge: configuration space, the windows, and the routes between them and functions.
//!
//! Locks, in the order in which they are taken: `settling`, `routes`, a function's configuration
//! space, its interrupts, a wire. A function is called with none but `settling` held, so it may take
//! as long for [`PciFunction::set_decoding`] as it must without other devices waiting.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aarch64::machine::{PCIE_ECAM, PCIE_MMIO, PCIE_PIO};
use aarch64::{Gpa, Intid, Size};

use super::description::{Description, Identity};
use super::endpoint::{Endpoint, nobody};
use super::interrupts::{Interrupts, SharedWire, WIRES, intx};
use super::routes::{BarOf, Claim, Routes};
use super::spec::{BARS, CONFIG_BYTES};
use super::{Decoding, InvalidPciState, MsiSink, PciFunction, PciState};
use crate::bus::{Bus, BusError, MmioDevice};
use crate::irq::IrqLine;

/// Devices on the bus, the bridge among them.
const DEVICES: u8 = 32;

/// The place of a device on bus 0, other than the bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// Slot `device`, if there is one of this number: 1 to 31.
    #[must_use]
    pub fn new(device: u8) -> Option<Self> {
        (1..DEVICES).contains(&device).then_some(Self(device))
    }

    /// Its number.
    #[must_use]
    pub fn device(self) -> u8 {
        self.0
    }
}

/// A function that cannot be put on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PciError {
    /// Another one is there.
    #[error("PCI slot {0} is taken")]
    Taken(u8),
}

/// A host bridge with its functions.
pub struct PciHost {
    // Wiring.
    wires: Vec<Arc<SharedWire>>,
    sink: Arc<dyn MsiSink>,
    /// Sorted by device.
    endpoints: Vec<(u8, Endpoint)>,
    // State.
    routes: RwLock<Arc<Routes>>,
    /// Held while functions are told, so that each hears of things in their order.
    settling: Mutex<()>,
}

/// What the bridge itself is as a function: registers of configuration space that do nothing.
struct Bridge;

impl PciFunction for Bridge {
    fn description(&self) -> Description {
        Description {
            // The generic host bridge of QEMU's `virt`, by which name guests know what it is.
            identity: Identity {
                vendor: 0x1b36,
                device: 0x0008,
                revision: 0,
                class: 0x06_00_00,
                subsystem_vendor: 0,
                subsystem: 0,
            },
            bars: [None; BARS],
            capabilities: Vec::new(),
            interrupts: None,
        }
    }
    fn read_bar(&self, _: usize, _: u64, size: Size) -> u64 {
        nobody(size)
    }
    fn write_bar(&self, _: usize, _: u64, _: Size, _: u64) {}
    fn set_decoding(&self, _: &Decoding) {}
    fn reset(&self) {}
}

impl PciHost {
    /// A bridge without functions. `line` gives the wires of INTx, and messages go to `sink`.
    pub fn new(line: impl Fn(Intid) -> IrqLine, sink: Arc<dyn MsiSink>) -> Self {
        let wire = |pin| Arc::new(SharedWire::new(line(intx(0, pin))));
        Self {
            wires: (0..WIRES).map(wire).collect(),
            sink,
            endpoints: vec![(0, Endpoint::new(0, Arc::new(Bridge), None))],
            routes: RwLock::default(),
            settling: Mutex::default(),
        }
    }

    /// The interrupts of the function that will be in a slot: so many vectors, 1 to 2048.
    #[must_use]
    pub fn interrupts(&self, slot: Slot, vectors: u16) -> Arc<Interrupts> {
        let wire = usize::from(slot.0 % WIRES);
        let (wire, sink) = (self.wires[wire].clone(), self.sink.clone());
        Arc::new(Interrupts::new(slot.0, vectors, wire, sink))
    }

    /// Puts a function into a slot.
    ///
    /// # Errors
    /// When there is one already.
    ///
    /// # Panics
    /// When its description is of no function that can be, or does not go with its interrupts.
    pub fn insert(
        &mut self,
        slot: Slot,
        function: Arc<dyn PciFunction>,
        interrupts: Arc<Interrupts>,
    ) -> Result<(), PciError> {
        let described = function.description().interrupts.map(|all| all.count);
        assert_eq!(described, Some(interrupts.vectors()), "vectors differ");
        let endpoint = Endpoint::new(slot.0, function, Some(interrupts));
        match self.find(slot.0) {
            Ok(_) => Err(PciError::Taken(slot.0)),
            Err(at) => {
                self.endpoints.insert(at, (slot.0, endpoint));
                Ok(())
            }
        }
    }

    /// Puts configuration space and the windows on the machine's bus.
    ///
    /// # Errors
    /// When something else is there.
    pub fn attach(self: &Arc<Self>, bus: &mut Bus) -> Result<(), BusError> {
        bus.insert("PCIe ports", PCIE_PIO, Arc::new(Ports))?;
        let window = Window(self.clone());
        bus.insert("PCIe memory", PCIE_MMIO, Arc::new(window))?;
        bus.insert("PCIe ECAM", PCIE_ECAM, Arc::new(Ecam(self.clone())))
    }

    /// Everything back to the state at power-on.
    pub fn reset(&self) {
        for (_, endpoint) in &self.endpoints {
            endpoint.reset();
        }
        self.settle();
        self.refresh();
    }

    /// Drives the wires once more: the interrupt controller may have forgotten their levels.
    pub fn refresh(&self) {
        for wire in &self.wires {
            wire.refresh();
        }
    }

    /// The state to save.
    #[must_use]
    pub fn save(&self) -> PciState {
        let functions = self.endpoints.iter().map(|(_, endpoint)| endpoint.save());
        PciState {
            functions: functions.collect(),
        }
    }

    /// Takes on a saved state, and tells every function how it is set up now.
    ///
    /// # Errors
    /// When the state is impossible or of other functions; nothing has changed then.
    pub fn restore(&self, saved: &PciState) -> Result<(), InvalidPciState> {
        let PciState { functions } = saved;
        if functions.len() != self.endpoints.len() {
            return Err(InvalidPciState::Devices);
        }
        let pairs = self.endpoints.iter().zip(functions);
        let checked = pairs.map(|((_, endpoint), saved)| endpoint.check(saved));
        let checked: Vec<_> = checked.collect::<Result<_, _>>()?;
        for ((_, endpoint), checked) in self.endpoints.iter().zip(checked) {
            endpoint.restore(checked);
        }
        self.settle();
        self.refresh();
        Ok(())
    }

    /// Works out the routes, and tells every function.
    fn settle(&self) {
        let _settling = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let mut claims = Vec::new();
        let mut masters = Vec::new();
        for (device, endpoint) in &self.endpoints {
            let (bars, bus_master) = endpoint.decoding();
            masters.push(bus_master);
            for (bar, claim) in bars.into_iter().enumerate() {
                let owner = BarOf {
                    device: *device,
                    bar,
                };
                claims.extend(claim.map(|(base, size)| Claim { owner, base, size }));
            }
        }
        let routes = Arc::new(Routes::new(PCIE_MMIO, &claims));
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes.clone();
        for ((device, endpoint), bus_master) in self.endpoints.iter().zip(masters) {
            let bars = routes.whole(*device).map(|place| place.map(Gpa));
            let now = Decoding { bars, bus_master };
            endpoint.function().set_decoding(&now);
        }
    }

    fn find(&self, device: u8) -> Result<usize, usize> {
        self.endpoints
            .binary_search_by_key(&device, |(device, _)| *device)
    }

    fn endpoint(&self, device: u8) -> Option<&Endpoint> {
        let at = self.find(device).ok()?;
        self.endpoints.get(at).map(|(_, endpoint)| endpoint)
    }

    /// The function and the offset in its configuration space that an address in the ECAM is of.
    fn config_at(&self, offset: u64, size: Size) -> Option<(&Endpoint, usize)> {
        // Accesses of configuration space are of a word or of some bytes in one.
        if offset % 4 + size.bytes() > 4 {
            return None;
        }
        let device = u8::try_from(offset >> 15).ok()?;
        // Function and register: functions but the first would come after the first one's 4 KiB.
        let register = usize::try_from(offset % (1 << 15)).ok()?;
        let endpoint = self.endpoint(device)?;
        (register < 4096).then_some((endpoint, register))
    }

    /// Whom an access of the memory window reaches.
    fn bar_at(&self, offset: u64, size: Size) -> Option<(&Endpoint, usize, u64)> {
        let address = PCIE_MMIO.base.0.checked_add(offset)?;
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let (BarOf { device, bar }, offset) = routes.find(address, size.bytes())?;
        Some((self.endpoint(device)?, bar, offset))
    }
}

/// Configuration space, mapped.
struct Ecam(Arc<PciHost>);

impl MmioDevice for Ecam {
    fn read(&self, offset: u64, size: Size) -> u64 {
        match self.0.config_at(offset, size) {
            // What is beyond a conventional function's reads as zeros: there is no list there.
            Some((_, register)) if register >= CONFIG_BYTES => 0,
            Some((endpoint, register)) => endpoint.read_config(register, size).into(),
            None => nobody(size),
        }
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        if let Some((endpoint, register)) = self.0.config_at(offset, size)
            && endpoint.write_config(register, size, value as u32)
        {
            self.0.settle();
        }
    }
}

/// The window of 32-bit memory.
struct Window(Arc<PciHost>);

impl MmioDevice for Window {
    fn read(&self, offset: u64, size: Size) -> u64 {
        match self.0.bar_at(offset, size) {
            Some((endpoint, bar, offset)) => endpoint.read_bar(bar, offset, size),
            None => nobody(size),
        }
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        if let Some((endpoint, bar, offset)) = self.0.bar_at(offset, size) {
            endpoint.write_bar(bar, offset, size, value);
        }
    }
}

/// The window of ports, of which no function has any.
struct Ports;

impl MmioDevice for Ports {
    fn read(&self, _: u64, size: Size) -> u64 {
        nobody(size)
    }
    fn write(&self, _: u64, _: Size, _: u64) {}
}

impl fmt::Debug for PciHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PciHost")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}
