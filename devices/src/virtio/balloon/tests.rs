//! A balloon as its driver sees it.
#![expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]

use std::mem::take;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, TryRecvError, channel};

use aarch64::Size;
use memory::Layout;
use proptest::prelude::*;

use super::super::mmio::MmioTransport;
use super::super::testing::{Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE};
use super::super::testing::{Recorder, Registers, ram};
use super::super::{Next, VirtioState};
use super::spec::{hint, stat};
use super::*;

/// Pages of RAM in these tests.
const PAGES: u64 = 256;
/// Where buffers lie, behind the rings.
const BUFFER: u64 = RAM_BASE + 0x2_0000;
const FIRST_PFN: u32 = (RAM_BASE / PAGE) as u32;
const USUAL: u64 =
    feature::MUST_TELL_HOST | feature::STATS_VQ | feature::FREE_PAGE_HINT | feature::REPORTING;
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
    clock: Arc<Manual>,
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
        let clock = Arc::new(Manual::default());
        let means = (Box::new(back.clone()) as _, clock.clone() as _);
        let balloon = Balloon::new(means, span, granule, config);
        let balloon = Arc::new(balloon);
        let (ram, layout) = ram(PAGES);
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(balloon.clone(), ram, line, &NoThreads).unwrap();
        slot.core().release();
        Self {
            slot,
            balloon,
            back,
            clock,
            layout,
        }
    }

    /// Asks for hints, and has what is told of it.
    fn ask(&self) -> (Round, Receiver<HintsEnd>) {
        let (told, end) = channel();
        (self.balloon.ask_for_hints(told).unwrap(), end)
    }

    /// What the driver reads as the round it is asked for.
    fn shown(&self) -> u32 {
        MmioRegisters(&self.slot).config(config::HINT_ID, Size::W) as u32
    }

    /// The driver sends a number or names pages in its queue of hints.
    fn hint(&self, driver: &mut Driver<MmioRegisters<'_>>, hint: Hint) {
        match hint {
            Hint::Number(number) => driver.send(3, &[self.numbers(&[number])]),
            Hint::Pages(Range { start, end }) => {
                let at = RAM_BASE + start * PAGE;
                driver.send(3, &[Buffer::Write(at, ((end - start) * PAGE) as u32)])
            }
        };
        assert_eq!(self.turn(), Next::Sleep);
        assert_eq!(driver.used(3).len(), 1, "every hint is answered");
        assert_eq!(self.back.take(), [], "the device gives nothing back");
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

/// What goes through the queue of hints.
enum Hint {
    Number(u32),
    Pages(Range<u64>),
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
fn a_part_that_may_be_in_use_without_a_word_does_not_count() {
    let fixture = Fixture::new(4 * PAGE);
    let mut driver = fixture.drive(USUAL & !feature::MUST_TELL_HOST, &SIZES);
    for (list, gone) in [
        (vec![100, 101, 102], vec![]),
        (vec![103], vec![]),
        (vec![100, 101, 102, 103], vec![100..104]),
    ] {
        let buffer = fixture.numbers(&pages(&list));
        driver.send(0, &[buffer]);
        assert_eq!(fixture.turn(), Next::Sleep);
        assert_eq!(fixture.back.take(), gone);
    }
}

#[test]
fn hints_are_collected_in_their_round_and_given_to_the_machine() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    fixture.hint(&mut driver, Hint::Pages(10..11));
    driver.registers.take_interrupts();
    let (round, end) = fixture.ask();
    assert_eq!(driver.registers.take_interrupts(), (false, true));
    let id = fixture.shown();
    assert!(id >= hint::FIRST);
    fixture.hint(&mut driver, Hint::Pages(20..21));
    for (number, pages) in [(id + 1, 30..31), (id, 40..44), (id, 44..46), (7, 50..51)] {
        fixture.hint(&mut driver, Hint::Number(number));
        fixture.hint(&mut driver, Hint::Pages(pages));
    }
    fixture.hint(&mut driver, Hint::Number(id));
    fixture.hint(&mut driver, Hint::Pages(100..101));
    assert_eq!(fixture.balloon.hints(round), None, "there may be more");
    assert_eq!(end.try_recv(), Err(TryRecvError::Empty));
    fixture.hint(&mut driver, Hint::Number(hint::STOP));
    assert_eq!(end.recv(), Ok(HintsEnd::Complete));
    fixture.hint(&mut driver, Hint::Number(id));
    fixture.hint(&mut driver, Hint::Pages(60..61));
    assert_eq!(fixture.balloon.hints(round), Some(vec![40..46, 100..101]));
    assert_eq!(fixture.shown(), id, "the guest is to wait");
    driver.registers.take_interrupts();
    fixture.balloon.end_hints(round);
    assert_eq!(fixture.shown(), hint::DONE);
    assert_eq!(driver.registers.take_interrupts(), (false, true));
    assert_eq!(
        fixture.balloon.hints(round),
        None,
        "the guest has them again"
    );
    fixture.balloon.end_hints(round);
    assert_eq!(driver.registers.take_interrupts(), (false, false));
}

#[test]
fn parts_of_pages_are_not_named() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let (round, _end) = fixture.ask();
    fixture.hint(&mut driver, Hint::Number(fixture.shown()));
    let at = |page: u64| RAM_BASE + page * PAGE;
    let parts = [
        Buffer::Write(at(100) + 1, 3 * PAGE as u32),
        Buffer::Write(at(110) + 8, PAGE as u32),
        Buffer::Write(at(PAGES) - PAGE, PAGE as u32),
    ];
    driver.send(3, &parts);
    assert_eq!(fixture.turn(), Next::Sleep);
    driver.used(3);
    fixture.hint(&mut driver, Hint::Number(hint::STOP));
    let named = fixture.balloon.hints(round);
    assert_eq!(named, Some(vec![101..103, PAGES - 1..PAGES]));
}

