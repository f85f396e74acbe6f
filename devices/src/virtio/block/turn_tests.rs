//! What bounds a worker's turn, on a disk that takes its time.

use std::io;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use memory::Pieces;

use super::super::testing::{Buffer, Manual};
use super::super::{Next, RateLimit};
use super::spec::request;
use super::testing::MemoryDisk;
use super::tests::{DATA, Fixture, Meanwhile, USUAL, holder};
use super::*;

/// A disk whose operations take a time of a clock set by hand. What it is asked for is noted.
#[derive(Clone)]
struct SlowDisk(Arc<Slow>);

struct Slow {
    disk: MemoryDisk,
    size: u64,
    manual: Arc<Manual>,
    each: Duration,
    asked: Mutex<Vec<(u64, u64)>>,
    /// Runs once, in the middle of an operation.
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl SlowDisk {
    fn new(size: u64, manual: &Arc<Manual>, each: Duration) -> Self {
        Self(Arc::new(Slow {
            disk: MemoryDisk::new(Vec::new(), false),
            size,
            manual: manual.clone(),
            each,
            asked: Mutex::default(),
            meanwhile: Mutex::default(),
        }))
    }

    fn note(&self, at: u64, len: u64) -> io::Result<()> {
        self.0.manual.pass(self.0.each);
        self.0.asked.lock().unwrap().push((at, len));
        if let Some(meanwhile) = self.0.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        Ok(())
    }

    fn take_asked(&self) -> Vec<(u64, u64)> {
        std::mem::take(&mut self.0.asked.lock().unwrap())
    }
}

impl Disk for SlowDisk {
    fn name(&self) -> &str {
        "slow"
    }
    fn shape(&self) -> Shape {
        self.0.disk.shape()
    }
    fn size(&self) -> u64 {
        self.0.size
    }
    fn read(&self, at: u64, _: &Pieces, range: Range<u64>) -> io::Result<()> {
        self.note(at, range.end - range.start)
    }
    fn write(&self, at: u64, _: &Pieces, range: Range<u64>) -> io::Result<()> {
        self.note(at, range.end - range.start)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.note(at, len)
    }
    fn write_zeroes(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
        self.note(at, len)
    }
    fn resize(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn slow(each: Duration, limits: DiskLimits) -> (SlowDisk, Fixture) {
    let manual = Arc::new(Manual::default());
    let disk = SlowDisk::new(GIB, &manual, each);
    let config = BlockConfig {
        limits,
        ..BlockConfig::default()
    };
    let fixture = Fixture::of(Box::new(disk.clone()), manual, config);
    (disk, fixture)
}

#[test]
fn a_turn_ends_when_it_takes_long() {
    let (disk, fixture) = slow(Duration::from_millis(4), DiskLimits::default());
    let mut guest = fixture.drive(USUAL);
    for sector in 0..7 {
        guest.send(request::IN, sector, &[Buffer::Write(DATA, 512)]);
    }
    for (served, next) in [(3, Next::Again), (3, Next::Again), (1, Next::Sleep)] {
        assert_eq!(fixture.slot.core().turn(0), next);
        assert_eq!(disk.take_asked().len(), served);
    }
    assert_eq!(guest.driver.used(0).len(), 7);
}

#[test]
fn large_segments_are_done_in_parts() {
    let (disk, fixture) = slow(Duration::ZERO, DiskLimits::default());
    let mut guest = fixture.drive(USUAL);
    // From one mebibyte on, nine of them.
    let segment = guest.segment(2048, 9 * 2048, 1);
    guest.send(request::WRITE_ZEROES, 0, &[segment]);
    assert_eq!(fixture.slot.core().turn(0), Next::Again, "it was enough");
    let parts = [(MIB, 3 * MIB), (4 * MIB, 4 * MIB), (8 * MIB, 2 * MIB)];
    assert_eq!(disk.take_asked(), parts);
    let segment = guest.segment(2048, 80 * 2048, 0);
    guest.send(request::DISCARD, 0, &[segment]);
    assert_eq!(fixture.slot.core().turn(0), Next::Sleep);
    assert_eq!(disk.take_asked(), [(MIB, 63 * MIB), (64 * MIB, 17 * MIB)]);
    assert_eq!(guest.driver.used(0).len(), 2);
}

#[test]
fn zeroes_count_as_bytes_and_discards_do_not() {
    let bytes = Some(RateLimit {
        per_second: MIB,
        burst: MIB,
    });
    let operations = None;
    let (disk, fixture) = slow(Duration::ZERO, DiskLimits { operations, bytes });
    let mut guest = fixture.drive(USUAL);
    let segment = guest.segment(0, 16 * 2048, 0);
    guest.send(request::DISCARD, 0, &[segment]);
    assert_eq!(fixture.slot.core().turn(0), Next::Sleep);
    let segment = guest.segment(0, 3 * 2048, 0);
    guest.send(request::WRITE_ZEROES, 0, &[segment]);
    // A second's worth was there; two more are owed.
    let wait = Next::After(Duration::from_secs(2));
    assert_eq!(fixture.slot.core().turn(0), wait);
    assert_eq!(disk.take_asked().len(), 2);
    assert_eq!(guest.driver.used(0).len(), 2);
}

#[test]
fn a_request_is_given_up_for_who_waits_and_done_again() {
    let bytes = Some(RateLimit {
        per_second: MIB,
        burst: 12 * MIB,
    });
    let operations = None;
    let (disk, fixture) = slow(Duration::ZERO, DiskLimits { operations, bytes });
    let fixture = Arc::new(fixture);
    let mut guest = fixture.drive(USUAL);
    let segment = guest.segment(0, 12 * 2048, 0);
    guest.send(request::WRITE_ZEROES, 0, &[segment]);
    let (hold, held) = holder(&fixture);
    *disk.0.meanwhile.lock().unwrap() = Some(hold);
    assert_eq!(fixture.slot.core().turn(0), Next::Again);
    assert_eq!(disk.take_asked(), [(0, 4 * MIB)], "one part");
    held.recv().unwrap().join().unwrap();
    assert_eq!(fixture.slot.core().turn(0), Next::Sleep, "it is held");
    assert!(guest.driver.used(0).is_empty());
    let position = fixture.slot.core().save().queues[0].position;
    assert_eq!(position.next_available, 0, "it is as if not taken");
    fixture.slot.core().release();
    assert_eq!(fixture.slot.core().turn(0), Next::Again);
    assert_eq!(disk.take_asked().len(), 3);
    assert_eq!(guest.driver.used(0).len(), 1);
    // It was charged once.
    assert_eq!(fixture.slot.core().turn(0), Next::Sleep);
}
