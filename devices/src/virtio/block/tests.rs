//! A disk as its driver sees it.

use std::io::ErrorKind;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aarch64::{Gpa, Size};
use memory::Layout;

use super::super::mmio::MmioTransport;
use super::super::testing::{Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE};
use super::super::testing::{Recorder, Registers, ram};
use super::super::{Next, RateLimit, VirtioState};
use super::spec::{SECTOR, Status, config, request};
use super::testing::MemoryDisk;
use super::*;

const HEADER: u64 = RAM_BASE + 0x1_0000;
pub const DATA: u64 = RAM_BASE + 0x1_1000;
const STATUS: u64 = RAM_BASE + 0x1_8000;

/// A driver's features in most tests.
pub const USUAL: u64 = feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES;

pub struct Fixture {
    pub slot: MmioTransport,
    pub block: Arc<Block>,
    layout: Arc<Layout>,
    manual: Arc<Manual>,
}

impl Fixture {
    fn new(disk: &MemoryDisk, config: BlockConfig) -> Self {
        Self::of(Box::new(disk.clone()), Arc::default(), config)
    }

    pub fn of(disk: Box<dyn Disk>, manual: Arc<Manual>, config: BlockConfig) -> Self {
        let block = Block::new(disk, manual.clone(), config);
        let block = Arc::new(block);
        let (ram, layout) = ram(64);
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(block.clone(), ram, line, &NoThreads).unwrap();
        slot.core().release();
        Self {
            slot,
            block,
            layout,
            manual,
        }
    }

    pub fn drive(&self, features: u64) -> Guest<'_> {
        let registers = MmioRegisters(&self.slot);
        let driver = Driver::start(registers, &self.layout, features, &[64]);
        Guest {
            fixture: self,
            driver,
        }
    }

    fn state(&self) -> VirtioState {
        self.slot.core().hold();
        let state = self.slot.core().save();
        self.slot.core().release();
        state
    }
}

pub struct Guest<'a> {
    fixture: &'a Fixture,
    pub driver: Driver<MmioRegisters<'a>>,
}

impl Guest<'_> {
    pub fn send(&mut self, kind: u32, sector: u64, data: &[Buffer]) {
        self.send_at((HEADER, STATUS), (kind, sector), data);
    }

    /// As [`Guest::send`], with other places for the header and the status.
    pub fn send_at(
        &mut self,
        (header_at, status_at): (u64, u64),
        (kind, sector): (u32, u64),
        data: &[Buffer],
    ) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.put(header_at, &header);
        self.put(status_at, &[0xff]);
        let mut buffers = vec![Buffer::Read(header_at, 16)];
        buffers.extend_from_slice(data);
        buffers.push(Buffer::Write(status_at, 1));
        self.driver.send(0, &buffers);
    }

    /// A request's status, and how many bytes were written.
    fn ask(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
        self.send(kind, sector, data);
        assert_eq!(self.fixture.slot.core().turn(0), Next::Sleep);
        let used = self.driver.used(0);
        assert_eq!(used.len(), 1);
        (self.bytes(STATUS, 1)[0], used[0].1)
    }

    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.fixture.layout.write(Gpa(at), bytes).unwrap();
    }

    pub fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fixture.layout.read(Gpa(at), &mut bytes).unwrap();
        bytes
    }

    fn config(&self, at: usize, size: Size) -> u64 {
        self.driver.registers.config(at as u64, size)
    }

    /// A discard's or a zeroing's segment.
    pub fn segment(&self, first: u64, count: u32, flags: u32) -> Buffer {
        let number = u128::from(flags) << 96 | u128::from(count) << 64 | u128::from(first);
        self.put(DATA, &number.to_le_bytes());
        Buffer::Read(DATA, 16)
    }
}

/// What happens in the middle of an operation.
pub type Meanwhile = Box<dyn FnOnce() + Send>;

