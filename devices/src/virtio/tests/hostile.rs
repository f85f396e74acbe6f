//! Drivers that break the rules: once each in a known way, and at random.

use super::*;

type Break = fn(&mut Driver<MmioRegisters<'_>>);

/// Chains that do not end well, and buffers that are not there.
const BAD_CHAINS: &[(&str, Break)] = &[
    ("a loop", |d| {
        let to = |next| Descriptor {
            at: BUFFERS,
            len: 1,
            flags: 1,
            next,
        };
        d.rings[0].describe(0, to(1));
        d.rings[0].describe(1, to(0));
        d.rings[0].offer(0);
    }),
    ("a head outside", |d| d.rings[0].offer(8)),
    ("a next outside", |d| {
        let next = Descriptor {
            at: BUFFERS,
            len: 1,
            flags: 1,
            next: 8,
        };
        d.rings[0].describe(0, next);
        d.rings[0].offer(0);
    }),
    ("more than there are", |d| d.rings[0].set_available(9)),
    ("a buffer outside", |d| {
        d.rings[0].add(&[Buffer::Write(0x1000, 4)]);
    }),
    ("a buffer across the end", |d| {
        d.rings[0].add(&[Buffer::Read(RAM_BASE + PAGES * PAGE_SIZE - 1, 2)]);
    }),
    ("a buffer that wraps", |d| {
        d.rings[0].add(&[Buffer::Read(u64::MAX, 2)]);
    }),
];

/// Chains whose parts do not go together.
const BAD_ORDERS: &[(&str, Break)] = &[
    ("readable behind writable", |d| {
        d.rings[0].add(&[Buffer::Write(BUFFERS, 4), Buffer::Read(BUFFERS, 4)]);
    }),
    ("a table in a table", |d| {
        d.rings[0].add_indirect(BUFFERS, &[Buffer::Read(BUFFERS, 16)]);
        let inner = Descriptor {
            at: BUFFERS,
            len: 16,
            flags: 4,
            next: 0,
        };
        d.rings[0].describe_at(BUFFERS, 0, inner);
    }),
    ("an empty table", |d| {
        d.rings[0].add_indirect(BUFFERS, &[]);
    }),
    ("more than 4 GiB", |d| {
        let all: Vec<Buffer> = (0..64).map(|_| Buffer::Read(RAM_BASE, 1 << 30)).collect();
        d.rings[0].add_indirect(BUFFERS, &all);
    }),
    ("a table outside", |d| {
        d.rings[0].add_indirect(BUFFERS, &[Buffer::Read(BUFFERS, 1)]);
        let table = Descriptor {
            at: 0x1000,
            len: 16,
            flags: 4,
            next: 0,
        };
        d.rings[0].describe(0, table);
    }),
];

#[test]
fn drivers_that_break_the_rules_stop_the_device_until_a_reset() {
    for (name, break_it) in BAD_CHAINS.iter().chain(BAD_ORDERS) {
        let bench = bench();
        let mut driver = bench.start(feature::ALL, 8);
        break_it(&mut driver);
        assert_eq!(bench.slot.core().turn(0), Next::Sleep, "{name}");
        assert!(bench.needs_reset(), "{name}");
        assert_eq!(driver.registers.take_interrupts(), (false, true), "{name}");
        assert_eq!(bench.device.served.load(SeqCst), 0, "{name}");
        driver.send(1, &PAIR);
        assert_eq!(bench.slot.core().turn(1), Next::Sleep, "{name}");
        assert_eq!(driver.used(1), [], "{name}");
        let mut driver = bench.start(feature::ALL, 8);
        driver.send(1, &PAIR);
        let _ = bench.slot.core().turn(1);
        assert_eq!(driver.used(1).len(), 1, "{name}");
    }
}

#[test]
fn rings_outside_of_memory_are_told_at_once() {
    let good = QueueConfig {
        size: 8,
        ready: true,
        descriptors: RAM_BASE,
        available: RAM_BASE + PAGE_SIZE,
        used: RAM_BASE + 2 * PAGE_SIZE,
    };
    let end = RAM_BASE + PAGES * PAGE_SIZE;
    for bad in [
        QueueConfig { size: 3, ..good },
        QueueConfig { size: 128, ..good },
        QueueConfig {
            descriptors: end - 64,
            ..good
        },
        QueueConfig {
            available: 0x1000,
            ..good
        },
        QueueConfig {
            used: end - 68,
            ..good
        },
        QueueConfig {
            used: good.used + 2,
            ..good
        },
    ] {
        let bench = bench();
        let registers = MmioRegisters(&bench.slot);
        registers.set_status(3);
        registers.accept(feature::VERSION_1);
        registers.set_status(11);
        registers.set_queue(0, &bad);
        registers.set_status(15);
        assert_eq!(registers.status(), 15 | 64, "{bad:?}");
        assert!(!bench.device.active.load(SeqCst));
        assert_eq!(registers.take_interrupts(), (false, true));
    }
}

/// What a hostile driver does next.
#[derive(Clone, Debug)]
enum Move {
    Describe(u16, u64, u32, u16, u16),
    Offer(u16),
    Available(u16),
    Scribble(u64, u64),
    Register(u64, u32),
    Turn(usize),
    Hold,
}

fn moves() -> impl Strategy<Value = Move> {
    let address = prop_oneof![
        RAM_BASE..RAM_BASE + PAGES * PAGE_SIZE,
        Just(RAM_BASE + PAGES * PAGE_SIZE - 1),
        any::<u64>(),
    ];
    let len = prop_oneof![0_u32..200, Just(u32::MAX), any::<u32>()];
    prop_oneof![
        4 => (0_u16..8, address, len, 0_u16..8, 0_u16..10)
            .prop_map(|(i, at, len, flags, next)| Move::Describe(i, at, len, flags, next)),
        3 => (0_u16..10).prop_map(Move::Offer),
        1 => any::<u16>().prop_map(Move::Available),
        2 => (0..3 * PAGE_SIZE - 8, any::<u64>()).prop_map(|(at, v)| Move::Scribble(at, v)),
        2 => (0_u64..0x48, prop_oneof![0_u32..16, any::<u32>()])
            .prop_map(|(reg, value)| Move::Register(4 * reg, value)),
        4 => (0_usize..2).prop_map(Move::Turn),
        1 => Just(Move::Hold),
    ]
}

proptest! {
    #[test]
    fn no_driver_breaks_a_device(
        moves in prop::collection::vec(moves(), 0..60),
        event_idx: bool,
    ) {
        let bench = bench();
        let features = if event_idx { feature::ALL } else { 0 };
        let mut driver = bench.start(features, 8);
        let before = Arc::strong_count(&bench.layout);
        for step in moves {
            match step {
                Move::Describe(index, at, len, flags, next) => {
                    let descriptor = Descriptor { at, len, flags, next };
                    driver.rings[0].describe(index, descriptor);
                }
                Move::Offer(head) => driver.rings[0].offer(head),
                Move::Available(index) => driver.rings[0].set_available(index),
                Move::Scribble(at, value) => {
                    let at = Gpa(RAM_BASE + at);
                    bench.layout.write(at, &value.to_le_bytes()).unwrap();
                }
                Move::Register(at, value) => bench.slot.write(at, Size::W, value.into()),
                Move::Turn(worker) => drop(bench.slot.core().turn(worker)),
                Move::Hold => {
                    bench.slot.core().hold();
                    let saved = bench.slot.save();
                    prop_assert_eq!(bench.slot.restore(&saved), Ok(()));
                    prop_assert_eq!(bench.slot.save(), saved);
                    bench.slot.core().release();
                }
            }
        }
        drop(driver);
        let mut driver = bench.start(feature::ALL, 8);
        prop_assert_eq!(Arc::strong_count(&bench.layout), before, "memory is held");
        driver.send(0, &PAIR);
        let _ = bench.slot.core().turn(0);
        prop_assert_eq!(driver.used(0).len(), 1);
    }
}
