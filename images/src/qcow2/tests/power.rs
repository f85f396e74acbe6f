//! Power fails at any moment. Of what was written since the last finished sync, any part may have
//! reached the disk, sector by sector; of what was written before, all has.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::model::{Action, actions, pattern};
use crate::image::Image;
use crate::open_qcow2;
use crate::options::Options;
use crate::qcow2::check::check;
use crate::qcow2::create::{Layout, create};
use crate::qcow2::header::Header;
use crate::qcow2::repair::repair;
use crate::storage::Storage;
use crate::testing::MemoryStorage;

const SECTOR: usize = 512;

/// What happened to a disk.
#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// A disk that remembers how it came to be what it is.
#[derive(Debug, Default)]
struct Logged {
    now: MemoryStorage,
    log: Mutex<Vec<Event>>,
}

impl Storage for Logged {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.now.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        self.log
            .lock()
            .unwrap()
            .push(Event::Write(at, from.to_vec()));
        self.now.write_at(from, at)
    }

    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        self.log
            .lock()
            .unwrap()
            .push(Event::Write(at, vec![0; len as usize]));
        self.now.punch(at, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.log.lock().unwrap().push(Event::Sync);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.log.lock().unwrap().push(Event::SetLen(len));
        self.now.set_len(len)
    }

    fn usage(&self) -> io::Result<u64> {
        self.len()
    }

    fn file(&self) -> Option<&Arc<File>> {
        None
    }

    fn alignment(&self) -> u32 {
        1
    }
}

/// What is on the disk when power fails after `cut` events, if of those since the last sync
/// `survives` decides for each sector.
fn after_failure(log: &[Event], cut: usize, mut survives: impl FnMut() -> bool) -> MemoryStorage {
    let log = &log[..cut];
    let synced = log.iter().rposition(|event| matches!(event, Event::Sync));
    let disk = MemoryStorage::default();
    for (number, event) in log.iter().enumerate() {
        let safe = synced.is_some_and(|synced| number < synced);
        match event {
            Event::Write(at, bytes) => {
                let mut done = 0;
                while done < bytes.len() {
                    let place = *at + done as u64;
                    let sector = SECTOR - place as usize % SECTOR;
                    let len = sector.min(bytes.len() - done);
                    if safe || survives() {
                        disk.write_at(&bytes[done..done + len], place).unwrap();
                    }
                    done += len;
                }
            }
            // A longer file is as good as a shorter one; a shorter one is told to be one at the end.
            Event::SetLen(len) => {
                if safe || survives() {
                    disk.set_len(*len).unwrap();
                }
            }
            Event::Sync => {}
        }
    }
    disk
}

/// What each byte may be: since it was last durable, it had these values.
struct Possible {
    values: Vec<Vec<u8>>,
}

impl Possible {
    fn write(&mut self, at: u64, bytes: impl Iterator<Item = u8>) {
        for (values, byte) in self.values[at as usize..].iter_mut().zip(bytes) {
            values.push(byte);
        }
    }

    fn flushed(&mut self) {
        for values in &mut self.values {
            let last = *values.last().unwrap();
            *values = vec![last];
        }
    }
}

/// A moment at which power can fail: events so far, and what bytes may be at any time until then
/// since the last moment.
struct Moment {
    events: usize,
    possible: Vec<Vec<u8>>,
}

const SIZE: u64 = 60 * 512;

fn live(layout: &Layout, backing: u8, actions: &[Action]) -> (Vec<Event>, Vec<Moment>) {
    let storage: Arc<Logged> = Arc::default();
    create(&*storage, layout).unwrap();
    let mut possible = Possible {
        values: vec![vec![backing]; SIZE as usize],
    };
    let image = open(Arc::clone(&storage) as Arc<dyn Storage>, backing);
    let events = || storage.log.lock().unwrap().len();
    let mut moments = vec![Moment {
        events: events(),
        possible: possible.values.clone(),
    }];
    let clip = |at: u64, len: u64| (at.min(SIZE), len.min(SIZE - at.min(SIZE)));
    for action in actions {
        match *action {
            Action::Write(at, len, byte) => {
                let (at, len) = clip(at, len);
                let bytes = pattern(len, byte);
                image.write_at(&bytes, at).unwrap();
                possible.write(at, bytes.into_iter());
            }
            Action::Discard(at, len) => {
                let (at, len) = clip(at, len);
                image.discard(at, len).unwrap();
                // Zero, or as before: both stay possible for good.
                let mut now = vec![0; len as usize];
                image.read_at(&mut now, at).unwrap();
                possible.write(at, now.into_iter());
            }
            Action::Zero(at, len, unmap) => {
                let (at, len) = clip(at, len);
                image.write_zeroes(at, len, unmap).unwrap();
                possible.write(at, (0..len).map(|_| 0));
            }
            Action::Flush => {
                image.flush().unwrap();
                // Until the flush has returned, what was before may be there too.
                moments.push(Moment {
                    events: events(),
                    possible: possible.values.clone(),
                });
                possible.flushed();
            }
            Action::Resize(_) | Action::Reopen => {}
        }
        moments.push(Moment {
            events: events(),
            possible: possible.values.clone(),
        });
    }
    let log = storage.log.lock().unwrap().clone();
    // What closing does is no part of this: power fails before.
    (log, moments)
}

fn open(storage: Arc<dyn Storage>, backing: u8) -> super::super::Qcow2 {
    let base = MemoryStorage::new(vec![backing; SIZE as usize]);
    let base = crate::raw::Raw::new(Arc::new(base), true, false, false).unwrap();
    let base = (backing != 0).then(|| Arc::new(base) as Arc<dyn Image>);
    open_qcow2(storage, base, &Options::default()).unwrap()
}

/// Power fails: the image is consistent but for lost clusters, and has what was flushed.
fn judge(disk: MemoryStorage, backing: u8, possible: &[Vec<u8>]) {
    let disk = Arc::new(disk);
    let header = Header::read(&*disk).unwrap();
    let report = check(&*disk, &header).unwrap();
    assert_eq!(report.corruptions, 0, "{report:?}");
    let image = open(Arc::clone(&disk) as Arc<dyn Storage>, backing);
    let mut bytes = vec![0; SIZE as usize];
    image.read_at(&mut bytes, 0).unwrap();
    for (at, (byte, values)) in bytes.iter().zip(possible).enumerate() {
        assert!(
            values.contains(byte),
            "byte {at} is {byte}, not of {values:?}"
        );
    }
    drop(image);
    let (_, left) = repair(&*disk, &header).unwrap();
    assert!(left.is_clean(), "{left:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_that_was_flushed_is_lost(
        actions in actions(SIZE),
        bits in 0u32..3,
        order in 0u32..7,
        backing in prop_oneof![Just(0u8), Just(0x77)],
        seed in any::<u64>(),
    ) {
        let layout = Layout {
            cluster: 512 << bits,
            refcount_bits: 1 << order,
            ..Layout::of_size(SIZE)
        };
        let (log, moments) = live(&layout, backing, &actions);
        let mut random = seed | 1;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let first = moments[0].events;
        for _ in 0..24 {
            let last = moments.last().unwrap().events;
            let cut = first + (next() % (last - first + 1) as u64) as usize;
            // What was possible when the next moment came.
            let moment = moments.iter().find(|moment| moment.events >= cut).unwrap();
            let chance = next() % 5;
            let disk = after_failure(&log, cut, || next() % 4 < chance);
            judge(disk, backing, &moment.possible);
        }
    }
}