/// Has another thread hold the device meanwhile; that thread is sent when the flag is up.
pub fn holder(fixture: &Arc<Fixture>) -> (Meanwhile, Receiver<JoinHandle<()>>) {
    let (holding, held) = mpsc::channel();
    let fixture = Arc::clone(fixture);
    let hold = move || {
        let (begun, began) = mpsc::channel();
        let holder = thread::spawn(move || {
            begun.send(()).unwrap();
            fixture.slot.core().hold();
        });
        began.recv().unwrap();
        // The flag is up a moment after that; who holds waits for the end of the turn.
        thread::sleep(Duration::from_millis(200));
        holding.send(holder).unwrap();
    };
    (Box::new(hold), held)
}

/// Sectors with a number each.
pub fn numbered(sectors: usize) -> Vec<u8> {
    (0..sectors).flat_map(|n| [n as u8; 512]).collect()
}

/// Done, and the status is all that was written.
const OK: (u8, u32) = (0, 1);
const IO_ERROR: u8 = Status::IoError.byte();
const UNSUPPORTED: u8 = Status::Unsupported.byte();

#[test]
fn what_is_written_is_read_and_lasts_when_flushed() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    guest.put(DATA, &[7; 1024]);
    // Any division into descriptors will do.
    let parts = [
        Buffer::Read(DATA, 100),
        Buffer::Read(DATA + 100, 412),
        Buffer::Read(DATA, 512),
    ];
    assert_eq!(guest.ask(request::OUT, 2, &parts), OK);
    assert_eq!(disk.take_flushes(), 0);
    assert_eq!(guest.ask(request::FLUSH, 0, &[]), OK);
    assert_eq!(disk.take_flushes(), 1);
    let parts = [
        Buffer::Write(DATA + 0x1000, 1),
        Buffer::Write(DATA + 0x2000, 2047),
    ];
    assert_eq!(guest.ask(request::IN, 1, &parts), (0, 2049));
    assert_eq!(guest.bytes(DATA + 0x1000, 2), [1, 0]);
    let read = guest.bytes(DATA + 0x2000, 2048);
    assert_eq!(read[..511], [1; 511]);
    assert_eq!(read[511..1535], [7; 1024]);
    assert_eq!(read[1535..2047], [4; 512]);
    assert_eq!(read[2047], 0);
}

#[test]
fn a_request_that_is_wrong_changes_nothing() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    for (sector, len) in [
        (8, 512),
        (7, 1024),
        (u64::MAX, 512),
        (0, 511),
        (1 << 55, 512),
    ] {
        let read = [Buffer::Write(DATA, len)];
        assert_eq!(guest.ask(request::IN, sector, &read).0, IO_ERROR);
        let write = [Buffer::Read(DATA, len)];
        assert_eq!(guest.ask(request::OUT, sector, &write).0, IO_ERROR);
    }
    for kind in [2, 3, 14, 15, 24, u32::MAX] {
        assert_eq!(
            guest.ask(kind, 0, &[Buffer::Write(DATA, 512)]).0,
            UNSUPPORTED
        );
    }
    let segment = guest.segment(7, 2, 0);
    assert_eq!(guest.ask(request::DISCARD, 0, &[segment]).0, IO_ERROR);
    assert_eq!(guest.ask(request::WRITE_ZEROES, 0, &[segment]).0, IO_ERROR);
    let segment = guest.segment(0, 1, 1);
    assert_eq!(guest.ask(request::DISCARD, 0, &[segment]).0, UNSUPPORTED);
    let segment = guest.segment(0, 1, 2);
    assert_eq!(
        guest.ask(request::WRITE_ZEROES, 0, &[segment]).0,
        UNSUPPORTED
    );
    for len in [0, 15, 16 * 17] {
        let segments = [Buffer::Read(DATA, len)];
        assert_eq!(guest.ask(request::DISCARD, 0, &segments).0, IO_ERROR);
    }
    assert_eq!(disk.contents(), numbered(8));
}

