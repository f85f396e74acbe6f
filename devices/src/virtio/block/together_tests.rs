//! Requests of a queue side by side, on real files. Where the host has no io_uring, what needs one is
//! left out, and said to be.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use memory::Pieces;
use proptest::prelude::*;
use transfers::{Ring, Way};

use super::super::testing::{Buffer, Manual, RAM_BASE};
use super::super::{Next, RateLimit};
use super::spec::{SECTOR, request};
use super::tests::{Fixture, Guest, Meanwhile, USUAL, holder, numbered};
use super::*;

/// As many as there are descriptors for.
const MOST: usize = 20;
/// Where the header, the status and the data of a request are.
const HEADERS: u64 = RAM_BASE + 0x1_0000;
const STATUSES: u64 = RAM_BASE + 0x1_1000;
const DATA: u64 = RAM_BASE + 0x1_2000;
const DATA_STRIDE: u64 = 1024;
const _: () = assert!(HEADERS + 16 * MOST as u64 <= STATUSES && STATUSES + (MOST as u64) < DATA);
/// The disk's sectors: enough for each request's own two, and for long zeroing.
const SECTORS: u64 = 64 << 11;

/// A disk in a file. Some of its sectors are in another one.
#[derive(Clone)]
struct FileDisk(Arc<Inner>);

