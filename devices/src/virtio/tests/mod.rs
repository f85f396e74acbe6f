//! Devices as drivers see them that keep the rules or break them, through the MMIO transport.

mod hostile;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use aarch64::{Gpa, PAGE_SIZE, Size};
use memory::Layout;
use proptest::prelude::*;

use super::entropy::EntropyState;
use super::mmio::MmioTransport;
use super::spec::{Status, feature};
use super::testing::{
    Buffer, Descriptor, Driver, MmioRegisters, NoThreads, RAM_BASE, Recorder, Registers, Threads,
    ram,
};
use super::*;
use crate::bus::MmioDevice;

const BUFFERS: u64 = RAM_BASE + 8 * PAGE_SIZE;
const PAGES: u64 = 32;

/// Copies what it reads to what it writes, upside down; two queues, one worker each.
#[derive(Default)]
struct Echo {
    config: Mutex<[u8; 8]>,
    signal: Mutex<Option<ConfigSignal>>,
    served: AtomicUsize,
    active: AtomicBool,
    /// It keeps buffers to itself until it is told otherwise.
    keeps: AtomicBool,
    kept: Mutex<Vec<(QueueHandle, Head)>>,
    accepted: Mutex<u64>,
}

/// A feature of its own.
const ODD: u64 = 1 << 3;

impl VirtioDevice for Echo {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn features(&self) -> u64 {
        ODD
    }

    fn queues(&self) -> &[QueueSpec] {
        const fn spec(worker: usize) -> QueueSpec {
            let max_size = 64;
            QueueSpec { max_size, worker }
        }
        const { &[spec(0), spec(1)] }
    }

    fn connect(&self, config: ConfigSignal) {
        *self.signal.lock().unwrap() = Some(config);
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let config = self.config.lock().unwrap();
        for (byte, at) in into.iter_mut().zip(offset as usize..) {
            *byte = config.get(at).copied().unwrap_or(0);
        }
    }

    fn write_config(&self, offset: u64, from: &[u8]) {
        let mut config = self.config.lock().unwrap();
        for (byte, at) in from.iter().zip(offset as usize..) {
            if let Some(cell) = config.get_mut(at) {
                *cell = *byte;
            }
        }
    }

    fn activate(&self, activation: &Activation<'_>) {
        assert_eq!(activation.queues.len(), 2);
        *self.accepted.lock().unwrap() = activation.features;
        assert!(!self.active.swap(true, SeqCst), "it was active");
    }

    fn serve(&self, queue: &QueueHandle) -> Served {
        assert!(self.active.load(SeqCst), "nobody activated it");
        for _ in 0..4 {
            let Some(Chain {
                head,
                readable,
                writable,
            }) = queue.pop()
            else {
                return Served::Idle;
            };
            self.served.fetch_add(1, SeqCst);
            if self.keeps.load(SeqCst) {
                self.kept.lock().unwrap().push((queue.clone(), head));
                continue;
            }
            let len = readable.len().min(writable.len()).min(64);
            let mut bytes = vec![0; len as usize];
            readable.copy_to(0, &mut bytes).unwrap();
            bytes.reverse();
            writable.copy_from(0, &bytes).unwrap();
            queue.push(head, len as u32);
        }
        Served::Again
    }

    fn reset(&self) {
        self.active.store(false, SeqCst);
        self.kept.lock().unwrap().clear();
    }

    fn hold(&self) {
        for (queue, head) in self.kept.lock().unwrap().drain(..) {
            queue.push(head, 0);
        }
    }

    fn save(&self) -> DeviceState {
        DeviceState::Entropy(EntropyState {})
    }

    fn restore(&self, _: &DeviceState) -> Result<(), BadVirtioState> {
        Ok(())
    }
}

struct Bench {
    device: Arc<Echo>,
    slot: MmioTransport,
    layout: Arc<Layout>,
    wire: Arc<Recorder>,
}

fn bench_with(workers: &dyn Workers) -> Bench {
    let device = Arc::new(Echo::default());
    let (ram, layout) = ram(PAGES);
    let (wire, line) = Recorder::wire();
    let slot = MmioTransport::new(device.clone(), ram, line, workers).unwrap();
    slot.core().release();
    Bench {
        device,
        slot,
        layout,
        wire,
    }
}

