//! The transport, driven through the bridge's windows as a guest drives it.

use std::sync::atomic::{AtomicU32, Ordering};

use aarch64::machine::{PCIE_ECAM, PCIE_MMIO};

use super::super::Next;
use super::super::entropy::Entropy;
use super::super::host::Bell;
use super::super::spec::{Status, feature};
use super::super::testing::{
    Buffer, Driver, Manual, NoThreads, PciRegisters, RAM_BASE, Registers, ram,
};
use super::*;
use crate::bus::Bus;
use crate::irq::testing::Recorder;
use crate::pci::{MsiSink, PciHost, Slot};

const BAR: u64 = PCIE_MMIO.base.0 + 0x10_0000;
const TABLE: u64 = BAR + 0x1_0000;
const BUFFER: u64 = RAM_BASE + 0x8000;
const MEMORY: u64 = 1 << 1;
const MASTER: u64 = 1 << 2;

#[derive(Default)]
struct Messages(Mutex<Vec<u32>>);

impl MsiSink for Messages {
    fn signal(&self, _: u64, data: u32) {
        self.0.lock().unwrap().push(data);
    }
}

/// Counts what is bound, and remembers where.
#[derive(Default)]
struct Bells {
    bound: Arc<AtomicU32>,
    last: Mutex<Option<(Gpa, Size, Option<u64>)>>,
}

struct Bound(Arc<AtomicU32>);

impl Binding for Bound {}

impl Drop for Bound {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Doorbells for Bells {
    fn bind(
        &self,
        at: Gpa,
        size: Size,
        value: Option<u64>,
        _: &dyn Bell,
    ) -> io::Result<Box<dyn Binding>> {
        *self.last.lock().unwrap() = Some((at, size, value));
        self.bound.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Bound(self.bound.clone())))
    }
}

struct Rig {
    bus: Bus,
    host: Arc<PciHost>,
    transport: Arc<PciTransport>,
    layout: Arc<memory::Layout>,
    messages: Arc<Messages>,
    wires: Arc<Recorder>,
    bells: Arc<Bells>,
}

fn rig() -> Rig {
    let (ram, layout) = ram(16);
    let messages = Arc::new(Messages::default());
    let (wires, line) = Recorder::wire();
    let mut host = PciHost::new(|_| line.clone(), messages.clone());
    let slot = Slot::new(1).unwrap();
    let manual = Arc::new(Manual::default());
    let device = Entropy::new(Box::new(manual.clone()), manual, None);
    let interrupts = host.interrupts(slot, vectors(1));
    let bells = Arc::new(Bells::default());
    let doorbells: Arc<dyn Doorbells> = bells.clone();
    let device = Arc::new(device);
    let transport = PciTransport::new(device, ram, interrupts.clone(), Some(doorbells), &NoThreads);
    let transport = Arc::new(transport.unwrap());
    transport.core().release();
    host.insert(slot, transport.clone(), interrupts).unwrap();
    let host = Arc::new(host);
    let mut bus = Bus::new();
    host.attach(&mut bus).unwrap();
    Rig {
        bus,
        host,
        transport,
        layout,
        messages,
        wires,
        bells,
    }
}

impl Rig {
    fn set(&self, register: u64, size: Size, value: u64) {
        let at = Gpa(PCIE_ECAM.base.0 + (1 << 15) + register);
        self.bus.write(at, size, value).unwrap();
    }
    fn get(&self, register: u64, size: Size) -> u64 {
        let at = Gpa(PCIE_ECAM.base.0 + (1 << 15) + register);
        self.bus.read(at, size).unwrap()
    }
    /// Puts both BARs into the window.
    fn place(&self, command: u64) {
        self.set(0x10, Size::W, BAR);
        self.set(0x14, Size::W, TABLE);
        self.set(0x04, Size::H, command);
    }
    /// Messages 100 for the configuration and 101 for the queue.
    fn enable_messages(&self) {
        let control = self.get(0x34, Size::B) + 2;
        for n in [0, 1] {
            let at = Gpa(TABLE + 16 * n);
            self.bus.write(at, Size::D, 0x0802_0040).unwrap();
            let at = Gpa(TABLE + 16 * n + 8);
            self.bus.write(at, Size::D, 100 + n).unwrap();
        }
        self.set(control, Size::H, 1 << 15);
        let registers = self.registers();
        registers.set_vectors(0, &[1]);
    }
    fn registers(&self) -> PciRegisters<'_> {
        PciRegisters {
            bus: &self.bus,
            base: BAR,
        }
    }
    fn driver(&self) -> Driver<PciRegisters<'_>> {
        Driver::start(self.registers(), &self.layout, 0, &[8])
    }
    fn sent(&self) -> Vec<u32> {
        std::mem::take(&mut self.messages.0.lock().unwrap())
    }
}