struct Inner {
    file: Arc<File>,
    /// From this sector on, one sector of requests goes to this file, at this place.
    elsewhere: Option<(u64, Arc<File>, u64)>,
    /// Reads and writes that were not the ring's.
    by_hand: AtomicUsize,
    flushes: AtomicUsize,
    /// Runs once, in a zeroing.
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl FileDisk {
    fn new(test: &str, bytes: &[u8], elsewhere: Option<(u64, Arc<File>, u64)>) -> Self {
        let id = (std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(format!("armlet-together-{test}-{id:?}"));
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        Self(Arc::new(Inner {
            file: Arc::new(file),
            elsewhere,
            by_hand: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            meanwhile: Mutex::default(),
        }))
    }

    fn route(&self, at: u64) -> (Arc<File>, u64) {
        match &self.0.elsewhere {
            Some((sector, file, at_there)) if at == sector * SECTOR => {
                (Arc::clone(file), *at_there)
            }
            Some(_) | None => (Arc::clone(&self.0.file), at),
        }
    }

    fn take_by_hand(&self) -> usize {
        self.0.by_hand.swap(0, Ordering::SeqCst)
    }

    fn contents(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn fixture(&self) -> Fixture {
        Fixture::of(
            Box::new(self.clone()),
            Arc::default(),
            BlockConfig::default(),
        )
    }
}

impl Disk for FileDisk {
    fn name(&self) -> &str {
        "file"
    }
    fn shape(&self) -> Shape {
        Shape {
            waits: true,
            ..testing::MemoryDisk::SHAPE
        }
    }
    fn size(&self) -> u64 {
        SECTORS * SECTOR
    }
    fn read(&self, at: u64, into: &Pieces, range: Range<u64>) -> io::Result<()> {
        self.0.by_hand.fetch_add(1, Ordering::SeqCst);
        let (file, at) = self.route(at);
        let read = into.read_from_file(range.clone(), &file, at)?;
        let zeros = into.zero(range.start + read..range.end);
        zeros.map_err(io::Error::other)
    }
    fn write(&self, at: u64, from: &Pieces, range: Range<u64>) -> io::Result<()> {
        self.0.by_hand.fetch_add(1, Ordering::SeqCst);
        let (file, at) = self.route(at);
        from.write_to_file(range, &file, at)
    }
    fn place(&self, _: Way, at: u64, _: &Pieces, _: &Range<u64>) -> Option<(Arc<File>, u64)> {
        Some(self.route(at))
    }
    fn flush(&self) -> io::Result<()> {
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        self.0.file.sync_data()
    }
    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.0.file.write_all_at(&vec![0xdd; len as usize], at)
    }
    fn write_zeroes(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
        if let Some(meanwhile) = self.0.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        self.0.file.write_all_at(&vec![0; len as usize], at)
    }
    fn resize(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn has_ring() -> bool {
    let ring = Ring::<()>::new(1);
    if let Err(error) = &ring {
        eprintln!("SKIPPED: the host has no io_uring: {error}");
    }
    ring.is_ok()
}

/// Reads of this place wait for what is written to the pipe: it has no places, and takes this one for
/// where it stands.
fn pipe() -> (Arc<File>, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    (Arc::new(File::from(OwnedFd::from(reader))), writer)
}

/// Sends request `n`, with places of its own.
fn send(guest: &mut Guest<'_>, n: usize, what: (u32, u64), data: &[Buffer]) {
    let places = (HEADERS + 16 * n as u64, STATUSES + n as u64);
    guest.send_at(places, what, data);
}

fn data(n: usize) -> u64 {
    DATA + DATA_STRIDE * n as u64
}

fn read(guest: &mut Guest<'_>, n: usize) {
    let into = [Buffer::Write(data(n), 512)];
    send(guest, n, (request::IN, n as u64), &into);
}

fn zeroes(guest: &mut Guest<'_>, n: usize, (first, count): (u64, u32)) {
    let number = u128::from(count) << 64 | u128::from(first);
    guest.put(data(n), &number.to_le_bytes());
    let from = [Buffer::Read(data(n), 16)];
    send(guest, n, (request::WRITE_ZEROES, 0), &from);
}

/// The statuses of the first requests.
fn statuses(guest: &Guest<'_>, count: usize) -> Vec<u8> {
    guest.bytes(STATUSES, count)
}

/// Turns until all of so many requests are done.
fn finish(fixture: &Fixture, guest: &mut Guest<'_>, count: usize) {
    let mut used = 0;
    // A turn ends when it takes long, and a driver hears of what is done a little later.
    while used < count {
        let next = fixture.slot.core().turn(0);
        used += guest.driver.used(0).len();
        assert!(next != Next::Sleep || used == count, "{used} of {count}");
    }
    assert_eq!(used, count);
}

#[test]
fn the_ring_does_what_lies_in_the_file() {
    if !has_ring() {
        return;
    }
    let disk = FileDisk::new("ring", &numbered(64), None);
    let fixture = disk.fixture();
    let mut guest = fixture.drive(USUAL);
    (0..8).for_each(|n| read(&mut guest, n));
    finish(&fixture, &mut guest, 8);
    assert_eq!(disk.take_by_hand(), 0);
    assert_eq!(statuses(&guest, 8), [0; 8]);
    for n in 0..8 {
        assert_eq!(guest.bytes(data(n), 512), [n as u8; 512]);
    }
    read(&mut guest, 9);
    finish(&fixture, &mut guest, 1);
    assert_eq!(disk.take_by_hand(), 0);
    assert_eq!(guest.bytes(data(9), 512), [9; 512]);
}

#[test]
fn without_a_ring_the_worker_does_it_all() {
    let disk = FileDisk::new("none", &numbered(64), None);
    let fixture = disk.fixture();
    *fixture.block.seats[0].lock().unwrap() = Seat::Refused;
    let mut guest = fixture.drive(USUAL);
    (0..8).for_each(|n| read(&mut guest, n));
    finish(&fixture, &mut guest, 8);
    assert_eq!(disk.take_by_hand(), 8);
    assert_eq!(statuses(&guest, 8), [0; 8]);
    assert_eq!(guest.bytes(data(7), 512), [7; 512]);
}

#[test]
fn a_host_without_rings_is_asked_once() {
    let mut seat = Seat::default();
    let refuse = || Err(io::ErrorKind::Unsupported.into());
    assert!(seat.take(refuse).is_none());
    assert!(matches!(seat, Seat::Refused));
    assert!(seat.take(|| panic!("asked again")).is_none());
}

#[test]
fn a_driver_that_does_not_flush_has_its_writes_made_last_one_by_one() {
    let disk = FileDisk::new("through", &numbered(64), None);
    let fixture = disk.fixture();
    let mut guest = fixture.drive(0);
    for n in 0..4 {
        guest.put(data(n), &[0xee; 512]);
        let from = [Buffer::Read(data(n), 512)];
        send(&mut guest, n, (request::OUT, n as u64), &from);
    }
    finish(&fixture, &mut guest, 4);
    assert_eq!(disk.0.flushes.load(Ordering::SeqCst), 4);
    assert_eq!(disk.contents(2048), [0xee; 2048]);
}

#[test]
fn a_failure_is_of_one_request_and_the_end_of_a_file_is_none() {
    // It is not open for writing.
    let null = Arc::new(File::open("/dev/null").unwrap());
    let disk = FileDisk::new("failure", &numbered(6), Some((3, null, 0)));
    let fixture = disk.fixture();
    let mut guest = fixture.drive(USUAL);
    for n in 0..5 {
        guest.put(data(n), &[0xee; 512]);
        let from = [Buffer::Read(data(n), 512)];
        send(&mut guest, n, (request::OUT, n as u64), &from);
    }
    // The file has six sectors, and the disk more.
    for n in 5..8 {
        guest.put(data(n), &[0xee; 512]);
        read(&mut guest, n);
    }
    finish(&fixture, &mut guest, 8);
    assert_eq!(statuses(&guest, 8), [0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(guest.bytes(data(5), 512), [5; 512]);
    assert_eq!(guest.bytes(data(6), 512), [0; 512]);
    assert_eq!(guest.bytes(data(7), 512), [0; 512]);
    assert_eq!(disk.contents(512), [0xee; 512]);
}

#[test]
fn a_reset_waits_for_what_is_under_way() {
    if !has_ring() {
        return;
    }
    let (reader, mut writer) = pipe();
    let disk = FileDisk::new("reset", &numbered(64), Some((2, reader, u64::MAX)));
    let fixture = disk.fixture();
    let mut guest = fixture.drive(USUAL);
    (0..5).for_each(|n| read(&mut guest, n));
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| fixture.slot.core().turn(0));
        // The turn has begun as soon as the others are done.
        while statuses(&guest, 5) != [0, 0, 0xff, 0, 0] {
            std::thread::yield_now();
        }
        let resetting = scope.spawn(|| fixture.slot.core().reset());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!resetting.is_finished() && !worker.is_finished());
        io::Write::write_all(&mut writer, &[0x77; 512]).unwrap();
        resetting.join().unwrap();
        worker.join().unwrap();
    });
    assert_eq!(statuses(&guest, 5), [0; 5]);
    assert_eq!(guest.bytes(data(2), 512), [0x77; 512]);
    assert_eq!(disk.take_by_hand(), 0);
    let mut guest = fixture.drive(USUAL);
    [0, 1, 3].into_iter().for_each(|n| read(&mut guest, n));
    finish(&fixture, &mut guest, 3);
    assert_eq!(disk.take_by_hand(), 0, "the ring is there again");
}

#[test]
fn a_long_request_is_alone() {
    if !has_ring() {
        return;
    }
    let (reader, writer) = pipe();
    let disk = FileDisk::new("alone", &numbered(64), Some((1, reader, u64::MAX)));
    let fixture = disk.fixture();
    let mut guest = fixture.drive(USUAL);
    (0..4).for_each(|n| read(&mut guest, n));
    zeroes(&mut guest, 4, (32, 32));
    (5..8).for_each(|n| read(&mut guest, n));
    let fed = Arc::new(AtomicBool::new(false));
    let was_fed = Arc::clone(&fed);
    *disk.0.meanwhile.lock().unwrap() = Some(Box::new(move || {
        assert!(was_fed.load(Ordering::SeqCst), "it is not alone");
    }));
    let feeder = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        fed.store(true, Ordering::SeqCst);
        let mut writer = writer;
        io::Write::write_all(&mut writer, &[0x77; 512]).unwrap();
    });
    finish(&fixture, &mut guest, 8);
    feeder.join().unwrap();
    assert!(disk.0.meanwhile.lock().unwrap().is_none());
    assert_eq!(statuses(&guest, 8), [0; 8]);
    assert_eq!(disk.contents(64 * 512)[32 * 512..], [0; 32 * 512]);
}