#[test]
fn who_asks_for_hints_in_vain_hears_why() {
    let fixture = Fixture::new(PAGE);
    let why = |fixture: &Fixture| fixture.balloon.ask_for_hints(channel().0).unwrap_err();
    assert_eq!(why(&fixture), NoHints::NoDriver);
    assert!(!fixture.balloon.has_driver());
    let driver = fixture.drive(USUAL & !feature::FREE_PAGE_HINT, &[8; 4]);
    assert!(fixture.balloon.has_driver());
    assert_eq!(why(&fixture), NoHints::NotKnown);
    driver.registers.set_status(0);
    assert_eq!(why(&fixture), NoHints::NoDriver);
    fixture.drive(USUAL, &SIZES);
    let (round, end) = fixture.ask();
    assert_eq!(why(&fixture), NoHints::UnderWay);
    fixture.balloon.end_hints(round);
    assert_eq!(end.recv(), Err(RecvError), "it was the host's doing");
    assert_eq!(fixture.balloon.can_hint(), Ok(()));
}

#[test]
fn a_reset_takes_the_hints_back() {
    let fixture = Fixture::new(PAGE);
    let mut driver = fixture.drive(USUAL, &SIZES);
    let (round, end) = fixture.ask();
    fixture.hint(&mut driver, Hint::Number(fixture.shown()));
    fixture.hint(&mut driver, Hint::Pages(100..101));
    fixture.hint(&mut driver, Hint::Number(hint::STOP));
    assert!(fixture.balloon.hints(round).is_some());
    let mut driver = fixture.drive(USUAL, &SIZES);
    assert_eq!(
        end.iter().collect::<Vec<_>>(),
        [HintsEnd::Complete, HintsEnd::Reset]
    );
    assert_eq!(fixture.balloon.hints(round), None);
    assert_eq!(fixture.shown(), hint::STOP);
    let (next, _end) = fixture.ask();
    fixture.balloon.end_hints(round);
    fixture.hint(&mut driver, Hint::Number(fixture.shown()));
    fixture.hint(&mut driver, Hint::Number(hint::STOP));
    assert_eq!(
        fixture.balloon.hints(next),
        Some(vec![]),
        "another's end does nothing"
    );
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
    fixture.clock.pass(Duration::from_secs(7));
    let (stats, age) = fixture.balloon.stats().unwrap();
    assert_eq!(age, Duration::from_secs(7));
    assert_eq!(
        (stats.free, stats.total, stats.caches),
        (Some(5), Some(2), None)
    );
    assert_eq!(fixture.turn(), Next::Sleep);
    assert_eq!(driver.used(2).len(), 1, "it is asked anew");
    fixture.write(BUFFER, &entries(6));
    driver.send(2, &buffer);
    assert_eq!(fixture.turn(), Next::Sleep);
    let (stats, age) = fixture.balloon.stats().unwrap();
    assert_eq!((stats.free, age), (Some(6), Duration::ZERO));
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
fn a_restored_driver_looks_at_its_target_and_its_round_is_over() {
    let fixture = Fixture::new(PAGE);
    let _driver = fixture.drive(USUAL, &SIZES);
    let (_round, end) = fixture.ask();
    let id = fixture.shown();
    fixture.slot.core().hold();
    // As when it is set between two parts of the machine's state.
    fixture.balloon.set_target(10 * PAGE).unwrap();
    let saved = fixture.slot.core().save();
    let fresh = Fixture::new(PAGE);
    fresh
        .layout
        .write(Gpa(RAM_BASE), &copy_of(&fixture))
        .unwrap();
    fresh.slot.core().hold();
    fresh.slot.core().restore(&saved).unwrap();
    let registers = MmioRegisters(&fresh.slot);
    registers.take_interrupts();
    assert_eq!(fresh.slot.core().save(), saved, "nothing moves yet");
    fresh.slot.core().release();
    assert_eq!(fresh.turn(), Next::Sleep);
    assert_eq!(registers.take_interrupts(), (false, true));
    assert_eq!(registers.config(config::TARGET, Size::W), 10);
    assert_eq!(fresh.shown(), hint::DONE);
    fresh.turn();
    assert_eq!(
        registers.take_interrupts(),
        (false, false),
        "once is enough"
    );
    fresh.ask();
    assert_eq!(fresh.shown(), id + 1, "not the number that the guest knows");
    assert_eq!(
        end.try_recv(),
        Err(TryRecvError::Empty),
        "the saved one goes on"
    );
}

/// The RAM of a fixture.
fn copy_of(fixture: &Fixture) -> Vec<u8> {
    let mut bytes = vec![0; (PAGES * PAGE) as usize];
    fixture.layout.read(Gpa(RAM_BASE), &mut bytes).unwrap();
    bytes
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
        let (round, _end) = fixture.ask();
        for (queue, bytes, write) in requests {
            // Half of the numbers are of RAM, and hints of the round.
            let mut bytes = bytes;
            if let Some(word) = bytes.first_chunk_mut::<4>().filter(|_| queue == 3) {
                *word = if word[0] < 128 { [0; 4] } else { fixture.shown().to_le_bytes() };
            }
            for word in bytes.chunks_exact_mut(4).skip(1).step_by(2) {
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
        let named = fixture.balloon.hints(round).unwrap_or_default();
        prop_assert!(named.iter().all(|run| run.start < run.end && run.end <= PAGES));
        for (at, bytes) in fixture.back.0.lock().unwrap().iter() {
            prop_assert!(*at >= RAM_BASE && at + bytes <= RAM_BASE + PAGES * PAGE);
        }
    }
}