#[test]
fn a_driver_finds_a_modern_device_and_the_way_to_its_registers() {
    let rig = rig();
    assert_eq!(rig.get(0, Size::W), 0x1044_1af4);
    assert_eq!(rig.get(8, Size::B), 1);
    assert_eq!(rig.get(0x2e, Size::H), 0x1044);
    // Kind, BAR, offset and length of each capability of the vendor, in their list.
    let mut found = Vec::new();
    let mut at = rig.get(0x34, Size::B);
    while at != 0 {
        if rig.get(at, Size::B) == 0x09 {
            let word = |n| rig.get(at + n, Size::W);
            found.push((word(0) >> 24, word(4), word(8), word(12)));
        }
        at = rig.get(at + 1, Size::B);
    }
    let wanted = [
        (1, 0, 0x0000, 0x38),
        (2, 0, 0x3000, 0x1000),
        (3, 0, 0x1000, 1),
        (4, 0, 0x2000, 0x1000),
        (5, 0, 0, 0),
    ];
    assert_eq!(found, wanted);
}

#[test]
fn a_buffer_is_served_and_its_queue_has_a_message_of_its_own() {
    let rig = rig();
    rig.place(MEMORY | MASTER);
    let mut driver = rig.driver();
    rig.enable_messages();
    driver.send(0, &[Buffer::Write(BUFFER, 16)]);
    assert_eq!(rig.transport.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), [(0, 16)]);
    assert_eq!(rig.sent(), [101]);
    let mut bytes = [0; 16];
    rig.layout.read(Gpa(BUFFER), &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte != 0));
    // Nothing else was told.
    assert_eq!(driver.registers.take_interrupts(), (false, false));
    assert_eq!(rig.wires.take(), []);
}

#[test]
fn without_messages_the_pin_is_high_until_the_status_is_read() {
    let rig = rig();
    rig.place(MEMORY | MASTER);
    let mut driver = rig.driver();
    driver.send(0, &[Buffer::Write(BUFFER, 16)]);
    assert_eq!(rig.transport.core().turn(0), Next::Sleep);
    assert_eq!(rig.wires.take(), [true]);
    assert_eq!(driver.registers.take_interrupts(), (true, false));
    assert_eq!(rig.wires.take(), [false]);
    assert!(rig.sent().is_empty());
}

#[test]
fn a_function_that_is_no_bus_master_does_nothing_until_it_is_one() {
    let rig = rig();
    rig.place(MEMORY);
    let mut driver = rig.driver();
    driver.send(0, &[Buffer::Write(BUFFER, 16)]);
    assert_eq!(rig.transport.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), []);
    rig.set(0x04, Size::H, MEMORY | MASTER);
    assert_eq!(rig.transport.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), [(0, 16)]);
    rig.set(0x04, Size::H, MEMORY);
    driver.send(0, &[Buffer::Write(BUFFER, 16)]);
    assert_eq!(rig.transport.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), []);
}

#[test]
fn a_bad_ring_is_told_by_the_vector_of_the_configuration() {
    let rig = rig();
    rig.place(MEMORY | MASTER);
    let mut driver = rig.driver();
    rig.enable_messages();
    driver.send(0, &[Buffer::Write(0, 16)]);
    let _ = rig.transport.core().turn(0);
    assert_eq!(rig.sent(), [100]);
    let needs_reset = Status::NEEDS_RESET.bits();
    assert_eq!(driver.registers.status() & needs_reset, needs_reset);
    driver.registers.set_status(0);
    assert_eq!(driver.registers.status(), 0);
}

#[test]
fn vectors_that_are_not_there_are_refused() {
    let rig = rig();
    rig.place(MEMORY | MASTER);
    let registers = rig.registers();
    assert_eq!(registers.vectors(0), (0xffff, 0xffff));
    registers.set_vectors(1, &[2]);
    assert_eq!(registers.vectors(0), (1, 0xffff));
    // No such queue.
    assert_eq!(registers.vectors(1), (1, 0xffff));
    assert_eq!((registers.max_size(1), registers.max_size(0)), (0, 64));
    registers.set_status(0);
    assert_eq!(registers.vectors(0), (0xffff, 0xffff));
}