#[test]
fn a_long_request_is_given_up_for_who_waits_and_the_others_are_done() {
    let disk = FileDisk::new("given-up", &numbered(64), None);
    let fixture = Arc::new(disk.fixture());
    let mut guest = fixture.drive(USUAL);
    (0..4).for_each(|n| read(&mut guest, n));
    // From one mebibyte on, twelve of them: four parts.
    zeroes(&mut guest, 4, (2048, 12 * 2048));
    (5..8).for_each(|n| read(&mut guest, n));
    let (hold, held) = holder(&fixture);
    *disk.0.meanwhile.lock().unwrap() = Some(hold);
    assert_eq!(fixture.slot.core().turn(0), Next::Again);
    held.recv().unwrap().join().unwrap();
    assert_eq!(guest.driver.used(0).len(), 4, "those before it");
    let position = fixture.slot.core().save().queues[0].position;
    assert_eq!(position.next_available, 4, "it is as if not taken");
    fixture.slot.core().release();
    finish(&fixture, &mut guest, 4);
    assert_eq!(statuses(&guest, 8), [0; 8]);
}

#[test]
fn a_limit_ends_a_turn() {
    let manual = Arc::new(Manual::default());
    let disk = FileDisk::new("limit", &numbered(64), None);
    let operations = Some(RateLimit {
        per_second: 10,
        burst: 5,
    });
    let limits = DiskLimits {
        operations,
        bytes: None,
    };
    let config = BlockConfig {
        limits,
        ..BlockConfig::default()
    };
    let fixture = Fixture::of(Box::new(disk), manual.clone(), config);
    let mut guest = fixture.drive(USUAL);
    (0..12).for_each(|n| read(&mut guest, n));
    let Next::After(wait) = fixture.slot.core().turn(0) else {
        panic!("it does not wait");
    };
    let first = guest.driver.used(0).len();
    assert!((5..=6).contains(&first), "{first}");
    manual.pass(wait);
    let next = fixture.slot.core().turn(0);
    assert!(matches!(next, Next::After(_)), "{next:?}");
    assert_eq!(guest.driver.used(0).len(), 1);
}

