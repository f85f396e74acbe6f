//! Disk images: whatever a file holds, it is opened, read, written and checked, or refused.

use std::sync::Arc;

use images::qcow2::check::check;
use images::qcow2::create::{Layout, create};
use images::qcow2::header::Header;
use images::qcow2::repair::repair;
use images::testing::MemoryStorage;
use images::{Compression, Extent, Image, Options, Storage, open_qcow2};

use crate::bytes::Bytes;

/// Bytes at the start of an input that are no image but say what is done to it.
const SCRIPT: usize = 32;
/// Bytes that one request moves at most.
const MOST: u64 = 1 << 18;

/// An image's file: used as a guest and its user would.
pub fn image(data: &[u8]) {
    let (script, file) = data.split_at(data.len().min(SCRIPT));
    let storage = Arc::new(MemoryStorage::new(file.to_owned()));
    if let Ok(header) = Header::read(&*storage) {
        let _ = check(&*storage, &header);
    }
    let mut script = Bytes::new(script);
    for readonly in [true, false] {
        let options = Options {
            readonly,
            ..Options::default()
        };
        let shared = Arc::clone(&storage) as Arc<dyn Storage>;
        match open_qcow2(shared, None, &options) {
            Ok(image) => drive(&image, &mut script),
            Err(problem) => assert!(!problem.to_string().contains('\n'), "{problem}"),
        }
    }
    if let Ok(header) = Header::read(&*storage) {
        let _ = repair(&*storage, &header);
    }
}

/// Some requests at places of the script's choice, and at both ends.
fn drive(image: &dyn Image, script: &mut Bytes<'_>) {
    let size = image.size();
    for at in [0, size.saturating_sub(700), script.u64() % size.max(1)] {
        let len = u64::from(script.u16()).min(size - at).min(MOST);
        let mut bytes = vec![0; len as usize];
        if image.read_at(&mut bytes, at).is_ok() {
            check_extent(image, at, len, &bytes);
        }
        let _ = image.write_at(&bytes, at);
        if script.flag() {
            let _ = image.flush();
        }
        let _ = image.write_zeroes(at, len / 2, script.flag());
        let _ = image.discard(at, len);
        if image.write_at(&vec![0x5a; len as usize], at).is_ok() {
            let mut back = vec![0; len as usize];
            let read = image.read_at(&mut back, at);
            assert!(read.is_err() || back.iter().all(|&byte| byte == 0x5a));
        }
    }
    let _ = image.resize(size.saturating_add(u64::from(script.u32())));
}

/// What is said to be zero reads as zero.
fn check_extent(image: &dyn Image, at: u64, len: u64, bytes: &[u8]) {
    match image.extent(at, len) {
        Ok(Extent::Zero(zeroes)) => {
            assert!(zeroes <= len && bytes[..zeroes as usize].iter().all(|&byte| byte == 0));
        }
        Ok(Extent::Data(_) | Extent::Indirect(_)) | Err(_) => {}
    }
}

/// Images with a little in them, of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let kinds = [
        (512, 16, true, Compression::Zlib),
        (512, 1, true, Compression::Zstd),
        (1024, 64, true, Compression::Zlib),
        (512, 16, false, Compression::Zlib),
    ];
    kinds.into_iter().filter_map(seed).collect()
}

fn seed(
    (cluster, refcount_bits, v3, compression): (u64, u32, bool, Compression),
) -> Option<Vec<u8>> {
    let storage = Arc::new(MemoryStorage::default());
    let layout = Layout {
        cluster,
        refcount_bits,
        v3,
        compression,
        ..Layout::of_size(64 << 10)
    };
    create(&*storage, &layout).ok()?;
    let shared = Arc::clone(&storage) as Arc<dyn Storage>;
    let image = open_qcow2(shared, None, &Options::default()).ok()?;
    image.write_at(&[7; 1500], 300).ok()?;
    image
        .write_compressed(&vec![9; cluster as usize], 32 << 10)
        .ok()?;
    image.write_zeroes(0, cluster, true).ok()?;
    drop(image);
    let mut bytes = vec![3; SCRIPT];
    bytes.extend(storage.bytes());
    Some(bytes)
}
