//! The console as its driver sees it.

use std::sync::Arc;

use aarch64::{Gpa, Size};
use memory::Layout;

use super::super::mmio::MmioTransport;
use super::super::testing::{
    Buffer, Driver, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers, ram,
};
use super::super::{BadVirtioState, Next};
use super::control::Message;
use super::spec::event;
use super::testing::MemoryEnd;
use super::*;

/// Behind the rings of six queues.
pub(super) const DATA: u64 = RAM_BASE + 0x2_0000;
const SIZES: [u16; 6] = [16; 6];
const ALL_QUEUES: [u16; 6] = [0, 1, 2, 3, 4, 5];

/// A console with a terminal and a port named `agent`.
pub(super) struct Rig {
    pub console: Arc<Console>,
    pub slot: MmioTransport,
    pub layout: Arc<Layout>,
    pub terminal: MemoryEnd,
    pub agent: MemoryEnd,
}

impl Rig {
    pub(super) fn new() -> Self {
        let (terminal, agent) = (MemoryEnd::open(1 << 20), MemoryEnd::default());
        let named: Box<dyn PortEnd> = Box::new(agent.clone());
        let console = Console::new(
            Some(Box::new(terminal.clone())),
            vec![("agent".to_owned(), named)],
        );
        Self::with(Arc::new(console), terminal, agent)
    }

    fn with(console: Arc<Console>, terminal: MemoryEnd, agent: MemoryEnd) -> Self {
        let (ram, layout) = ram(64);
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(console.clone(), ram, line, &NoThreads).unwrap();
        slot.core().release();
        Self {
            console,
            slot,
            layout,
            terminal,
            agent,
        }
    }

    pub(super) fn driver(&self, features: u64) -> Driver<MmioRegisters<'_>> {
        let queues = usize::from(self.slot.core().queue_count());
        let registers = MmioRegisters(&self.slot);
        Driver::start(registers, &self.layout, features, &SIZES[..queues])
    }

    /// More turns than anything here takes.
    pub(super) fn settle(&self) {
        for _ in 0..64 {
            let _ = self.slot.core().turn(0);
        }
    }

    pub(super) fn bytes(&self, at: u64, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.layout.read(Gpa(at), &mut bytes).unwrap();
        bytes
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) {
        self.layout.write(Gpa(at), bytes).unwrap();
    }

    /// Says something as a driver.
    fn say(&self, driver: &mut Driver<MmioRegisters<'_>>, port: u32, event: u16, value: u16) {
        let message = Message { port, event, value };
        self.layout.write(Gpa(DATA), &message.bytes()).unwrap();
        driver.send(3, &[Buffer::Read(DATA, 8)]);
        self.settle();
        assert_eq!(driver.used(3).len(), 1);
    }

    /// What the device says in as many buffers: port, event, value, what is behind.
    pub(super) fn hear(
        &self,
        driver: &mut Driver<MmioRegisters<'_>>,
        buffers: u64,
    ) -> Vec<(u32, u16, u16, Vec<u8>)> {
        for n in 0..buffers {
            driver.send(2, &[Buffer::Write(DATA + 0x1000 + 64 * n, 64)]);
        }
        self.settle();
        let used = driver.used(2);
        let messages = (0..).zip(used).map(|(n, (_, written))| {
            let bytes = self.bytes(DATA + 0x1000 + 64 * n, written);
            let Message { port, event, value } =
                Message::from_bytes(bytes[..8].try_into().unwrap());
            (port, event, value, bytes[8..].to_vec())
        });
        messages.collect()
    }

    /// A driver that has both ports open.
    pub(super) fn ready(&self) -> Driver<MmioRegisters<'_>> {
        let mut driver = self.driver(feature::MULTIPORT);
        self.say(&mut driver, 0, event::DEVICE_READY, 1);
        for port in 0..2 {
            self.say(&mut driver, port, event::PORT_READY, 1);
            self.say(&mut driver, port, event::PORT_OPEN, 1);
        }
        driver
    }
}

#[test]
fn ports_are_introduced_as_linux_expects() {
    let rig = Rig::new();
    rig.console.resize(80, 25);
    let mut driver = rig.driver(feature::MULTIPORT | feature::SIZE);
    assert_eq!(rig.hear(&mut driver, 1), [], "the driver speaks first");
    rig.say(&mut driver, 0, event::DEVICE_READY, 1);
    assert_eq!(driver.used(2).len(), 1);
    let add = |port| (port, event::PORT_ADD, 1, vec![]);
    assert_eq!(rig.hear(&mut driver, 1), [add(1)]);
    rig.say(&mut driver, 1, event::PORT_READY, 1);
    let name = (1, event::PORT_NAME, 1, b"agent\0".to_vec());
    assert_eq!(rig.hear(&mut driver, 1), [name]);
    rig.say(&mut driver, 0, event::PORT_READY, 1);
    let told = rig.hear(&mut driver, 3);
    let columns_and_rows = vec![80, 0, 25, 0];
    assert_eq!(
        told,
        [
            (0, event::CONSOLE_PORT, 1, vec![]),
            (0, event::RESIZE, 0, columns_and_rows),
            (0, event::PORT_OPEN, 1, vec![]),
        ]
    );
}