#[test]
fn kicks_are_bound_where_the_bar_is_and_nowhere_while_it_is_disabled() {
    let rig = rig();
    let count = || rig.bells.bound.load(Ordering::SeqCst);
    assert_eq!(count(), 0);
    rig.place(MEMORY | MASTER);
    assert_eq!(count(), 1);
    let last = || *rig.bells.last.lock().unwrap();
    assert_eq!(last(), Some((Gpa(BAR + 0x3000), Size::H, None)));
    rig.set(0x10, Size::W, BAR + 0x4000);
    assert_eq!(last(), Some((Gpa(BAR + 0x7000), Size::H, None)));
    assert_eq!(count(), 1);
    // Over the table's BAR, which comes after it: kicks are exits, as they are while it is off.
    rig.set(0x14, Size::W, BAR + 0x4000);
    assert_eq!(count(), 1);
    rig.set(0x04, Size::H, MASTER);
    assert_eq!(count(), 0);
    rig.set(0x04, Size::H, MEMORY);
    assert_eq!(count(), 1);
    rig.host.reset();
    assert_eq!(count(), 0);
}

#[test]
fn a_saved_function_goes_on_and_one_with_impossible_vectors_does_not() {
    let rig_a = rig();
    rig_a.place(MEMORY | MASTER);
    let mut driver = rig_a.driver();
    rig_a.enable_messages();
    driver.send(0, &[Buffer::Write(BUFFER, 16)]);
    rig_a.transport.core().hold();
    let (bridge, saved) = (rig_a.host.save(), rig_a.transport.save());

    let rig_b = rig();
    let mut bytes = vec![0; 16 << 12];
    rig_a.layout.read(Gpa(RAM_BASE), &mut bytes).unwrap();
    rig_b.layout.write(Gpa(RAM_BASE), &bytes).unwrap();
    rig_b.transport.core().hold();
    rig_b.host.restore(&bridge).unwrap();
    rig_b.transport.restore(&saved).unwrap();
    assert_eq!(rig_b.transport.save(), saved);
    assert_eq!(rig_b.host.save(), bridge);
    rig_b.transport.core().release();
    assert_eq!(rig_b.transport.core().turn(0), Next::Sleep);
    assert_eq!(rig_b.sent(), [101]);

    for damage in [
        |s: &mut VirtioPciState| s.queue_vectors[0] = 2,
        |s: &mut VirtioPciState| s.config_vector = 0x8000,
        |s: &mut VirtioPciState| s.queue_vectors.truncate(0),
        |s: &mut VirtioPciState| s.interrupts = 4,
    ] {
        let mut bad = saved.clone();
        damage(&mut bad);
        let refused = rig_b.transport.restore(&bad);
        assert_eq!(refused, Err(BadVirtioState::Vectors));
        assert_eq!(rig_b.transport.core().status(), 0);
    }
}

#[test]
fn registers_are_accessed_in_their_own_size() {
    let rig = rig();
    rig.place(MEMORY | MASTER);
    let at = |offset| Gpa(BAR + offset);
    rig.bus.write(at(0), Size::W, 1).unwrap();
    assert_eq!(rig.bus.read(at(0), Size::W), Some(1));
    let word = u64::from((feature::ALL >> 32) as u32);
    assert_eq!(rig.bus.read(at(4), Size::W), Some(word));
    for (offset, size) in [(4, Size::H), (5, Size::W), (0x12, Size::W), (0x14, Size::H)] {
        assert_eq!(rig.bus.read(at(offset), size), Some(0), "{offset:#x}");
    }
    // Addresses may be written whole or in halves, low or high first.
    rig.bus.write(at(0x20), Size::D, 0x1_2345_6780).unwrap();
    rig.bus.write(at(0x2c), Size::W, 7).unwrap();
    rig.bus.write(at(0x28), Size::W, 0x1000).unwrap();
    assert_eq!(rig.bus.read(at(0x24), Size::W), Some(1));
    assert_eq!(rig.bus.read(at(0x28), Size::D), Some(0x7_0000_1000));
    // Between the parts, and over their edges.
    for (offset, size) in [(0x36, Size::W), (0xffe, Size::W), (0x1001, Size::B)] {
        rig.bus.write(at(offset), size, u64::MAX).unwrap();
        assert_eq!(rig.bus.read(at(offset), size), Some(0), "{offset:#x}");
    }
}
