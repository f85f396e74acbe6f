//! A balloon as its driver sees it.
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;

use aarch64::Size;
use memory::Layout;
use proptest::prelude::*;

use super::super::mmio::MmioTransport;
use super::super::testing::{Buffer, Driver, MmioRegisters, NoThreads, RAM_BASE};
use super::super::testing::{Recorder, Registers, ram};
use super::super::{Next, VirtioState};
use super::spec::stat;
use super::*;

/// Pages of RAM in these tests.
const PAGES: u64 = 256;
/// Where buffers lie, behind the rings.
const BUFFER: u64 = RAM_BASE + 0x2_0000;
const FIRST_PFN: u32 = (RAM_BASE / PAGE) as u32;
const USUAL: u64 = feature::STATS_VQ | feature::FREE_PAGE_HINT | feature::REPORTING;
const SIZES: [u16; 5] = [8; 5];

/// Remembers what was given back.
#[derive(Clone, Default)]
struct Back(Arc<Mutex<Vec<(u64, u64)>>>);

impl Back {
    /// What was given back since the last call, in pages from the start of RAM on.
    fn take(&self) -> Vec<Range<u64>> {
        let page = |at: u64| (at - RAM_BASE) / PAGE;
        let taken = take(&mut *self.0.lock().unwrap());
        let pages = |(at, bytes)| page(at)..page(at + bytes);
        taken.into_iter().map(pages).collect()
    }
}

impl Reclaim for Back {
    fn reclaim(&self, gpa: Gpa, bytes: u64) -> io::Result<()> {
        self.0.lock().unwrap().push((gpa.0, bytes));
        match gpa.0 >= RAM_BASE && gpa.0 + bytes <= RAM_BASE + PAGES * PAGE {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}

struct Fixture {
    slot: MmioTransport,
    balloon: Arc<Balloon>,
    back: Back,
    layout: Arc<Layout>,
}

impl Fixture {
    fn new(granule: u64) -> Self {
        let back = Back::default();
        let span = Span {
            base: Gpa(RAM_BASE),
            size: PAGES * PAGE,
        };
        let config = BalloonConfig {
            target: 0,
            deflate_on_oom: true,
            reporting: true,
        };
        let balloon = Balloon::new(Box::new(back.clone()), span, granule, config);
        let balloon = Arc::new(balloon);
        let (ram, layout) = ram(PAGES);
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(balloon.clone(), ram, line, &NoThreads).unwrap();
        slot.core().release();
        Self {
            slot,
            balloon,
            back,
            layout,
        }
    }

    fn drive(&self, features: u64, sizes: &[u16]) -> Driver<MmioRegisters<'_>> {
        Driver::start(MmioRegisters(&self.slot), &self.layout, features, sizes)
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        self.layout.write(Gpa(at), bytes).unwrap();
    }

    fn numbers(&self, numbers: &[u32]) -> Buffer {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.write(BUFFER, &bytes);
        Buffer::Read(BUFFER, bytes.len() as u32)
    }

    fn turn(&self) -> Next {
        self.slot.core().turn(0)
    }
}

fn pages(pages: &[u32]) -> Vec<u32> {
    pages.iter().map(|page| FIRST_PFN + page).collect()
}

#[test]
fn inflated_pages_go_back_in_runs() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let buffer = fixture.numbers(&pages(&[200, 103, 101, 102, 201, 101]));
    let head = driver.send(0, &[buffer]);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(0), [(head.into(), 0)]);
    assert_eq!(fixture.back.take(), [101..104, 200..202]);
    let buffer = fixture.numbers(&pages(&[101]));
    driver.send(1, &[buffer]);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(1).len(), 1);
    assert_eq!(fixture.back.take(), []);
}

