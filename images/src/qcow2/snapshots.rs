//! Internal snapshots: read, so that nothing of theirs is overwritten. They are neither made nor
//! taken back here.

use std::io;

use super::header::{Header, u64_at};
use super::spec::{MAX_L1_BYTES, MAX_SNAPSHOT_BYTES};
use super::tables::corrupt;
use crate::storage::Storage;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where its L1 table is.
    pub l1_offset: u64,
    /// The entries of that.
    pub l1_size: u32,
    /// When it was taken, in seconds since 1970.
    pub seconds: u32,
}

/// The table of snapshots, and its bytes.
pub fn read(storage: &dyn Storage, header: &Header) -> io::Result<(Vec<Snapshot>, u64)> {
    const FIXED: usize = 40;
    let mut found = Vec::new();
    let mut at = 0u64;
    let file_len = storage.len()?;
    for number in 0..header.snapshots {
        let mut fixed = [0; FIXED];
        storage.read_at(&mut fixed, header.snapshots_offset + at)?;
        let short = |at: usize| usize::from(u16::from_be_bytes([fixed[at], fixed[at + 1]]));
        let word = |at: usize| (u64_at(&fixed, at) >> 32) as u32;
        let extra = u64::from(word(36));
        let mut names = vec![0; short(12) + short(14)];
        storage.read_at(
            &mut names,
            (header.snapshots_offset + at).saturating_add(FIXED as u64 + extra),
        )?;
        let (id, name) = names.split_at(short(12));
        let snapshot = Snapshot {
            id: String::from_utf8_lossy(id).into_owned(),
            name: String::from_utf8_lossy(name).into_owned(),
            l1_offset: u64_at(&fixed, 0),
            l1_size: word(8),
            seconds: word(16),
        };
        let aligned = snapshot.l1_offset.is_multiple_of(header.geometry.cluster());
        let l1_len = u64::from(snapshot.l1_size) * 8;
        let l1_end = snapshot.l1_offset.checked_add(l1_len);
        let fits = l1_len <= MAX_L1_BYTES && l1_end.is_some_and(|end| end <= file_len);
        let len = FIXED as u64 + extra + names.len() as u64;
        at += len.next_multiple_of(8);
        if !aligned || !fits || at > MAX_SNAPSHOT_BYTES {
            return Err(corrupt(format!("snapshot {number} cannot be")));
        }
        found.push(snapshot);
    }
    Ok((found, at))
}

/// The parts of the file that tables of snapshots are in: places and lengths.
pub fn places(storage: &dyn Storage, header: &Header) -> io::Result<Vec<(u64, u64)>> {
    let (snapshots, len) = read(storage, header)?;
    let mut places = vec![(header.snapshots_offset, len)];
    places.extend(
        snapshots
            .iter()
            .map(|snapshot| (snapshot.l1_offset, u64::from(snapshot.l1_size) * 8)),
    );
    places.retain(|(_, len)| *len > 0);
    Ok(places)
}