/// What a request does to sectors that no other one touches.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read,
    Write(u8),
    Zero,
    Discard,
    Flush,
    Beyond,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Read),
        4 => any::<u8>().prop_map(Step::Write),
        1 => Just(Step::Zero),
        1 => Just(Step::Discard),
        1 => Just(Step::Flush),
        1 => Just(Step::Beyond),
    ]
}

proptest! {
    /// Each request has two sectors of its own.
    #[test]
    fn many_requests_do_what_each_of_them_does(
        steps in prop::collection::vec(step(), 2..MOST),
    ) {
        let before = numbered(2 * MOST);
        let disk = FileDisk::new("many", &before, None);
        let fixture = disk.fixture();
        let mut guest = fixture.drive(USUAL);
        let mut wanted = before.clone();
        for (n, step) in steps.iter().enumerate() {
            let first = 2 * n as u64;
            let bytes = n * 1024..(n + 1) * 1024;
            let segment = |guest: &Guest<'_>| {
                let number = 2_u128 << 64 | u128::from(first);
                guest.put(data(n), &number.to_le_bytes());
                Buffer::Read(data(n), 16)
            };
            let (kind, sector, buffer) = match step {
                Step::Read => (request::IN, first, Some(Buffer::Write(data(n), 1024))),
                Step::Write(byte) => {
                    guest.put(data(n), &[*byte; 1024]);
                    wanted[bytes].fill(*byte);
                    (request::OUT, first, Some(Buffer::Read(data(n), 1024)))
                }
                Step::Zero => {
                    wanted[bytes].fill(0);
                    (request::WRITE_ZEROES, 0, Some(segment(&guest)))
                }
                Step::Discard => {
                    wanted[bytes].fill(0xdd);
                    (request::DISCARD, 0, Some(segment(&guest)))
                }
                Step::Flush => (request::FLUSH, 0, None),
                Step::Beyond => (request::IN, SECTORS, Some(Buffer::Write(data(n), 512))),
            };
            send(&mut guest, n, (kind, sector), buffer.as_slice());
        }
        finish(&fixture, &mut guest, steps.len());
        prop_assert_eq!(disk.contents(wanted.len()), wanted);
        for (n, step) in steps.iter().enumerate() {
            let status = guest.bytes(STATUSES + n as u64, 1)[0];
            prop_assert_eq!(status, u8::from(matches!(step, Step::Beyond)));
            if matches!(step, Step::Read) {
                let range = n * 1024..(n + 1) * 1024;
                prop_assert_eq!(&guest.bytes(data(n), 1024), &before[range]);
            }
        }
    }
}