#[test]
fn larger_pages_of_the_host_go_back_whole() {
    let fixture = Fixture::new(4 * PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    for (queue, list, gone) in [
        (0, [100, 101, 102], None),
        (1, [100, 110, 111], None),
        (0, [103, 120, 121], None),
        (0, [100, 122, 123], Some(vec![100..104, 120..124])),
    ] {
        let buffer = fixture.numbers(&pages(&list));
        driver.send(queue, &[buffer]);
        assert_eq!(fixture.turn(), Next::Sleep);
        assert_eq!(fixture.back.take(), gone.unwrap_or_default());
    }
}

#[test]
fn what_is_no_ram_is_left_alone() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let end = FIRST_PFN + PAGES as u32;
    let buffer = fixture.numbers(&[0, FIRST_PFN - 1, end - 1, end, u32::MAX]);
    driver.send(0, &[buffer]);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(0).len(), 1);
    assert_eq!(fixture.back.take(), [PAGES - 1..PAGES]);
}

#[test]
fn reported_pages_go_back_as_they_are_named() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let at = |page: u64| RAM_BASE + page * PAGE;
    let parts = [
        Buffer::Write(at(100), 8 * PAGE as u32),
        Buffer::Write(at(200), PAGE as u32),
    ];
    let head = driver.send(4, &parts);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(4), [(head.into(), 0)]);
    assert_eq!(fixture.back.take(), [100..108, 200..201]);
}

#[test]
fn queues_follow_the_features_as_linux_counts_them() {
    let fixture = Fixture::new(PAGE);
    let report = [Buffer::Write(RAM_BASE + 100 * PAGE, PAGE as u32)];
    let mut driver = fixture.drive(feature::REPORTING, &[8; 3]);
    driver.send(2, &report);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(fixture.back.take(), [100..101]);
    let listed = roles(feature::REPORTING, |n| [0, 1, 4].contains(&n));
    assert_eq!(listed[4], Some(Role::Reports));
    assert_eq!(listed[2], None);
    let packed = roles(feature::REPORTING | feature::STATS_VQ, |n| n < 4);
    assert_eq!(packed[2..], [Some(Role::Stats), Some(Role::Reports), None]);
}

#[test]
fn hints_go_back_only_in_their_round() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let free = [Buffer::Write(RAM_BASE + 100 * PAGE, PAGE as u32)];
    let mut send = |number: Option<u32>| {
        match number {
            Some(number) => driver.send(3, &[fixture.numbers(&[number])]),
            None => driver.send(3, &free),
        };
        assert_eq!(fixture.turn(), Next::Sleep);
        assert_eq!(driver.used(3).len(), 1);
        fixture.back.take().len()
    };
    assert_eq!(send(None), 0, "nobody asked");
    let id = || MmioRegisters(&fixture.slot).config(config::HINT_ID, Size::W) as u32;
    fixture.balloon.ask_for_hints();
    let first = id();
    assert!(first >= hint::FIRST);
    assert_eq!(send(None), 0, "of another round");
    assert_eq!(send(Some(first)), 0);
    assert_eq!(send(None), 1);
    fixture.balloon.ask_for_hints();
    assert_eq!(send(None), 0, "of the round before");
    assert_eq!(send(Some(first)), 0);
    assert_eq!(send(None), 0, "of the round before");
    assert_eq!(send(Some(id())), 0);
    assert_eq!(send(None), 1);
    assert_eq!(send(Some(hint::STOP)), 0);
    assert_eq!(id(), hint::DONE);
    assert_eq!(send(None), 0, "it is over");
}

#[test]
fn the_target_is_announced_and_bounded() {
    let fixture = Fixture::new(PAGE);
    let driver = fixture.drive(USUAL, &SIZES);
    driver.registers.take_interrupts();
    assert_eq!(fixture.balloon.set_target(10 * PAGE + 1), Ok(()));
    assert_eq!(driver.registers.take_interrupts(), (false, true));
    assert_eq!(driver.registers.config(config::TARGET, Size::W), 10);
    driver.registers.set_config(config::ACTUAL, Size::W, 7);
    driver.registers.set_config(config::TARGET, Size::W, 9);
    assert_eq!(fixture.balloon.actual(), 7 * PAGE);
    assert_eq!(fixture.balloon.target(), 10 * PAGE);
    let most = PAGES * PAGE;
    assert_eq!(fixture.balloon.set_target(most + 1), Err(most));
    assert_eq!(fixture.balloon.target(), 10 * PAGE);
}