fn bench() -> Bench {
    bench_with(&NoThreads)
}

impl Bench {
    fn start(&self, features: u64, size: u16) -> Driver<MmioRegisters<'_>> {
        let registers = MmioRegisters(&self.slot);
        Driver::start(registers, &self.layout, features, &[size, size])
    }

    fn needs_reset(&self) -> bool {
        MmioRegisters(&self.slot).status() & Status::NEEDS_RESET.bits() != 0
    }
}

const PAIR: [Buffer; 2] = [Buffer::Read(BUFFERS, 4), Buffer::Write(BUFFERS + 64, 4)];

#[test]
fn buffers_go_there_and_back() {
    for features in [0, feature::EVENT_IDX, feature::ALL | ODD] {
        let bench = bench();
        let mut driver = bench.start(features, 8);
        assert_eq!(*bench.device.accepted.lock().unwrap(), features | 1 << 32);
        for round in 0..40_u8 {
            let text = [round, 2, 3, 4];
            bench.layout.write(Gpa(BUFFERS), &text).unwrap();
            let head = driver.send(1, &PAIR);
            assert_eq!(bench.slot.core().turn(0), Next::Sleep);
            assert_eq!(driver.used(1), []);
            assert_eq!(bench.slot.core().turn(1), Next::Sleep);
            assert_eq!(driver.used(1), [(head.into(), 4)]);
            let mut back = [0; 4];
            bench.layout.read(Gpa(BUFFERS + 64), &mut back).unwrap();
            assert_eq!(back, [4, 3, 2, round]);
        }
    }
}

#[test]
fn tables_of_descriptors_work_as_chains_do() {
    let bench = bench();
    let mut driver = bench.start(feature::ALL, 2);
    bench.layout.write(Gpa(BUFFERS), b"abcd").unwrap();
    let parts: Vec<Buffer> = (0..4)
        .map(|n| Buffer::Read(BUFFERS + n, 1))
        .chain((0..4).map(|n| Buffer::Write(BUFFERS + 64 + 2 * n, 1)))
        .collect();
    let head = driver.rings[0].add_indirect(BUFFERS + PAGE_SIZE, &parts);
    assert_eq!(bench.slot.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), [(head.into(), 4)]);
    let mut back = [0; 7];
    bench.layout.read(Gpa(BUFFERS + 64), &mut back).unwrap();
    assert_eq!(&back, b"d\0c\0b\0a");
}

#[test]
fn interrupts_come_when_they_are_wanted() {
    let bench = bench();
    let mut driver = bench.start(0, 8);
    driver.send(0, &PAIR);
    let _ = bench.slot.core().turn(0);
    assert_eq!(driver.registers.take_interrupts(), (true, false));
    driver.rings[0].mute(true);
    driver.send(0, &PAIR);
    let _ = bench.slot.core().turn(0);
    assert_eq!(driver.registers.take_interrupts(), (false, false));
    assert_eq!(driver.used(0).len(), 2);

    let mut driver = bench.start(feature::EVENT_IDX, 8);
    bench.wire.take_rises();
    driver.rings[0].set_used_event(1);
    for wanted in [false, true, false, false] {
        driver.send(0, &PAIR);
        let _ = bench.slot.core().turn(0);
        let (used, _) = driver.registers.take_interrupts();
        assert_eq!(used, wanted);
        assert_eq!(bench.wire.take_rises(), u64::from(wanted));
    }
}

#[test]
fn kicks_are_asked_for_when_the_queue_is_empty() {
    let bench = bench();
    let mut driver = bench.start(0, 64);
    for _ in 0..6 {
        driver.send(0, &PAIR);
    }
    assert_eq!(bench.slot.core().turn(0), Next::Again);
    assert!(!driver.rings[0].wants_kicks(), "it is not done");
    assert_eq!(bench.slot.core().turn(0), Next::Sleep);
    assert!(driver.rings[0].wants_kicks());

    let mut driver = bench.start(feature::EVENT_IDX, 64);
    for _ in 0..3 {
        driver.send(0, &PAIR);
    }
    assert_eq!(bench.slot.core().turn(0), Next::Sleep);
    assert_eq!(driver.rings[0].available_event(), 3);
}