#[test]
fn a_port_carries_bytes_both_ways_once_it_is_open() {
    let rig = Rig::new();
    let mut driver = rig.driver(feature::MULTIPORT);
    rig.say(&mut driver, 1, event::PORT_READY, 1);
    rig.agent.change(|end| {
        (end.open, end.room) = (true, 3);
        end.input.extend(b"question");
    });
    driver.send(4, &[Buffer::Write(DATA + 0x100, 5)]);
    driver.send(4, &[Buffer::Write(DATA + 0x108, 5)]);
    rig.settle();
    assert_eq!(driver.used(4), [], "nobody in the guest has it open");
    rig.say(&mut driver, 1, event::PORT_OPEN, 1);
    assert_eq!(driver.used(4), [(0, 5), (1, 3)]);
    assert_eq!(rig.bytes(DATA + 0x100, 11), b"quest\0\0\0ion");
    rig.layout.write(Gpa(DATA), b"answer").unwrap();
    driver.send(5, &[Buffer::Read(DATA, 2), Buffer::Read(DATA + 2, 4)]);
    rig.settle();
    assert_eq!(driver.used(5), [], "the reader takes three bytes");
    rig.agent.change(|end| end.room = 100);
    rig.settle();
    assert_eq!(driver.used(5), [(0, 0)]);
    assert_eq!(rig.agent.change(|end| end.output.clone()), b"answer");
}

#[test]
fn a_port_that_stands_still_holds_up_no_other() {
    let rig = Rig::new();
    let mut driver = rig.ready();
    rig.agent.change(|end| end.open = true);
    for queue in [1, 5] {
        driver.send(queue, &[Buffer::Read(DATA, 9)]);
    }
    rig.settle();
    assert_eq!((driver.used(1).len(), driver.used(5).len()), (1, 0));
    assert_eq!(rig.slot.core().turn(0), Next::Sleep, "nobody spins");
}

#[test]
fn the_driver_hears_who_comes_and_goes() {
    let rig = Rig::new();
    let mut driver = rig.ready();
    // DEVICE_READY came first: what is left is not about the port being open on the host.
    let told = rig.hear(&mut driver, 3);
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|told| (told.0, told.1) != (1, event::PORT_OPEN))
    );
    for open in [true, false, true] {
        rig.agent.change(|end| end.open = open);
        let told = rig.hear(&mut driver, 1);
        assert_eq!(told, [(1, event::PORT_OPEN, open.into(), vec![])]);
    }
    // What is sent to nobody is lost, and nobody waits.
    rig.agent.change(|end| (end.open, end.room) = (false, 100));
    driver.send(5, &[Buffer::Read(DATA, 9)]);
    rig.settle();
    assert_eq!(driver.used(5).len(), 1);
    assert_eq!(rig.agent.change(|end| end.output.len()), 0);
}

#[test]
fn a_plain_console_needs_no_messages() {
    let terminal = MemoryEnd::open(100);
    let console = Console::new(Some(Box::new(terminal.clone())), Vec::new());
    let rig = Rig::with(Arc::new(console), terminal, MemoryEnd::default());
    let mut driver = rig.driver(feature::SIZE);
    rig.console.resize(132, 43);
    assert!(driver.registers.take_interrupts().1);
    assert_eq!(driver.registers.0.read(0x100, Size::W), 43 << 16 | 132);
    rig.terminal.change(|end| end.input.extend(b"ls\n"));
    driver.send(0, &[Buffer::Write(DATA, 100)]);
    driver.send(1, &[Buffer::Read(DATA, 7)]);
    rig.settle();
    assert_eq!(
        (driver.used(0), driver.used(1)),
        (vec![(0, 3)], vec![(0, 0)])
    );
    assert_eq!(rig.bytes(DATA, 3), b"ls\n");
}

#[test]
fn a_driver_without_ports_has_the_terminal() {
    let rig = Rig::new();
    let mut driver = rig.driver(0);
    for queue in ALL_QUEUES {
        driver.send(queue, &[Buffer::Read(DATA, 4)]);
    }
    rig.settle();
    let used = ALL_QUEUES.map(|queue| driver.used(queue).len());
    assert_eq!(used, [1, 1, 0, 0, 0, 0]);
    assert_eq!(rig.terminal.change(|end| end.output.len()), 4);
}

#[test]
fn a_reset_forgets_what_was_said() {
    let rig = Rig::new();
    drop(rig.ready());
    let mut driver = rig.driver(feature::MULTIPORT);
    assert_eq!(rig.hear(&mut driver, 2), []);
    rig.terminal.change(|end| end.input.extend(b"x"));
    driver.send(0, &[Buffer::Write(DATA, 1)]);
    rig.settle();
    assert_eq!(driver.used(0), []);
}

#[test]
fn a_short_control_buffer_is_the_drivers_fault() {
    let rig = Rig::new();
    let mut driver = rig.driver(feature::MULTIPORT);
    rig.say(&mut driver, 0, event::DEVICE_READY, 1);
    driver.send(2, &[Buffer::Write(DATA, 7)]);
    rig.settle();
    assert_ne!(driver.registers.status() & 64, 0, "it needs a reset");
}

#[test]
fn another_console_goes_on_where_one_stood() {
    let rig = Rig::new();
    let mut driver = rig.ready();
    rig.agent.change(|end| (end.open, end.room) = (true, 2));
    rig.layout.write(Gpa(DATA), b"answer").unwrap();
    driver.send(5, &[Buffer::Read(DATA, 6)]);
    rig.settle();
    rig.slot.core().hold();
    let saved = rig.slot.core().save();
    let other = Rig::new();
    other.agent.change(|end| (end.open, end.room) = (true, 100));
    let mut copy = vec![0; 64 << 12];
    rig.layout.read(Gpa(RAM_BASE), &mut copy).unwrap();
    other.layout.write(Gpa(RAM_BASE), &copy).unwrap();
    other.slot.core().restore(&saved).unwrap();
    other.settle();
    assert_eq!(other.agent.change(|end| end.output.clone()), b"swer");
    let console = Console::new(None, Vec::new());
    let wrong = console.restore(&saved.device);
    assert!(
        matches!(wrong, Err(BadVirtioState::Device { .. })),
        "{wrong:?}"
    );
}