#[test]
fn a_buffer_without_room_for_an_answer_stops_the_device_until_a_reset() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    for bad in [
        vec![Buffer::Read(HEADER, 16)],
        vec![Buffer::Read(HEADER, 15), Buffer::Write(STATUS, 1)],
        vec![Buffer::Write(STATUS, 1)],
    ] {
        let mut guest = fixture.drive(USUAL);
        guest.driver.send(0, &bad);
        assert_eq!(fixture.slot.core().turn(0), Next::Sleep);
        assert_ne!(guest.driver.registers.status() & 64, 0);
    }
    let mut guest = fixture.drive(USUAL);
    assert_eq!(guest.ask(request::FLUSH, 0, &[]), OK);
}

#[test]
fn sectors_are_discarded_and_zeroed() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    let segment = guest.segment(1, 2, 0);
    assert_eq!(guest.ask(request::DISCARD, 0, &[segment]), OK);
    let segment = guest.segment(6, 2, 1);
    assert_eq!(guest.ask(request::WRITE_ZEROES, 0, &[segment]), OK);
    let contents = disk.contents();
    assert_eq!(contents[512..1536], [0xdd; 1024]);
    assert_eq!(contents[3072..], [0; 1024]);
    assert_eq!(contents[1536], 3);
}

#[test]
fn the_serial_number_is_cut_to_the_room_there_is() {
    let disk = MemoryDisk::new(numbered(8), false);
    let serial = "root 1".to_owned();
    let config = BlockConfig {
        serial,
        ..BlockConfig::default()
    };
    let fixture = Fixture::new(&disk, config);
    let mut guest = fixture.drive(USUAL);
    assert_eq!(
        guest.ask(request::GET_ID, 0, &[Buffer::Write(DATA, 20)]),
        (0, 21)
    );
    assert_eq!(guest.bytes(DATA, 20), b"root 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(
        guest.ask(request::GET_ID, 0, &[Buffer::Write(DATA, 4)]),
        (0, 5)
    );
    assert_eq!(
        guest.ask(request::GET_ID, 0, &[Buffer::Write(DATA, 30)]),
        (0, 20)
    );
}

#[test]
fn a_read_only_disk_is_not_written() {
    let disk = MemoryDisk::new(numbered(8), true);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(feature::RO | feature::FLUSH);
    let offered = guest.driver.registers.offered();
    assert_eq!(offered & (feature::DISCARD | feature::WRITE_ZEROES), 0);
    assert_eq!(
        guest.ask(request::OUT, 0, &[Buffer::Read(DATA, 512)]).0,
        IO_ERROR
    );
    let segment = guest.segment(0, 1, 0);
    assert_eq!(guest.ask(request::DISCARD, 0, &[segment]).0, IO_ERROR);
    assert_eq!(guest.ask(request::WRITE_ZEROES, 0, &[segment]).0, IO_ERROR);
    assert_eq!(
        guest.ask(request::IN, 3, &[Buffer::Write(DATA, 512)]),
        (0, 513)
    );
    assert_eq!(guest.bytes(DATA, 512), [3; 512]);
    assert_eq!(disk.contents(), numbered(8));
}

#[test]
fn a_failure_of_the_host_is_one_request_s() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    disk.fail(Some(ErrorKind::StorageFull));
    let (write, read) = ([Buffer::Read(DATA, 512)], [Buffer::Write(DATA, 512)]);
    assert_eq!(guest.ask(request::OUT, 0, &write).0, IO_ERROR);
    assert_eq!(guest.ask(request::IN, 0, &read).0, IO_ERROR);
    assert_eq!(guest.ask(request::FLUSH, 0, &[]).0, IO_ERROR);
    disk.fail(None);
    assert_eq!(guest.ask(request::OUT, 1, &write), OK);
    assert_eq!(disk.contents()[512..1024], [0; 512]);
}

