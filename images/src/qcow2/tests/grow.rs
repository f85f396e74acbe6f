//! Tables grow, whatever else is under way, and if the host's disk is full.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::model::pattern;
use crate::image::Image;
use crate::open_qcow2;
use crate::options::Options;
use crate::qcow2::Qcow2;
use crate::qcow2::check::check;
use crate::qcow2::create::{Layout, create};
use crate::qcow2::header::Header;
use crate::qcow2::slices::Slices;
use crate::storage::Storage;
use crate::testing::MemoryStorage;

thread_local! {
    /// Whether what this thread writes takes long to begin.
    static LATE: Cell<bool> = const { Cell::new(false) };
}

/// A disk that some threads wait for, and that may be full: it gets longer, but takes no bytes.
#[derive(Debug, Default)]
struct Troubled {
    now: MemoryStorage,
    /// Writes of more bytes than this find no space.
    most: AtomicUsize,
}

impl Storage for Troubled {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.now.read_at(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        if LATE.get() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let most = self.most.load(Ordering::Relaxed);
        if most > 0 && from.len() > most {
            self.now.write_at(&from[..most], at)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.now.write_at(from, at)
    }

    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        self.now.punch(at, len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
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

fn open(storage: &Arc<Troubled>) -> Qcow2 {
    let storage = Arc::clone(storage) as Arc<dyn Storage>;
    open_qcow2(storage, None, &Options::default()).unwrap()
}

/// A new image.
fn made(layout: &Layout) -> (Arc<Troubled>, Qcow2) {
    let storage: Arc<Troubled> = Arc::default();
    create(&*storage, layout).unwrap();
    let image = open(&storage);
    (storage, image)
}

fn header(storage: &Troubled) -> Header {
    Header::read(storage).unwrap()
}

fn assert_clean(storage: &Troubled) {
    let report = check(storage, &header(storage)).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn the_refcount_table_grows_while_a_commit_is_under_way() {
    const WRITERS: u64 = 2;
    const SIZE: u64 = 12 << 20;
    /// Not a multiple of a cluster: some are filled in two steps.
    const PIECE: u64 = 6000;
    // One cluster of refcount table describes 2 MiB of file.
    let (storage, image) = made(&Layout {
        cluster: 512,
        refcount_bits: 64,
        ..Layout::of_size(SIZE)
    });
    let before = header(&storage).reftable_clusters;
    let writing = AtomicBool::new(true);
    let pieces: Vec<u64> = (0..SIZE / PIECE).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                LATE.set(true);
                while writing.load(Ordering::Acquire) {
                    image.flush().unwrap();
                }
            });
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (image, pieces) = (&image, &pieces);
                scope.spawn(move || {
                    for &n in pieces.iter().filter(|&n| n % WRITERS == writer) {
                        image.write_at(&pattern(PIECE, n as u8), n * PIECE).unwrap();
                    }
                })
            })
            .collect();
        let written = writers.into_iter().all(|writer| writer.join().is_ok());
        writing.store(false, Ordering::Release);
        assert!(written);
    });
    drop(image);
    let after = header(&storage).reftable_clusters;
    assert!(after > before + 4, "{after}");
    assert_clean(&storage);
    let image = open(&storage);
    for n in pieces {
        let mut back = vec![0; PIECE as usize];
        image.read_at(&mut back, n * PIECE).unwrap();
        assert!(back == pattern(PIECE, n as u8), "piece {n}");
    }
}

#[test]
fn a_disk_that_cannot_grow_leaves_nothing_behind() {
    let (storage, image) = made(&Layout {
        cluster: 512,
        ..Layout::of_size(1 << 20)
    });
    image.write_at(&pattern(5000, 3), 70_000).unwrap();
    // The larger L1 table is 16 KiB; refcounts are written in less.
    storage.most.store(4096, Ordering::Relaxed);
    assert!(image.resize(64 << 20).is_err());
    drop(image);
    assert_clean(&storage);
    let image = open(&storage);
    assert!(image.resize(64 << 20).is_err());
    // What it took is used again, and nothing shows of what was written there.
    image.write_at(&pattern(300, 4), 500_000).unwrap();
    storage.most.store(0, Ordering::Relaxed);
    image.resize(64 << 20).unwrap();
    let mut back = vec![0; 1024];
    image.read_at(&mut back, 499_712).unwrap();
    assert!(back[288..588] == pattern(300, 4));
    assert!(
        back[..288]
            .iter()
            .chain(&back[588..])
            .all(|&byte| byte == 0)
    );
    let mut back = vec![0; 5000];
    image.read_at(&mut back, 70_000).unwrap();
    assert!(back == pattern(5000, 3));
    drop(image);
    assert_clean(&storage);
}

#[test]
fn a_refcount_table_that_cannot_grow_leaves_nothing_behind() {
    let (storage, image) = made(&Layout {
        cluster: 512,
        refcount_bits: 64,
        ..Layout::of_size(4 << 20)
    });
    // There is room for whatever is no longer than a cluster, which the larger table is.
    storage.most.store(512, Ordering::Relaxed);
    let written = (0..8192).take_while(|n| image.write_at(&pattern(512, 5), n * 512).is_ok());
    let written = written.count() as u64;
    assert!((3000..5000).contains(&written), "{written}");
    for _ in 0..5 {
        assert!(image.resize(64 << 20).is_err());
    }
    drop(image);
    assert_clean(&storage);
    storage.most.store(0, Ordering::Relaxed);
    let image = open(&storage);
    let bytes = pattern((8192 - written) * 512, 6);
    image.write_at(&bytes, written * 512).unwrap();
    let mut back = vec![0; bytes.len()];
    image.read_at(&mut back, written * 512).unwrap();
    assert!(back == bytes);
    drop(image);
    assert_clean(&storage);
}

#[test]
fn a_disk_that_has_no_room_to_grow_leaves_nothing_behind() {
    // The larger L1 table has 64 clusters, and needs another block of refcounts.
    for room in 0..64 {
        let (storage, image) = made(&Layout {
            cluster: 512,
            refcount_bits: 64,
            ..Layout::of_size(1 << 20)
        });
        let len = storage.len().unwrap();
        storage.now.limit(Some(len + room * 512));
        assert!(image.resize(128 << 20).is_err());
        drop(image);
        assert_clean(&storage);
    }
}

#[test]
fn a_copy_is_not_written_over_what_is_newer() {
    let storage = MemoryStorage::new(vec![0; 1024]);
    let mut slices = Slices::new(512, 1 << 20);
    slices.change(&storage, 0).unwrap().fill(1);
    slices.change(&storage, 512).unwrap().fill(1);
    let taken = slices.take_dirty();
    slices.change(&storage, 512).unwrap().fill(2);
    slices.write_now(&storage).unwrap();
    taken.write(&storage).unwrap();
    slices.settle(&taken, true);
    assert!(slices.is_clean());
    let bytes = storage.bytes();
    assert!(bytes[..512].iter().all(|&byte| byte == 1));
    assert!(bytes[512..].iter().all(|&byte| byte == 2));
    // What is taken later is newer again.
    slices.change(&storage, 512).unwrap().fill(3);
    let taken = slices.take_dirty();
    taken.write(&storage).unwrap();
    assert!(storage.bytes()[512..].iter().all(|&byte| byte == 3));
}
