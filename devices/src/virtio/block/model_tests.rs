//! Random requests, hostile ones among them, against an array of bytes.

use aarch64::Gpa;
use proptest::prelude::*;

use super::super::mmio::MmioTransport;
use super::super::testing::{Buffer, Driver, Manual, MmioRegisters, NoThreads, RAM_BASE};
use super::super::testing::{Recorder, ram};
use super::request::{MAX_DISCARD_SECTORS, MAX_ZEROES_SECTORS};
use super::spec::{SECTOR, request};
use super::testing::MemoryDisk;
use super::*;

const SECTORS: u64 = 24;
const HEADER: u64 = RAM_BASE + 0x1_0000;
const DATA: u64 = RAM_BASE + 0x1_1000;
const STATUS: u64 = RAM_BASE + 0x1_f000;

#[derive(Clone, Debug)]
enum Step {
    Read {
        sector: u64,
        parts: Vec<u32>,
    },
    Write {
        sector: u64,
        parts: Vec<u32>,
        seed: u8,
    },
    Segments {
        kind: u32,
        list: Vec<(u64, u32, u32)>,
    },
    Odd {
        kind: u32,
        sector: u64,
        len: u32,
    },
}

fn sector() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..SECTORS + 2, 1 => any::<u64>()]
}

/// Lengths of descriptors, which add up to whole sectors mostly.
fn parts() -> impl Strategy<Value = Vec<u32>> {
    let whole = (0_u32..6).prop_map(|sectors| vec![512 * sectors]);
    let cut = (1_u32..6, 1_u32..512).prop_map(|(n, at)| vec![at, 512 * n - at]);
    prop_oneof![3 => whole, 3 => cut, 1 => prop::collection::vec(0_u32..2000, 0..4)]
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![6 => 0_u32..8, 1 => any::<u32>()];
    let flags = prop_oneof![4 => Just(0_u32), 3 => Just(1), 1 => any::<u32>()];
    let segment = (sector(), count, flags);
    let kind = prop_oneof![Just(request::DISCARD), Just(request::WRITE_ZEROES)];
    prop_oneof![
        4 => (sector(), parts()).prop_map(|(sector, parts)| Step::Read { sector, parts }),
        4 => (sector(), parts(), any::<u8>())
            .prop_map(|(sector, parts, seed)| Step::Write { sector, parts, seed }),
        3 => (kind, prop::collection::vec(segment, 0..18))
            .prop_map(|(kind, list)| Step::Segments { kind, list }),
        1 => (any::<u32>(), any::<u64>(), 0_u32..2000)
            .prop_map(|(kind, sector, len)| Step::Odd { kind, sector, len }),
    ]
}

/// What a disk should do: the status, and the bytes afterwards.
struct Model(Vec<u8>);

impl Model {
    fn range(&self, sector: u64, len: u64) -> Option<std::ops::Range<usize>> {
        let at = sector.checked_mul(SECTOR)?;
        let end = at.checked_add(len)?;
        let fits = len.is_multiple_of(SECTOR) && end <= self.0.len() as u64;
        fits.then_some(at as usize..end as usize)
    }

    /// All segments are looked at before one is done.
    fn segments(&mut self, kind: u32, list: &[(u64, u32, u32)]) -> u8 {
        let (byte, most, flags) = match kind {
            request::DISCARD => (0xdd, MAX_DISCARD_SECTORS, 0),
            _ => (0, MAX_ZEROES_SECTORS, 1),
        };
        if list.is_empty() || list.len() > 16 {
            return 1;
        }
        let mut ranges = Vec::new();
        for (sector, count, flag) in list {
            if flag & !flags != 0 {
                return 2;
            }
            let range = self.range(*sector, u64::from(*count) * SECTOR);
            match range.filter(|_| *count <= most) {
                Some(range) => ranges.push(range),
                None => return 1,
            }
        }
        for range in ranges {
            self.0[range].fill(byte);
        }
        0
    }
}

fn buffers(parts: &[u32], part: impl Fn(u64, u32) -> Buffer) -> Vec<Buffer> {
    let mut at = DATA;
    let mut buffers = Vec::new();
    for len in parts {
        buffers.push(part(at, *len));
        at += u64::from(*len);
    }
    buffers
}