#[test]
fn writes_last_at_once_where_the_driver_does_not_flush() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let write = [Buffer::Read(DATA, 512)];
    let mut guest = fixture.drive(0);
    assert_eq!(guest.ask(request::OUT, 0, &write), OK);
    assert_eq!(disk.take_flushes(), 1);
    let mut guest = fixture.drive(feature::CONFIG_WCE | feature::FLUSH);
    assert_eq!(guest.config(config::WRITEBACK, Size::B), 1);
    assert_eq!(guest.ask(request::OUT, 0, &write), OK);
    assert_eq!(disk.take_flushes(), 0);
    let at = config::WRITEBACK as u64;
    guest.driver.registers.set_config(at, Size::B, 0);
    assert_eq!(guest.config(config::WRITEBACK, Size::B), 0);
    assert_eq!(guest.ask(request::OUT, 0, &write), OK);
    assert_eq!(disk.take_flushes(), 1);
    let guest = fixture.drive(feature::CONFIG_WCE | feature::FLUSH);
    assert_eq!(guest.config(config::WRITEBACK, Size::B), 1, "after a reset");
}

#[test]
fn the_driver_reads_what_the_disk_is_like() {
    let disk = MemoryDisk::new(vec![0; 5 * 512 + 100], false);
    let config = BlockConfig {
        queues: 3,
        ..BlockConfig::default()
    };
    let fixture = Fixture::new(&disk, config);
    let guest = fixture.drive(feature::MQ);
    for (at, size, value) in [
        (config::CAPACITY, Size::W, 5),
        (config::CAPACITY + 4, Size::W, 0),
        (config::SEG_MAX, Size::W, 254),
        (config::BLK_SIZE, Size::W, 512),
        (config::PHYSICAL_BLOCK_EXP, Size::B, 3),
        (config::MIN_IO_SIZE, Size::H, 8),
        (config::NUM_QUEUES, Size::H, 3),
        (config::DISCARD_SECTOR_ALIGNMENT, Size::W, 8),
        (config::WRITE_ZEROES_MAY_UNMAP, Size::B, 1),
        (config::LEN, Size::W, 0),
    ] {
        assert_eq!(guest.config(at, size), value, "{at}");
    }
    assert_eq!(fixture.slot.core().queue_count(), 3);
    assert_eq!(guest.driver.registers.max_size(2), QUEUE_SIZE);
}

#[test]
fn a_disk_that_grows_says_so() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    let read = [Buffer::Write(DATA, 512)];
    assert_eq!(guest.ask(request::IN, 9, &read).0, IO_ERROR);
    let before = guest.driver.registers.generation();
    let _ = guest.driver.registers.take_interrupts();
    fixture.block.resize(10 * SECTOR).unwrap();
    assert_ne!(guest.driver.registers.generation(), before);
    assert_eq!(guest.driver.registers.take_interrupts(), (false, true));
    assert_eq!(guest.config(config::CAPACITY, Size::W), 10);
    assert_eq!(guest.ask(request::IN, 9, &read), (0, 513));
    fixture.block.resize(4 * SECTOR).unwrap();
    assert_eq!(guest.ask(request::IN, 4, &read).0, IO_ERROR);
    disk.fail(Some(ErrorKind::Other));
    assert!(fixture.block.resize(5 * SECTOR).is_err());
}

#[test]
fn limits_of_requests_and_of_bytes_make_the_guest_wait() {
    let limit = |per_second, burst| Some(RateLimit { per_second, burst });
    let ms = Duration::from_millis;
    for (limits, wait) in [
        (
            DiskLimits {
                operations: limit(10, 1),
                bytes: None,
            },
            ms(100),
        ),
        (
            DiskLimits {
                operations: limit(1000, 1),
                bytes: limit(512 * 4, 512),
            },
            ms(250),
        ),
    ] {
        let disk = MemoryDisk::new(numbered(8), false);
        let config = BlockConfig {
            limits,
            ..BlockConfig::default()
        };
        let fixture = Fixture::new(&disk, config);
        let mut guest = fixture.drive(USUAL);
        for _ in 0..3 {
            guest.send(request::IN, 0, &[Buffer::Write(DATA, 512)]);
        }
        // What is there, and one that leaves a debt.
        assert_eq!(fixture.slot.core().turn(0), Next::After(wait));
        assert_eq!(guest.driver.used(0).len(), 2);
        fixture.manual.pass(wait - ms(1));
        assert_eq!(fixture.slot.core().turn(0), Next::After(ms(1)));
        fixture.manual.pass(ms(1));
        assert!(matches!(fixture.slot.core().turn(0), Next::After(_)));
        assert_eq!(guest.driver.used(0).len(), 1);
    }
}

