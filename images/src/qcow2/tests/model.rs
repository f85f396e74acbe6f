//! Whatever is done to an image, it reads as an array of bytes to which the same was done, and is
//! consistent afterwards.

use std::sync::Arc;

use proptest::prelude::*;

use crate::image::{Extent, Image};
use crate::open_qcow2;
use crate::options::Options;
use crate::qcow2::Qcow2;
use crate::qcow2::check::check;
use crate::qcow2::create::{Layout, create};
use crate::qcow2::header::Header;
use crate::raw::Raw;
use crate::storage::Storage;
use crate::testing::MemoryStorage;

/// What a guest, or who runs it, does.
#[derive(Clone, Debug)]
pub enum Action {
    Write(u64, u64, u8),
    Discard(u64, u64),
    Zero(u64, u64, bool),
    Flush,
    Resize(u64),
    Reopen,
}

/// Actions on a disk of about `size` bytes.
pub fn actions(size: u64) -> impl Strategy<Value = Vec<Action>> {
    let range = move || (0..size, prop_oneof![1..2000u64, 1..size / 2]);
    let action = prop_oneof![
        6 => (range(), 1u8..).prop_map(|((at, len), byte)| Action::Write(at, len, byte)),
        2 => range().prop_map(|(at, len)| Action::Discard(at, len)),
        2 => (range(), any::<bool>()).prop_map(|((at, len), unmap)| Action::Zero(at, len, unmap)),
        2 => Just(Action::Flush),
        1 => (size / 4..size * 5 / 4).prop_map(Action::Resize),
        1 => Just(Action::Reopen),
    ];
    proptest::collection::vec(action, 1..40)
}

/// Bytes that differ from place to place.
pub fn pattern(len: u64, byte: u8) -> Vec<u8> {
    (0..len).map(|n| byte ^ (n / 61) as u8 | 1).collect()
}

#[derive(Clone, Debug)]
struct Case {
    cluster: u64,
    refcount_bits: u32,
    v3: bool,
    backing: Option<u64>,
    size: u64,
    actions: Vec<Action>,
}

fn cases() -> impl Strategy<Value = Case> {
    (0u32..5, 0u32..7, any::<bool>(), any::<bool>()).prop_flat_map(|(bits, order, v3, backing)| {
        let cluster = 512 << bits;
        let size = cluster * 70;
        let backing_size = (0..size + cluster).prop_map(move |len| backing.then_some(len));
        (backing_size, size - cluster..size, actions(size)).prop_map(
            move |(backing, size, actions)| Case {
                cluster,
                refcount_bits: if v3 { 1 << order } else { 16 },
                v3,
                backing,
                size,
                actions,
            },
        )
    })
}

fn backing(len: Option<u64>) -> Option<Arc<dyn Image>> {
    let storage = MemoryStorage::new(pattern(len?, 0x5a));
    let raw = Raw::new(Arc::new(storage), true, false, false).unwrap();
    Some(Arc::new(raw))
}

