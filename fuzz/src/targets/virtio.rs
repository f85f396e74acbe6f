//! Virtio: a guest's accesses to a slot, hostile rings, and saved states.

use std::sync::Arc;
use std::time::Duration;

use aarch64::{Gpa, PAGE_SIZE, Size};
use devices::bus::MmioDevice;
use devices::virtio::entropy::Entropy;
use devices::virtio::mmio::spec::reg;
use devices::virtio::mmio::{MmioState, MmioTransport};
use devices::virtio::testing::{
    Buffer, Descriptor, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE, Recorder, ram,
};
use devices::virtio::{
    Next, Position, QueueConfig, QueueState, RateLimit, VirtioState, spec::feature,
};
use memory::Layout;

use crate::bytes::Bytes;

/// Pages of guest memory: rings in the first four, buffers anywhere.
const PAGES: u64 = 16;
/// Turns of the worker before somebody looks whether it is at an end.
const TURNS: usize = 4;

struct Guest {
    slot: MmioTransport,
    layout: Arc<Layout>,
    manual: Arc<Manual>,
}

/// Whatever a driver does to a device in a slot of virtio-mmio, it goes on, and after a reset it
/// works; what it saves it takes back.
pub fn virtio_mmio(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let guest = new_guest(bytes.flag());
    let registers = MmioRegisters(&guest.slot);
    let size = bytes.pick(&[1, 2, 8, 64]);
    let features = bytes.pick(&[0, feature::EVENT_IDX, feature::ALL]);
    let mut driver = Driver::start(registers, &guest.layout, features, &[size]);
    while !bytes.is_empty() {
        match bytes.below(12) {
            0 | 1 => access(&guest.slot, &mut bytes),
            2..=4 => describe(&driver, size, &mut bytes),
            5 | 6 => driver.rings[0].offer(bytes.u16() % size.saturating_mul(2)),
            7 => driver.rings[0].set_available(bytes.value() as u16),
            8 => scribble(&guest.layout, &mut bytes),
            9 => guest
                .manual
                .pass(Duration::from_micros(bytes.value() >> 32)),
            10 => save_and_restore(&guest.slot, &mut bytes),
            _ => drop(driver.used(0)),
        }
        for _ in 0..bytes.below(TURNS as u64) {
            let _ = guest.slot.core().turn(0);
        }
    }
    works_after_a_reset(&guest);
}

fn new_guest(limited: bool) -> Guest {
    let manual = Arc::new(Manual::default());
    let limit = limited.then_some(RateLimit {
        per_second: 1 << 20,
        burst: 4096,
    });
    let entropy = Entropy::new(Box::new(manual.clone()), manual.clone(), limit);
    let (ram, layout) = ram(PAGES);
    let (_, line) = Recorder::wire();
    let slot = MmioTransport::new(Arc::new(entropy), ram, line, &NoThreads);
    let slot = slot.expect("it takes nothing of the host");
    slot.core().release();
    Guest {
        slot,
        layout,
        manual,
    }
}

/// An access to the slot, mostly to a register.
fn access(slot: &MmioTransport, bytes: &mut Bytes<'_>) {
    let (offset, size) = match bytes.below(4) {
        0 => (bytes.below(0x200 - 8), bytes.size()),
        _ => (bytes.below(reg::CONFIG / 4 + 2) * 4, Size::W),
    };
    if bytes.flag() {
        slot.write(offset, size, bytes.value() & size.mask());
    } else {
        let _ = slot.read(offset, size);
    }
}

pub(super) fn describe<T>(driver: &Driver<T>, size: u16, bytes: &mut Bytes<'_>) {
    let at = match bytes.below(4) {
        0 => bytes.value(),
        1 => RAM_BASE + bytes.below(PAGES + 1) * PAGE_SIZE - bytes.below(32),
        _ => RAM_BASE + bytes.below(PAGES * PAGE_SIZE),
    };
    let descriptor = Descriptor {
        at,
        len: bytes.pick(&[0, 1, 16, 64, 4096, 1 << 20, u32::MAX]),
        flags: bytes.u16() & 7,
        next: bytes.u16() % size.saturating_mul(2),
    };
    driver.rings[0].describe(bytes.u16() % size, descriptor);
}

/// Writes anywhere, rings and tables of descriptors among it.
pub(super) fn scribble(layout: &Layout, bytes: &mut Bytes<'_>) {
    let at = RAM_BASE + bytes.below(PAGES * PAGE_SIZE - 8);
    let value = bytes.value().to_le_bytes();
    layout.write(Gpa(at), &value).expect("it is in memory");
}

fn save_and_restore(slot: &MmioTransport, bytes: &mut Bytes<'_>) {
    slot.core().hold();
    let saved = slot.save();
    assert_eq!(slot.restore(&saved), Ok(()), "what it saved");
    assert_eq!(slot.save(), saved, "is what it has");
    if bytes.flag() {
        let mut damaged = saved;
        damage(&mut damaged, bytes);
        let _ = slot.restore(&damaged);
    }
    slot.core().release();
}

/// Another driver finds a device as good as new.
fn works_after_a_reset(guest: &Guest) {
    guest.manual.pass(Duration::from_secs(1 << 30));
    let registers = MmioRegisters(&guest.slot);
    let mut driver = Driver::start(registers, &guest.layout, feature::ALL, &[8]);
    let head = driver.send(0, &[Buffer::Write(RAM_BASE + 8 * PAGE_SIZE, 16)]);
    let mut next = Next::Again;
    for _ in 0..TURNS {
        next = guest.slot.core().turn(0);
    }
    assert_eq!(next, Next::Sleep, "it has done everything");
    assert_eq!(driver.used(0), [(head.into(), 16)]);
}

/// Changes something in a saved slot.
fn damage(slot: &mut MmioState, bytes: &mut Bytes<'_>) {
    let MmioState {
        device_features_sel,
        driver_features_sel,
        queue_sel,
        interrupts,
        virtio,
    } = slot;
    match bytes.below(8) {
        0 => *device_features_sel = bytes.u32(),
        1 => *driver_features_sel = bytes.u32(),
        2 => *queue_sel = bytes.u32(),
        3 => *interrupts = bytes.u32(),
        _ => damage_virtio(virtio, bytes),
    }
}

pub(super) fn damage_virtio(virtio: &mut VirtioState, bytes: &mut Bytes<'_>) {
    let VirtioState {
        status,
        features,
        generation,
        queues,
        device: _,
    } = virtio;
    match bytes.below(8) {
        0 => *status = bytes.pick(&[0, 1, 11, 15, 79, 143, 16, 4]),
        1 => *features = bytes.pick(&[0, feature::VERSION_1, feature::ALL, u64::MAX]),
        2 => *generation = bytes.u32(),
        3 => drop(queues.pop()),
        _ => queues
            .iter_mut()
            .for_each(|queue| damage_queue(queue, bytes)),
    }
}

fn damage_queue(queue: &mut QueueState, bytes: &mut Bytes<'_>) {
    let QueueState {
        config:
            QueueConfig {
                size,
                ready,
                descriptors,
                available,
                used,
            },
        position: Position {
            next_available,
            next_used,
        },
    } = queue;
    match bytes.below(7) {
        0 => *size = bytes.u16(),
        1 => *ready = bytes.flag(),
        2 => *descriptors = bytes.value(),
        3 => *available = bytes.value(),
        4 => *used = bytes.value(),
        5 => *next_available = bytes.u16(),
        _ => *next_used = bytes.u16(),
    }
}