struct Guest<'a> {
    slot: &'a MmioTransport,
    layout: Arc<memory::Layout>,
    driver: Driver<MmioRegisters<'a>>,
    model: Model,
}

impl Guest<'_> {
    fn ask(&mut self, kind: u32, sector: u64, data: &[Buffer]) -> u8 {
        let header = u128::from(sector) << 64 | u128::from(kind);
        self.layout
            .write(Gpa(HEADER), &header.to_le_bytes())
            .unwrap();
        self.layout.write(Gpa(STATUS), &[0xff]).unwrap();
        let mut all = vec![Buffer::Read(HEADER, 16)];
        all.extend_from_slice(data);
        all.push(Buffer::Write(STATUS, 1));
        self.driver.send(0, &all);
        let _ = self.slot.core().turn(0);
        assert_eq!(self.driver.used(0).len(), 1);
        let mut status = [0];
        self.layout.read(Gpa(STATUS), &mut status).unwrap();
        status[0]
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Read { sector, parts } => {
                let len: u32 = parts.iter().sum();
                let status = self.ask(request::IN, *sector, &buffers(parts, Buffer::Write));
                let range = self.model.range(*sector, len.into());
                assert_eq!(status, u8::from(range.is_none()));
                if let Some(range) = range {
                    let mut read = vec![0; range.len()];
                    self.layout.read(Gpa(DATA), &mut read).unwrap();
                    assert_eq!(read, self.model.0[range]);
                }
            }
            Step::Write {
                sector,
                parts,
                seed,
            } => {
                let len: u32 = parts.iter().sum();
                let bytes: Vec<u8> = (0..len).map(|n| seed.wrapping_add(n as u8)).collect();
                self.layout.write(Gpa(DATA), &bytes).unwrap();
                let status = self.ask(request::OUT, *sector, &buffers(parts, Buffer::Read));
                let range = self.model.range(*sector, len.into());
                assert_eq!(status, u8::from(range.is_none()));
                if let Some(range) = range {
                    self.model.0[range].copy_from_slice(&bytes);
                }
            }
            Step::Segments { kind, list } => {
                let bytes: Vec<u8> = list
                    .iter()
                    .map(|(first, count, flags)| {
                        u128::from(*flags) << 96 | u128::from(*count) << 64 | u128::from(*first)
                    })
                    .flat_map(u128::to_le_bytes)
                    .collect();
                self.layout.write(Gpa(DATA), &bytes).unwrap();
                let data = [Buffer::Read(DATA, bytes.len() as u32)];
                let status = self.ask(*kind, 0, &data);
                assert_eq!(status, self.model.segments(*kind, list));
            }
            Step::Odd { kind, sector, len } => {
                let known = [0, 1, 4, 8, 11, 13].contains(kind);
                let status = self.ask(*kind, *sector, &[Buffer::Write(DATA, *len)]);
                assert!(known || status == 2, "{kind} {status}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_disk_does_what_an_array_does(steps in prop::collection::vec(step(), 1..40)) {
        let bytes: Vec<u8> = (0..SECTORS * SECTOR).map(|n| n as u8 ^ (n >> 8) as u8).collect();
        let disk = MemoryDisk::new(bytes.clone(), false);
        let manual = Arc::new(Manual::default());
        let block = Block::new(Box::new(disk.clone()), manual, BlockConfig::default());
        let (ram, layout) = ram(40);
        let (_, line) = Recorder::wire();
        let slot = MmioTransport::new(Arc::new(block), ram, line, &NoThreads).unwrap();
        slot.core().release();
        let features = feature::FLUSH | feature::DISCARD | feature::WRITE_ZEROES;
        let driver = Driver::start(MmioRegisters(&slot), &layout, features, &[32]);
        let mut guest = Guest { slot: &slot, layout, driver, model: Model(bytes) };
        for step in &steps {
            guest.take(step);
            prop_assert_eq!(&disk.contents(), &guest.model.0);
        }
    }
}
