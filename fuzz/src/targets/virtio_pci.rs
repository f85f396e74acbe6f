//! Virtio behind PCI: a guest's accesses to configuration space and to the BARs of a function, hostile
//! rings, and saved states.

use std::sync::Arc;

use aarch64::machine::{PCIE_ECAM, PCIE_MMIO};
use aarch64::{Gpa, PAGE_SIZE, Size};
use devices::bus::Bus;
use devices::irq::IrqLine;
use devices::pci::{MsiSink, PciHost, PciState, Slot};
use devices::virtio::Next;
use devices::virtio::entropy::Entropy;
use devices::virtio::pci::spec::REGISTERS_BYTES;
use devices::virtio::pci::{PciTransport, VirtioPciState, vectors};
use devices::virtio::spec::feature;
use devices::virtio::testing::{Buffer, Driver, Manual, NoThreads, PciRegisters, RAM_BASE, ram};
use memory::Layout;

use super::virtio::{damage_virtio, describe, scribble};
use crate::bytes::Bytes;

/// Pages of guest memory: rings in the first four, buffers anywhere.
const PAGES: u64 = 16;
/// Where the function's registers are, and its table of vectors.
const BARS: [u64; 2] = [PCIE_MMIO.base.0, PCIE_MMIO.base.0 + 0x1_0000];
/// Memory space and bus master.
const COMMAND: u64 = 6;
/// Configuration space of the function.
const FUNCTION: u64 = PCIE_ECAM.base.0 + (1 << 15);

/// Where no message arrives.
struct Nowhere;

impl MsiSink for Nowhere {
    fn signal(&self, _: u64, _: u32) {}
}

struct Guest {
    bus: Bus,
    host: Arc<PciHost>,
    transport: Arc<PciTransport>,
    layout: Arc<Layout>,
}

/// Whatever a driver does to a function, the machine goes on, and after a reset of the machine the
/// device works; what it saves it takes back.
pub fn virtio_pci(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let guest = Guest::new();
    guest.place();
    let size = bytes.pick(&[1, 2, 8, 64]);
    let features = bytes.pick(&[0, feature::EVENT_IDX, feature::ALL]);
    let mut driver = Driver::start(guest.registers(), &guest.layout, features, &[size]);
    while !bytes.is_empty() {
        match bytes.below(12) {
            0..=2 => guest.access(&mut bytes),
            3 => guest.place(),
            4 | 5 => describe(&driver, size, &mut bytes),
            6 | 7 => driver.rings[0].offer(bytes.u16() % size.saturating_mul(2)),
            8 => driver.rings[0].set_available(bytes.value() as u16),
            9 => scribble(&guest.layout, &mut bytes),
            10 => guest.save_and_restore(&mut bytes),
            _ => guest.transport.core().kick(0),
        }
        for _ in 0..bytes.below(4) {
            let _ = guest.transport.core().turn(0);
        }
    }
    guest.works_after_a_reset();
}

impl Guest {
    fn new() -> Self {
        let manual = Arc::new(Manual::default());
        let entropy = Entropy::new(Box::new(manual.clone()), manual, None);
        let (ram, layout) = ram(PAGES);
        let mut host = PciHost::new(|_| IrqLine::unconnected(), Arc::new(Nowhere));
        let slot = Slot::new(1).expect("a slot");
        let interrupts = host.interrupts(slot, vectors(1));
        let device = Arc::new(entropy);
        let transport = PciTransport::new(device, ram, interrupts.clone(), None, &NoThreads);
        let transport = Arc::new(transport.expect("it takes nothing of the host"));
        transport.core().release();
        host.insert(slot, transport.clone(), interrupts)
            .expect("the slot is free");
        let host = Arc::new(host);
        let mut bus = Bus::new();
        host.attach(&mut bus).expect("the bus is empty");
        Self {
            bus,
            host,
            transport,
            layout,
        }
    }

    /// Puts the BARs where they belong.
    fn place(&self) {
        for (at, size, value) in [
            (0x10, Size::W, BARS[0]),
            (0x14, Size::W, BARS[1]),
            (0x04, Size::H, COMMAND),
        ] {
            let done = self.bus.write(Gpa(FUNCTION + at), size, value);
            assert_eq!(done, Some(()));
        }
    }

    fn registers(&self) -> PciRegisters<'_> {
        PciRegisters {
            bus: &self.bus,
            base: BARS[0],
        }
    }

    /// An access to configuration space, to registers or to the vectors.
    fn access(&self, bytes: &mut Bytes<'_>) {
        let size = bytes.size();
        let at = match bytes.below(8) {
            0 => FUNCTION + bytes.below(0x100),
            1 => BARS[1] + bytes.below(0x1000 - 8),
            2 => BARS[0] + bytes.below(REGISTERS_BYTES - 8),
            3 => BARS[0] + 0x1000 * bytes.below(4),
            _ => BARS[0] + bytes.below(0x40),
        };
        if bytes.below(4) == 0 {
            assert!(self.bus.read(Gpa(at), size).is_some());
        } else {
            let done = self.bus.write(Gpa(at), size, bytes.value());
            assert_eq!(done, Some(()));
        }
    }

    fn save_and_restore(&self, bytes: &mut Bytes<'_>) {
        self.transport.core().hold();
        let (bridge, saved) = (self.host.save(), self.transport.save());
        assert_eq!(self.host.restore(&bridge), Ok(()), "what it saved");
        assert_eq!(self.transport.restore(&saved), Ok(()), "what it saved");
        let again = (self.host.save(), self.transport.save());
        assert_eq!(again, (bridge, saved.clone()), "is what it has");
        if bytes.flag() {
            let mut damaged = saved;
            damage(&mut damaged, bytes);
            let _ = self.transport.restore(&damaged);
        }
        self.transport.core().release();
    }

    /// Another driver finds a device as good as new.
    fn works_after_a_reset(&self) {
        self.host.reset();
        self.place();
        let registers = self.registers();
        let mut driver = Driver::start(registers, &self.layout, feature::ALL, &[8]);
        let buffer = Buffer::Write(RAM_BASE + 8 * PAGE_SIZE, 16);
        let head = driver.send(0, &[buffer]);
        assert_eq!(self.transport.core().turn(0), Next::Sleep);
        assert_eq!(driver.used(0), [(head.into(), 16)]);
    }
}

/// The states of a bridge with an entropy source that was just reset, and of that.
pub fn fresh_states() -> (PciState, VirtioPciState) {
    let guest = Guest::new();
    (guest.host.save(), guest.transport.save())
}

/// Changes something in a saved function.
pub fn damage(saved: &mut VirtioPciState, bytes: &mut Bytes<'_>) {
    let VirtioPciState {
        device_feature_select,
        driver_feature_select,
        queue_select,
        config_vector,
        queue_vectors,
        interrupts,
        virtio,
    } = saved;
    match bytes.below(10) {
        0 => *device_feature_select = bytes.u32(),
        1 => *driver_feature_select = bytes.u32(),
        2 => *queue_select = bytes.u16(),
        3 => *config_vector = bytes.pick(&[0, 1, 2, 0xffff, 0x7fff]),
        4 => queue_vectors
            .iter_mut()
            .for_each(|vector| *vector = bytes.u16() & 0x8003),
        5 => drop(queue_vectors.pop()),
        6 => *interrupts = bytes.u8(),
        _ => damage_virtio(virtio, bytes),
    }
}
