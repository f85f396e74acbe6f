//! The registers, as a driver probes them.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::entropy::Entropy;
use super::super::host::Interrupt;
use super::super::testing::{Manual, MmioRegisters, NoThreads, Recorder, Registers, ram};
use super::*;

fn slot() -> (MmioTransport, Arc<Recorder>) {
    let manual = Arc::new(Manual::default());
    let entropy = Entropy::new(Box::new(manual.clone()), manual, None);
    let (ram, _) = ram(8);
    let (wire, line) = Recorder::wire();
    let slot = MmioTransport::new(Arc::new(entropy), ram, line, &NoThreads).unwrap();
    (slot, wire)
}

#[test]
fn a_driver_recognizes_the_device() {
    let (slot, _) = slot();
    let read = |offset| slot.read(offset, Size::W);
    assert_eq!(read(reg::MAGIC), u64::from(u32::from_le_bytes(*b"virt")));
    assert_eq!((read(reg::VERSION), read(reg::DEVICE)), (2, 4));
    let registers = MmioRegisters(&slot);
    assert_eq!(registers.offered(), 0x1_3000_0000);
    assert_eq!((registers.max_size(0), registers.max_size(1)), (64, 0));
    slot.write(reg::DEVICE_FEATURES_SEL, Size::W, 2);
    assert_eq!(read(reg::DEVICE_FEATURES), 0);
    slot.write(reg::QUEUE_SEL, Size::W, 0x1_0000);
    assert_eq!(read(reg::QUEUE_NUM_MAX), 0, "no number is cut short");
    assert_eq!(read(reg::SHM_LEN_LOW), 0xffff_ffff);
}

#[test]
fn the_wire_is_high_until_every_cause_is_acknowledged() {
    let (slot, wire) = slot();
    slot.interrupt.used(0);
    slot.interrupt.used(0);
    slot.interrupt.config_changed();
    assert!(wire.level());
    assert_eq!(wire.take_rises(), 1);
    slot.write(reg::INTERRUPT_ACK, Size::W, 1);
    assert_eq!(slot.read(reg::INTERRUPT_STATUS, Size::W), 2);
    assert_eq!(wire.take_rises(), 1, "what is left is an edge");
    slot.write(reg::INTERRUPT_ACK, Size::W, 2);
    assert!(!wire.level());
    slot.interrupt.used(0);
    slot.write(reg::STATUS, Size::W, 0);
    assert!(!wire.level(), "a reset takes it back");
}

#[test]
fn a_queue_that_is_ready_is_fixed_until_it_is_taken_back() {
    let (slot, _) = slot();
    let registers = MmioRegisters(&slot);
    let config = QueueConfig {
        size: 16,
        ready: true,
        descriptors: 0x1_2345_6780,
        available: 2,
        used: 4,
    };
    registers.set_queue(0, &config);
    assert_eq!(slot.read(reg::QUEUE_READY, Size::W), 1);
    slot.write(reg::QUEUE_NUM, Size::W, 8);
    assert_eq!(slot.core().queue_config(0), Some(config));
    slot.write(reg::QUEUE_READY, Size::W, 0);
    assert_eq!(slot.read(reg::QUEUE_READY, Size::W), 0);
    slot.write(reg::QUEUE_NUM, Size::W, 0x1_0008);
    assert_eq!(slot.core().queue_config(0).map(|q| q.size), Some(0));
}

proptest! {
    #[test]
    fn accesses_of_odd_sizes_or_places_do_nothing(
        offset in 0_u64..0x100, size in 0_usize..4, value: u64,
    ) {
        let size = Size::ALL[size];
        prop_assume!(size != Size::W || offset % 4 != 0);
        let (slot, _) = slot();
        let before = slot.save();
        slot.write(offset, size, value & size.mask());
        prop_assert_eq!(slot.read(offset, size), 0);
        prop_assert_eq!(slot.save(), before);
    }
}
