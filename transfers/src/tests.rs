//! What is true of a ring, where the host has one. Where it has none, that is said, and nothing else.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use aarch64::{Gpa, PAGE_SIZE};
use memory::{Access, Layout, Pieces, Prot, Region};

use super::*;

fn ring(most: u16) -> Option<Ring<usize>> {
    match Ring::new(most) {
        Ok(ring) => Some(ring),
        Err(error) => {
            eprintln!("SKIPPED: the host has no io_uring: {error}");
            None
        }
    }
}

fn memory(pages: u64) -> (Arc<Region>, Arc<Layout>) {
    let region = Arc::new(Region::new(pages * PAGE_SIZE).unwrap());
    let layout = Layout::default().with(Gpa(0), Arc::clone(&region), Prot::ReadWrite);
    (region, Arc::new(layout.unwrap()))
}

fn pieces(memory: &Arc<Layout>, list: &[(u64, u64)]) -> Pieces {
    let mut pieces = Pieces::new(Arc::clone(memory));
    for (at, len) in list {
        pieces.push(Gpa(*at), *len, Access::Write).unwrap();
    }
    pieces
}

/// A file with these bytes, and no name.
fn file(test: &str, bytes: &[u8]) -> Arc<File> {
    let name = format!("armlet-transfers-{test}-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Arc::new(file)
}

fn transfer(way: Way, pieces: &Pieces, file: &Arc<File>, at: u64) -> Transfer {
    Transfer {
        way,
        pieces: pieces.clone(),
        range: 0..pieces.len(),
        file: Arc::clone(file),
        at,
    }
}

/// The pages of so many buffers of two granules of 4 KiB each.
fn pages_of(buffers: u64) -> u64 {
    buffers * 0x2000 / PAGE_SIZE
}

/// Waits for all that is under way: the outcomes by token.
fn finish(ring: &mut Ring<usize>) -> Vec<(usize, std::io::Result<u64>)> {
    let mut all = Vec::new();
    while ring.under_way() > 0 {
        ring.wait(None).unwrap();
        while let Some(Done { token, moved }) = ring.reap() {
            all.push((token, moved));
        }
    }
    all.sort_by_key(|(token, _)| *token);
    all
}

#[test]
fn many_transfers_each_move_their_own_bytes() {
    let Some(mut ring) = ring(16) else { return };
    let (region, memory) = memory(64);
    let text: Vec<u8> = (0..64 * 1024_u32).map(|n| (n ^ n >> 8) as u8).collect();
    let file = file("many", &text);
    region.start_device_log();
    // Even ones are read, odd ones written; each has a kibibyte in two pieces.
    let buffers: Vec<_> = (0..16)
        .map(|n| pieces(&memory, &[(0x2000 * n, 512), (0x2000 * n + 0x1000, 512)]))
        .collect();
    for (n, buffer) in buffers.iter().enumerate() {
        let at = 1024 * n as u64;
        let way = if n % 2 == 0 { Way::In } else { Way::Out };
        if way == Way::Out {
            buffer.copy_from(0, &[n as u8; 1024]).unwrap();
        }
        ring.begin(n, transfer(way, buffer, &file, at)).unwrap();
    }
    // This test wrote what goes out.
    assert_eq!(region.take_device_log().count(), pages_of(8));
    assert!(!ring.has_room() && ring.under_way() == 16);
    let full = ring.begin(99, transfer(Way::In, &buffers[0], &file, 0));
    assert_eq!(full, Err(99));
    for (n, (token, moved)) in finish(&mut ring).into_iter().enumerate() {
        assert_eq!((token, moved.unwrap()), (n, 1024));
    }
    // The ring wrote what comes in.
    assert_eq!(region.take_device_log().count(), pages_of(8));
    for (n, buffer) in buffers.iter().enumerate() {
        let (mut found, range) = ([0; 1024], n * 1024..(n + 1) * 1024);
        if n % 2 == 0 {
            buffer.copy_to(0, &mut found).unwrap();
            assert!(found == text[range], "{n}");
        } else {
            file.read_exact_at(&mut found, range.start as u64).unwrap();
            assert_eq!(found, [n as u8; 1024]);
        }
    }
}

#[test]
fn an_outcome_says_what_the_host_did() {
    let Some(mut ring) = ring(4) else { return };
    let (_, memory) = memory(4);
    let file = file("outcomes", &[7; 1000]);
    let buffer = pieces(&memory, &[(0, 512)]);
    let null = Arc::new(File::open("/dev/null").unwrap());
    ring.begin(0, transfer(Way::In, &buffer, &file, 0)).unwrap();
    ring.begin(1, transfer(Way::In, &buffer, &file, 512))
        .unwrap();
    ring.begin(2, transfer(Way::In, &buffer, &file, 1000))
        .unwrap();
    ring.begin(3, transfer(Way::Out, &buffer, &null, 0))
        .unwrap();
    let moved: Vec<_> = finish(&mut ring)
        .into_iter()
        .map(|(_, moved)| moved.ok())
        .collect();
    assert_eq!(moved, [Some(512), Some(488), Some(0), None]);
}

#[test]
fn what_a_ring_cannot_do_it_does_not_take() {
    let Some(mut ring) = ring(2) else { return };
    let (_, memory) = memory(4);
    let file = file("refused", &[0; 512]);
    let nothing = pieces(&memory, &[]);
    assert_eq!(ring.begin(1, transfer(Way::In, &nothing, &file, 0)), Err(1));
    let beyond = Transfer {
        range: 0..513,
        ..transfer(Way::In, &pieces(&memory, &[(0, 512)]), &file, 0)
    };
    assert_eq!(ring.begin(2, beyond), Err(2));
    let list: Vec<_> = (0..1000).map(|n| (16 * n, 8)).collect();
    let torn = pieces(&memory, &list);
    assert_eq!(ring.begin(3, transfer(Way::In, &torn, &file, 0)), Err(3));
    assert_eq!(ring.under_way(), 0);
    assert!(ring.has_room());
}

#[test]
fn a_wait_ends_in_time_and_the_end_waits_for_what_is_under_way() {
    let Some(mut ring) = ring(4) else { return };
    let (_, memory) = memory(4);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let pipe = Arc::new(File::from(std::os::fd::OwnedFd::from(reader)));
    let buffer = pieces(&memory, &[(0, 5)]);
    // A pipe has no places, and takes this for "where it stands".
    ring.begin(7, transfer(Way::In, &buffer, &pipe, u64::MAX))
        .unwrap();
    ring.wait(Some(Duration::from_millis(5))).unwrap();
    assert!(ring.reap().is_none());
    assert_eq!(ring.under_way(), 1);
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        std::io::Write::write_all(&mut writer, b"hello").unwrap();
        writer
    });
    let file = file("end", &[1; 16]);
    let other = pieces(&memory, &[(64, 16)]);
    ring.begin(8, transfer(Way::In, &other, &file, 0)).unwrap();
    assert_eq!(ring.give_up(), [7, 8]);
    let mut bytes = [0; 5];
    memory.read(Gpa(0), &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    memory.read(Gpa(64), &mut bytes).unwrap();
    assert_eq!(bytes, [0; 5], "it was never begun");
    later.join().unwrap();
}

#[test]
fn a_ring_of_nothing_is_none() {
    assert_ne!(
        Ring::<usize>::new(0).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
