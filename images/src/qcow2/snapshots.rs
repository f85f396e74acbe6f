//! Internal snapshots: read, so that nothing of theirs is overwritten. They are neither made nor
//! taken back here.
//!
//! Their table is contiguous; its entries have different lengths, and begin at multiples of 8 bytes:
//! see there in QEMU's `docs/interop/qcow2.txt`.

use std::io;

use super::fields::{u16_at, u32_at, u64_at};
use super::header::Header;
use super::spec::{MAX_L1_BYTES, MAX_SNAPSHOT_BYTES, SNAPSHOT_ALIGN, SNAPSHOT_ENTRY};
use super::tables::corrupt;
use crate::storage::Storage;

/// A snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier; what is not UTF-8 in it and in the name is U+FFFD.
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
    let mut found = Vec::new();
    let file_len = storage.len()?;
    let mut len = 0u64;
    for number in 0..header.snapshots {
        let cannot_be = |what: &str| corrupt(format!("snapshot {number} {what}"));
        // The table begins where a cluster does, so this aligns places in the file too.
        let start = len.next_multiple_of(SNAPSHOT_ALIGN);
        let at = header.snapshots_offset.checked_add(start);
        let at = at.filter(|at| *at <= file_len);
        let at = at.ok_or_else(|| cannot_be("is behind the end of the file"))?;
        let (snapshot, entry_len) = read_entry(storage, at)?;
        len = start + entry_len;
        if entry_len > file_len - at {
            return Err(cannot_be("is not all in the file, which may be cut short"));
        }
        if len > MAX_SNAPSHOT_BYTES {
            return Err(cannot_be("makes their table too large"));
        }
        let (l1_at, l1_len) = (snapshot.l1_offset, u64::from(snapshot.l1_size) * 8);
        let aligned = l1_at.is_multiple_of(header.geometry.cluster());
        let placed = aligned && (l1_at > 0 || l1_len == 0);
        let inside = l1_at.checked_add(l1_len).is_some_and(|end| end <= file_len);
        if !placed || !inside || l1_len > MAX_L1_BYTES {
            let what = format!("has an L1 table of {l1_len} bytes at {l1_at:#x}, which cannot be");
            return Err(cannot_be(&what));
        }
        found.push(snapshot);
    }
    Ok((found, len))
}