#[test]
fn statistics_are_asked_for_by_giving_their_buffer_back() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let entries = |free: u64| -> Vec<u8> {
        let entry = |tag: u16, value: u64| [&tag.to_le_bytes()[..], &value.to_le_bytes()].concat();
        [
            entry(stat::FREE, free),
            entry(999, 1),
            entry(stat::TOTAL, 2),
            vec![1],
        ]
        .concat()
    };
    assert_eq!(fixture.balloon.stats(), None);
    fixture.balloon.lock().stats_wanted = false;
    fixture.write(BUFFER, &entries(5));
    let buffer = [Buffer::Read(BUFFER, entries(5).len() as u32)];
    driver.send(2, &buffer);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(2), [], "it is kept");
    let stats = fixture.balloon.stats().unwrap();
    assert_eq!(
        (stats.free, stats.total, stats.caches),
        (Some(5), Some(2), None)
    );
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(2).len(), 1, "it is asked anew");
    fixture.write(BUFFER, &entries(6));
    driver.send(2, &buffer);
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(fixture.balloon.stats().unwrap().free, Some(6));
}

#[test]
fn a_saved_balloon_goes_on_with_its_statistics() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    fixture.balloon.set_target(10 * PAGE).unwrap();
    driver.registers.set_config(config::ACTUAL, Size::W, 4);
    driver.send(2, &[Buffer::Read(BUFFER, 0)]);
    assert_eq!(fixture.turn(), Next::Sleep);
    fixture.slot.core().hold();
    let saved: VirtioState = fixture.slot.core().save();
    let expected = BalloonState {
        target: 10,
        actual: 4,
        hint_id: hint::STOP,
    };
    assert_eq!(saved.device, DeviceState::Balloon(expected));
    let stats = saved.queues[2].position;
    assert_eq!(stats.next_available, 0, "its buffer is to be taken again");
    let fresh = Fixture::new(PAGE);
    for bad in [
        BalloonState {
            target: 257,
            ..expected
        },
        BalloonState {
            hint_id: 2,
            ..expected
        },
    ] {
        let refused = fresh.balloon.restore(&DeviceState::Balloon(bad));
        assert!(matches!(refused, Err(BadVirtioState::Device { .. })));
    }
    fresh.balloon.restore(&saved.device).unwrap();
    assert_eq!(fresh.balloon.save(), saved.device);
}

#[test]
fn a_request_of_absurd_size_stops_the_device() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    driver.send(0, &[Buffer::Read(BUFFER, 4 * 0x4001)]);
    fixture.turn();
    assert_eq!(driver.used(0), []);
    assert_ne!(driver.registers.status() & 0x40, 0, "it needs a reset");
    let mut driver = fixture.drive(USUAL, &SIZES);
    driver.send(0, &[fixture.numbers(&pages(&[3]))]);
    fixture.turn();
    assert_eq!(driver.used(0).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_a_driver_sends_only_ram_goes_back(
        requests in prop::collection::vec(
            (0_u16..5, prop::collection::vec(any::<u8>(), 0..64), any::<bool>()), 0..20),
        shift in 0_u32..3,
    ) {
        let fixture = Fixture::new(PAGE << shift);
        let mut driver = fixture.drive(USUAL, &SIZES);
        fixture.balloon.ask_for_hints();
        for (queue, bytes, write) in requests {
            // Half of the numbers are of RAM.
            let mut bytes = bytes;
            for word in bytes.chunks_exact_mut(4).step_by(2) {
                word.copy_from_slice(&(FIRST_PFN + u32::from(word[0])).to_le_bytes());
            }
            fixture.write(BUFFER, &bytes);
            let len = bytes.len() as u32;
            let buffer = if write { Buffer::Write(BUFFER, len) } else { Buffer::Read(BUFFER, len) };
            driver.send(queue, &[buffer]);
            fixture.turn();
            driver.used(queue);
            let _ = fixture.balloon.stats();
        }
        for (at, bytes) in fixture.back.0.lock().unwrap().iter() {
            prop_assert!(*at >= RAM_BASE && at + bytes <= RAM_BASE + PAGES * PAGE);
        }
    }
}