#[test]
fn a_reset_forgets_what_the_device_still_has() {
    let bench = bench();
    bench.device.keeps.store(true, SeqCst);
    let mut driver = bench.start(0, 8);
    driver.send(0, &PAIR);
    let _ = bench.slot.core().turn(0);
    let kept: Vec<_> = std::mem::take(&mut *bench.device.kept.lock().unwrap());
    let mut driver = bench.start(0, 8);
    for (queue, head) in kept {
        queue.push(head, 7);
        queue.notify();
    }
    assert_eq!(driver.used(0), []);
    assert_eq!(driver.registers.take_interrupts(), (false, false));
}

#[test]
fn a_held_device_rests_and_can_be_saved_and_goes_on_elsewhere() {
    let bench = bench();
    bench.device.keeps.store(true, SeqCst);
    let mut driver = bench.start(feature::EVENT_IDX, 8);
    driver.send(0, &PAIR);
    let _ = bench.slot.core().turn(0);
    bench.slot.core().hold();
    assert_eq!(driver.used(0), [(0, 0)], "it gave back what it had");
    driver.send(0, &PAIR);
    assert_eq!(bench.slot.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), []);
    let saved = bench.slot.save();

    let other = Bench {
        layout: bench.layout.clone(),
        ..self::bench()
    };
    let ram = GuestRam::default();
    ram.set(bench.layout.clone());
    let (wire, line) = Recorder::wire();
    let device: Arc<Echo> = Arc::default();
    let slot = MmioTransport::new(device.clone(), Arc::new(ram), line, &NoThreads).unwrap();
    slot.restore(&saved).unwrap();
    assert_eq!(slot.save(), saved);
    assert!(wire.level(), "the interrupt is still there");
    assert_eq!(slot.core().turn(0), Next::Sleep, "it is held");
    slot.core().release();
    assert_eq!(slot.core().turn(0), Next::Sleep);
    let mut driver = Driver {
        registers: MmioRegisters(&slot),
        rings: driver.rings,
    };
    assert_eq!(driver.used(0), [(2, 4)]);

    let mut damaged = saved.clone();
    damaged.virtio.queues[0].config.used = 0;
    assert!(matches!(
        other.slot.restore(&damaged),
        Err(BadVirtioState::Queue { queue: 0, .. })
    ));
    assert_eq!(other.slot.core().status(), 0, "and it is as good as new");
}

#[test]
fn changes_of_the_configuration_are_announced_to_drivers() {
    let bench = bench();
    let signal = bench.device.signal.lock().unwrap().clone().unwrap();
    let registers = MmioRegisters(&bench.slot);
    let before = registers.generation();
    signal.changed();
    assert_eq!(registers.generation(), before + 1);
    assert_eq!(
        registers.take_interrupts(),
        (false, false),
        "nobody listens"
    );
    let driver = bench.start(0, 8);
    driver.registers.set_config(2, Size::H, 0x1234);
    assert_eq!(driver.registers.config(0, Size::D), 0x1234_0000);
    assert_eq!(driver.registers.config(7, Size::W), 0);
    signal.changed();
    assert_eq!(driver.registers.take_interrupts(), (false, true));
}

#[test]
fn workers_serve_pause_and_reset_at_any_moment() {
    let bench = bench_with(&Threads);
    let until = Instant::now() + Duration::from_millis(300);
    let mut rounds = 0;
    while Instant::now() < until {
        // Room for all it sends: the worker may be slow to take anything.
        let mut driver = bench.start(feature::EVENT_IDX, 64);
        for n in 0..20 {
            driver.rings[0].set_used_event(n);
            driver.send(0, &PAIR);
            if n % 7 == 3 {
                bench.slot.core().hold();
                let standing = driver.used(0).len();
                thread::yield_now();
                assert_eq!(driver.used(0), [], "after {standing}");
                bench.slot.core().release();
            } else if n % 5 == 4 {
                while driver.used(0).is_empty() {
                    thread::yield_now();
                }
            }
        }
        rounds += 1;
    }
    assert!(rounds > 1);
}