/// One entry of the table, and its bytes without what aligns the next one. What of it is behind the
/// file's end is zero: the caller compares lengths.
fn read_entry(storage: &dyn Storage, at: u64) -> io::Result<(Snapshot, u64)> {
    let mut fixed = [0; SNAPSHOT_ENTRY];
    storage.read_at(&mut fixed, at)?;
    let id_len = usize::from(u16_at(&fixed, 12)?);
    let name_len = usize::from(u16_at(&fixed, 14)?);
    // What else the snapshot has (sizes of its memory and disk, and what is still to come) is between
    // the fixed part and its identifier.
    let extra = u64::from(u32_at(&fixed, 36)?);
    let before_names = SNAPSHOT_ENTRY as u64 + extra;
    let mut names = vec![0; id_len + name_len];
    storage.read_at(&mut names, at.saturating_add(before_names))?;
    let (id, name) = names.split_at(id_len);
    let snapshot = Snapshot {
        id: String::from_utf8_lossy(id).into_owned(),
        name: String::from_utf8_lossy(name).into_owned(),
        l1_offset: u64_at(&fixed, 0)?,
        l1_size: u32_at(&fixed, 8)?,
        seconds: u32_at(&fixed, 16)?,
    };
    Ok((snapshot, before_names + names.len() as u64))
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

#[cfg(test)]
mod tests {
    use crate::qcow2::create::{Layout, create};
    use crate::testing::MemoryStorage;

    use super::*;

    const CLUSTER: u64 = 65536;
    /// Where the tables of these tests are: snapshots, and an L1 table for all of them.
    const TABLE: u64 = 8 * CLUSTER;
    const L1: u64 = 9 * CLUSTER;

    /// An entry with so much extra data, aligned for the next one.
    fn entry(extra: usize, id: &[u8], name: &[u8]) -> Vec<u8> {
        let mut bytes = L1.to_be_bytes().to_vec();
        bytes.extend(1u32.to_be_bytes());
        bytes.extend((id.len() as u16).to_be_bytes());
        bytes.extend((name.len() as u16).to_be_bytes());
        bytes.extend(1_700_000_000u32.to_be_bytes());
        bytes.resize(36, 0x33);
        bytes.extend((extra as u32).to_be_bytes());
        // Read as names or as an entry, this is a wrong one.
        bytes.resize(SNAPSHOT_ENTRY + extra, 0xee);
        bytes.extend(id);
        bytes.extend(name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// An image with these entries in its table of snapshots.
    fn image(entries: &[Vec<u8>]) -> (MemoryStorage, Header) {
        let storage = MemoryStorage::default();
        create(&storage, &Layout::of_size(1 << 20)).unwrap();
        storage.set_len(L1 + CLUSTER).unwrap();
        storage.write_at(&entries.concat(), TABLE).unwrap();
        let mut header = Header::read(&storage).unwrap();
        header.snapshots = entries.len() as u32;
        header.snapshots_offset = TABLE;
        (storage, header)
    }

    fn refused(storage: &MemoryStorage, header: &Header, said: &str) {
        let error = read(storage, header).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(said), "{error}");
    }

    #[test]
    fn entries_with_all_sizes_of_extra_data_are_read() {
        let names: [(&[u8], &[u8]); 4] = [
            (b"1", b"first"),
            (b"22", b"a name of many words"),
            (b"333", b""),
            (b"4", b"seven.7"),
        ];
        for extra in [0, 16, 24, 40] {
            let entries = names.map(|(id, name)| entry(extra, id, name));
            let (storage, header) = image(&entries);
            let (found, len) = read(&storage, &header).unwrap();
            assert_eq!(found.len(), names.len());
            for (found, (id, name)) in found.iter().zip(names) {
                assert_eq!((found.id.as_bytes(), found.name.as_bytes()), (id, name));
                let rest = (found.l1_offset, found.l1_size, found.seconds);
                assert_eq!(rest, (L1, 1, 1_700_000_000));
            }
            let whole = entries.concat().len() as u64;
            assert_eq!(len.next_multiple_of(8), whole, "{extra}");
            let mut expected = vec![(TABLE, len)];
            expected.extend([(L1, 8); 4]);
            assert_eq!(places(&storage, &header).unwrap(), expected);
        }
    }

    #[test]
    fn names_that_are_no_text_are_marked_and_mislead_nobody() {
        let (storage, header) = image(&[
            entry(24, b"\xff1", b"\xc3( name \xf0"),
            entry(24, b"2", b"na\xc3\xafve"),
        ]);
        let (found, _) = read(&storage, &header).unwrap();
        assert_eq!(
            (&*found[0].id, &*found[0].name),
            ("\u{fffd}1", "\u{fffd}( name \u{fffd}")
        );
        assert_eq!((&*found[1].id, &*found[1].name), ("2", "na\u{ef}ve"));
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        let good = || entry(24, b"1", b"one");
        let changed = |at: usize, bytes: &[u8]| {
            let mut entry = good();
            entry[at..at + bytes.len()].copy_from_slice(bytes);
            entry
        };
        for (second, said) in [
            (
                changed(0, &(L1 + 512).to_be_bytes()),
                "snapshot 1 has an L1",
            ),
            (changed(0, &(1u64 << 40).to_be_bytes()), "at 0x10000000000"),
            (changed(0, &0u64.to_be_bytes()), "at 0x0"),
            (
                changed(0, &(u64::MAX << 16).to_be_bytes()),
                "which cannot be",
            ),
            (changed(8, &8193u32.to_be_bytes()), "of 65544 bytes"),
            (
                changed(36, &u32::MAX.to_be_bytes()),
                "is not all in the file",
            ),
        ] {
            let (storage, header) = image(&[good(), second]);
            refused(&storage, &header, said);
        }
        let (storage, mut header) = image(&[good(), good()]);
        assert!(read(&storage, &header).is_ok());
        // The file ends in the second entry's name, in the first, and before the table.
        header.snapshots_offset = L1 + CLUSTER;
        let entry_len = good().len() as u64;
        let table = [good(), good()].concat();
        storage.write_at(&table, header.snapshots_offset).unwrap();
        assert!(read(&storage, &header).is_ok());
        for (len, said) in [
            (2 * entry_len - 6, "snapshot 1 is not all in the file"),
            (entry_len - 8, "snapshot 0 is not all in the file"),
        ] {
            storage.set_len(header.snapshots_offset + len).unwrap();
            refused(&storage, &header, said);
        }
        storage.set_len(header.snapshots_offset - 8).unwrap();
        refused(&storage, &header, "snapshot 0 is behind the end");
    }
}
