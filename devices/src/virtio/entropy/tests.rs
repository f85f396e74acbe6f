//! The entropy source as its driver sees it.

use std::sync::Arc;
use std::time::Duration;

use aarch64::Gpa;

use super::super::mmio::MmioTransport;
use super::super::testing::{Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE};
use super::super::testing::{Recorder, ram};
use super::super::{Next, RateLimit, spec::feature};
use super::*;

const BUFFER: u64 = RAM_BASE + 0x1_0000;

fn device(limit: Option<RateLimit>) -> (MmioTransport, Arc<memory::Layout>, Arc<Manual>) {
    let manual = Arc::new(Manual::default());
    let entropy = Entropy::new(Box::new(manual.clone()), manual.clone(), limit);
    let (ram, layout) = ram(64);
    let (_, line) = Recorder::wire();
    let slot = MmioTransport::new(Arc::new(entropy), ram, line, &NoThreads).unwrap();
    slot.core().release();
    (slot, layout, manual)
}

fn bytes(layout: &memory::Layout, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    layout.read(Gpa(at), &mut bytes).unwrap();
    bytes
}

#[test]
fn buffers_are_filled_and_nothing_beside_them() {
    let (slot, layout, _) = device(None);
    let registers = MmioRegisters(&slot);
    let mut driver = Driver::start(registers, &layout, feature::ALL, &[8]);
    let parts = [Buffer::Write(BUFFER, 5), Buffer::Write(BUFFER + 0x100, 300)];
    let head = driver.send(0, &parts);
    assert_eq!(slot.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), [(head.into(), 305)]);
    assert_eq!(bytes(&layout, BUFFER, 6), [1, 2, 3, 4, 5, 0]);
    let second = bytes(&layout, BUFFER + 0x100, 301);
    assert!(second[..300].iter().all(|byte| *byte != 0));
    assert_eq!(second[300], 0);
}

#[test]
fn odd_buffers_get_what_fits() {
    let (slot, layout, _) = device(None);
    let registers = MmioRegisters(&slot);
    let mut driver = Driver::start(registers, &layout, 0, &[64]);
    driver.send(0, &[Buffer::Read(BUFFER, 16)]);
    driver.send(0, &[Buffer::Read(BUFFER, 16), Buffer::Write(BUFFER, 4)]);
    driver.send(0, &[Buffer::Write(BUFFER, 100 << 10)]);
    driver.send(0, &[Buffer::Write(BUFFER, 0)]);
    assert_eq!(slot.core().turn(0), Next::Sleep);
    let written: Vec<u32> = driver.used(0).iter().map(|used| used.1).collect();
    assert_eq!(written, [0, 4, 16 << 10, 0]);
}

#[test]
fn a_limit_makes_the_guest_wait_and_loses_nothing() {
    let limit = RateLimit {
        per_second: 1000,
        burst: 100,
    };
    let (slot, layout, manual) = device(Some(limit));
    let registers = MmioRegisters(&slot);
    let mut driver = Driver::start(registers, &layout, feature::EVENT_IDX, &[8]);
    for _ in 0..2 {
        driver.send(0, &[Buffer::Write(BUFFER, 200)]);
    }
    let wait = Duration::from_millis(100);
    assert_eq!(slot.core().turn(0), Next::After(wait));
    assert_eq!(driver.used(0).len(), 1);
    assert_eq!(slot.core().turn(0), Next::After(wait));
    assert_eq!(driver.used(0).len(), 0);
    manual.pass(wait);
    assert_eq!(slot.core().turn(0), Next::After(2 * wait));
    assert_eq!(driver.used(0).len(), 1);
}

#[test]
fn a_host_without_numbers_is_asked_again() {
    let (slot, layout, manual) = device(None);
    let registers = MmioRegisters(&slot);
    let mut driver = Driver::start(registers, &layout, feature::EVENT_IDX, &[8]);
    manual.set_failing(true);
    driver.send(0, &[Buffer::Write(BUFFER, 7)]);
    assert_eq!(slot.core().turn(0), Next::After(Duration::from_secs(1)));
    assert_eq!(driver.used(0), []);
    manual.set_failing(false);
    assert_eq!(slot.core().turn(0), Next::Sleep);
    assert_eq!(driver.used(0), [(0, 7)]);
}