#[test]
fn what_is_refused_takes_nothing_of_a_limit() {
    let config = BlockConfig {
        limits: DiskLimits {
            operations: None,
            bytes: Some(RateLimit {
                per_second: 512,
                burst: 512,
            }),
        },
        ..BlockConfig::default()
    };
    let fixture = Fixture::new(&MemoryDisk::new(numbered(8), false), config);
    let mut guest = fixture.drive(USUAL);
    for (kind, sector, data) in [
        (request::IN, 7, Buffer::Write(DATA, 1024)),
        (request::OUT, 7, Buffer::Read(DATA, 1024)),
        (request::IN, 8, Buffer::Write(DATA, 512)),
    ] {
        assert_eq!(guest.ask(kind, sector, &[data]).0, IO_ERROR);
    }
    let first = guest.ask(request::IN, 0, &[Buffer::Write(DATA, 512)]);
    assert_eq!(first.0, Status::Ok.byte());
}

#[test]
fn a_saved_disk_goes_on_with_one_of_the_same_size_only() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let guest = fixture.drive(feature::CONFIG_WCE | feature::FLUSH);
    let at = config::WRITEBACK as u64;
    guest.driver.registers.set_config(at, Size::B, 0);
    let saved = fixture.state();
    let expected = BlockState {
        sectors: 8,
        writeback: false,
    };
    assert_eq!(saved.device, DeviceState::Block(expected));
    fixture.slot.core().reset();
    fixture.slot.core().hold();
    assert_eq!(fixture.slot.core().restore(&saved), Ok(()));
    assert_eq!(fixture.state(), saved);
    disk.resize(512).unwrap();
    let refused = fixture.slot.core().restore(&saved).unwrap_err();
    let line = refused.to_string();
    assert!(line.contains("memory has 1 sectors"), "{line}");
}

#[test]
fn who_keeps_many_requests_under_way_hears_of_several_at_once() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    let _ = guest.driver.registers.take_interrupts();
    let (mut interrupts, mut done) = (0, 0);
    for _ in 0..1000 {
        guest.send(request::IN, 0, &[Buffer::Write(DATA, 512)]);
        let next = fixture.slot.core().turn(0);
        fixture.manual.pass(Duration::from_micros(10));
        let heard = guest.driver.registers.take_interrupts().0;
        assert_eq!(
            heard,
            next == Next::Sleep,
            "it says so, or looks again soon"
        );
        assert!(heard || matches!(next, Next::After(_)));
        interrupts += u32::from(heard);
        done += guest.driver.used(0).len();
    }
    assert_eq!(done, 1000, "what is done is in the ring");
    assert!(interrupts < 300, "{interrupts}");
    // A flush is what its sender waits for.
    guest.send(request::FLUSH, 0, &[]);
    assert_eq!(fixture.slot.core().turn(0), Next::Sleep);
    assert!(guest.driver.registers.take_interrupts().0);
}

#[test]
fn a_disk_that_is_held_keeps_nothing_to_itself() {
    let disk = MemoryDisk::new(numbered(8), false);
    let fixture = Fixture::new(&disk, BlockConfig::default());
    let mut guest = fixture.drive(USUAL);
    for _ in 0..1000 {
        guest.send(request::IN, 0, &[Buffer::Write(DATA, 512)]);
        let next = fixture.slot.core().turn(0);
        let heard = guest.driver.registers.take_interrupts().0;
        if let Next::After(_) = next {
            assert!(!heard);
            fixture.slot.core().hold();
            assert!(guest.driver.registers.take_interrupts().0);
            return;
        }
    }
    panic!("nothing was ever kept back");
}