fn read_all(image: &dyn Image) -> Vec<u8> {
    let mut bytes = vec![0xee; image.size() as usize];
    image.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// Reads what extents say, where they say zero.
fn check_extents(image: &dyn Image, bytes: &[u8]) {
    let mut at = 0;
    while at < image.size() {
        let extent = image.extent(at, image.size() - at).unwrap();
        assert!(!extent.is_empty());
        if let Extent::Zero(len) = extent {
            assert!(
                bytes[at as usize..(at + len) as usize]
                    .iter()
                    .all(|&byte| byte == 0)
            );
        }
        at += extent.len();
    }
}

/// Where a discard may have made zeroes of bytes, the model learns which.
fn learn(image: &dyn Image, model: &mut [u8], at: u64, len: u64) {
    let mut now = vec![0; len as usize];
    image.read_at(&mut now, at).unwrap();
    for (new, old) in now.iter().zip(&mut model[at as usize..]) {
        assert!(*new == *old || *new == 0);
        *old = *new;
    }
}

fn apply(image: &Qcow2, model: &mut Vec<u8>, case: &Case, action: &Action) {
    let clip = |at: u64, len: u64| {
        let size = image.size();
        let at = at.min(size);
        (at, len.min(size - at))
    };
    match *action {
        Action::Write(at, len, byte) => {
            let (at, len) = clip(at, len);
            let bytes = pattern(len, byte);
            image.write_at(&bytes, at).unwrap();
            model[at as usize..][..len as usize].copy_from_slice(&bytes);
        }
        Action::Discard(at, len) => {
            let (at, len) = clip(at, len);
            image.discard(at, len).unwrap();
            learn(image, model, at, len);
        }
        Action::Zero(at, len, unmap) => {
            let (at, len) = clip(at, len);
            image.write_zeroes(at, len, unmap).unwrap();
            model[at as usize..][..len as usize].fill(0);
        }
        Action::Flush => image.flush().unwrap(),
        Action::Resize(size) => {
            let size = size.min(case.size * 2);
            image.resize(size).unwrap();
            model.resize(size as usize, 0);
        }
        Action::Reopen => {}
    }
}

fn run(case: &Case) {
    let storage: Arc<MemoryStorage> = Arc::default();
    let layout = Layout {
        cluster: case.cluster,
        refcount_bits: case.refcount_bits,
        v3: case.v3,
        ..Layout::of_size(case.size)
    };
    create(&*storage, &layout).unwrap();
    let open = || {
        let storage: Arc<dyn Storage> = Arc::clone(&storage) as Arc<dyn Storage>;
        open_qcow2(storage, backing(case.backing), &Options::default()).unwrap()
    };
    let mut model = pattern(case.backing.unwrap_or(0), 0x5a);
    model.resize(case.size as usize, 0);
    let mut image = open();
    assert!(read_all(&image) == model);
    for action in &case.actions {
        if let Action::Reopen = action {
            drop(image);
            let header = Header::read(&*storage).unwrap();
            let report = check(&*storage, &header).unwrap();
            assert!(report.is_clean(), "{report:?}");
            image = open();
        }
        apply(&image, &mut model, case, action);
        assert!(read_all(&image) == model, "after {action:?}");
    }
    check_extents(&image, &model);
    drop(image);
    let header = Header::read(&*storage).unwrap();
    let report = check(&*storage, &header).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert!(read_all(&open()) == model);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_image_is_an_array_of_bytes(case in cases()) {
        run(&case);
    }
}

#[test]
fn a_full_disk_of_the_host_is_an_error_and_nothing_worse() {
    let storage: Arc<MemoryStorage> = Arc::default();
    let layout = Layout {
        cluster: 4096,
        ..Layout::of_size(4 << 20)
    };
    create(&*storage, &layout).unwrap();
    let shared: Arc<dyn Storage> = Arc::clone(&storage) as Arc<dyn Storage>;
    let image = open_qcow2(shared, None, &Options::default()).unwrap();
    image.write_at(&pattern(100_000, 7), 1_000_000).unwrap();
    storage.limit(Some(storage.bytes().len() as u64 + 10_000));
    let mut failed = 0;
    for at in 0..200 {
        let bytes = pattern(8192, at as u8);
        failed += u32::from(image.write_at(&bytes, at * 20_000).is_err());
    }
    assert!(failed > 100, "{failed}");
    let mut back = vec![0; 1000];
    image.read_at(&mut back, 3_999_000).unwrap();
    storage.limit(None);
    image.write_at(&pattern(500_000, 9), 2_000_000).unwrap();
    image.flush().unwrap();
    let mut back = vec![0; 500_000];
    image.read_at(&mut back, 2_000_000).unwrap();
    assert!(back == pattern(500_000, 9));
    drop(image);
    let header = Header::read(&*storage).unwrap();
    let report = check(&*storage, &header).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn threads_that_write_apart_do_not_disturb_each_other() {
    const THREADS: u64 = 4;
    const SIZE: u64 = 4 << 20;
    let mark = |thread: u64, round: u64| (thread * 50 + round % 50) as u8;
    let storage: Arc<MemoryStorage> = Arc::default();
    let layout = Layout {
        cluster: 4096,
        ..Layout::of_size(SIZE)
    };
    create(&*storage, &layout).unwrap();
    let shared: Arc<dyn Storage> = Arc::clone(&storage) as Arc<dyn Storage>;
    let image = open_qcow2(shared, backing(Some(SIZE)), &Options::default()).unwrap();
    // Sectors of a cluster belong to different threads: they meet at every allocation.
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let image = &image;
            scope.spawn(move || {
                for round in 0..SIZE / 512 / THREADS {
                    let sector = (round * 7919 % (SIZE / 512 / THREADS)) * THREADS + thread;
                    let bytes = pattern(512, mark(thread, round));
                    image.write_at(&bytes, sector * 512).unwrap();
                    let mut back = vec![0; 512];
                    image.read_at(&mut back, sector * 512).unwrap();
                    assert!(back == bytes);
                    match round % 64 {
                        0 => image.flush().unwrap(),
                        9 => image.discard(sector * 512, 512).unwrap(),
                        _ => {}
                    }
                }
            });
        }
    });
    for thread in 0..THREADS {
        for round in 0..SIZE / 512 / THREADS {
            let sector = (round * 7919 % (SIZE / 512 / THREADS)) * THREADS + thread;
            let mut back = vec![0; 512];
            image.read_at(&mut back, sector * 512).unwrap();
            assert!(back == pattern(512, mark(thread, round)));
        }
    }
    drop(image);
    let header = Header::read(&*storage).unwrap();
    assert!(check(&*storage, &header).unwrap().is_clean());
}
