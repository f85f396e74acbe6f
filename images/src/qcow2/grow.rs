//! Larger tables: a refcount table that describes a longer file, an L1 table for a larger disk.
//!
//! Both are contiguous, so a larger one is made behind everything, and the header is pointed to it
//! once it is durable.

use std::collections::BTreeSet;
use std::io;

use super::alloc::Space;
use super::spec::{MAX_REFTABLE_BYTES, set_refcount};
use super::tables::Tables;
use crate::storage::Storage;

/// Where the header has the place of the refcount table, and its clusters behind.
const HEADER_REFTABLE: u64 = 48;
/// Where the header has the disk's size; the L1 table's entries and place are behind.
const HEADER_SIZE: u64 = 24;

/// Makes the refcount table large enough for block `index`.
pub fn refcount_table(space: &mut Space, storage: &dyn Storage, index: u64) -> io::Result<()> {
    let geometry = space.geometry;
    let entries = geometry.block_entries();
    let first = space.used_len() >> geometry.cluster_bits;
    let old_len = space.table.len() as u64;
    // The table, and the blocks for it and for themselves; each makes the other larger.
    let (mut blocks, mut clusters) = (0, 0);
    let (missing, table_len) = loop {
        let last = (first + blocks + clusters).saturating_sub(1).max(first) / entries;
        let missing: Vec<u64> = (first / entries..=last)
            .filter(|&index| space.block(index) == 0)
            .collect();
        let wanted = (last + 1).max(index + 1).max(old_len);
        let table = geometry.clusters_for((wanted + wanted / 2) * 8);
        if (missing.len() as u64, table) == (blocks, clusters) {
            break (missing, table * geometry.cluster());
        }
        (blocks, clusters) = (missing.len() as u64, table);
    };
    if table_len > MAX_REFTABLE_BYTES.max(geometry.cluster()) {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the image cannot get larger with clusters of this size",
        ));
    }
    let used = first..first + blocks + clusters;
    space.advance(used.end);
    space.cover(storage, used.end << geometry.cluster_bits)?;
    let mut table = space.table.clone();
    table.resize(usize::try_from(table_len / 8).map_err(io::Error::other)?, 0);
    for (number, index) in (first..).zip(&missing) {
        let mut block = vec![0; geometry.cluster_len()];
        for cluster in used.clone().filter(|cluster| cluster / entries == *index) {
            let within = usize::try_from(cluster % entries).map_err(io::Error::other)?;
            set_refcount(&mut block, within, geometry.refcount_order, 1);
        }
        let at = number << geometry.cluster_bits;
        space.refs.forget(at, geometry.cluster());
        storage.write_at(&block, at)?;
        table[usize::try_from(*index).map_err(io::Error::other)?] = at;
    }
    // Where there is a block already, it is told.
    for cluster in used
        .clone()
        .filter(|cluster| !missing.contains(&(cluster / entries)))
    {
        space.set_refcount(storage, cluster, 1)?;
    }
    space.write_refcounts(storage)?;
    let table_at = (first + blocks) << geometry.cluster_bits;
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    storage.write_at(&bytes, table_at)?;
    storage.sync()?;
    let count = u32::try_from(clusters).map_err(io::Error::other)?;
    let mut field = table_at.to_be_bytes().to_vec();
    field.extend(count.to_be_bytes());
    storage.write_at(&field, HEADER_REFTABLE)?;
    storage.sync()?;
    let old = space.table_offset >> geometry.cluster_bits;
    for cluster in old..old + geometry.clusters_for(old_len * 8) {
        space.drop_later(cluster);
    }
    space.metadata.extend(used);
    space.table = table;
    space.table_offset = table_at;
    Ok(())
}

/// Writes the disk's size into the header, with an L1 table that is large enough.
pub fn set_size(tables: &mut Tables, size: u64) -> io::Result<()> {
    let geometry = tables.geometry;
    let wanted = geometry.l1_entries(size);
    let storage = std::sync::Arc::clone(&tables.storage);
    let old = (tables.l1_offset, tables.l1.len() as u64);
    let mut place = tables.l1_offset;
    let mut l1 = tables.l1.clone();
    if wanted > old.1 {
        l1.resize(usize::try_from(wanted).map_err(io::Error::other)?, 0);
        let count = geometry.clusters_for(wanted * 8);
        let first = tables.space.allocate_run(&*storage, count)?;
        place = first << geometry.cluster_bits;
        if let Err(error) = write_l1(tables, &l1, place) {
            // Nothing names it yet.
            tables.space.abandon_run(&*storage, first, count);
            return Err(error);
        }
        tables.l2.forget(place, count << geometry.cluster_bits);
        tables.space.metadata.extend(first..first + count);
    }
    let mut field = size.to_be_bytes().to_vec();
    field.extend([0; 4]); // no encryption
    field.extend(
        u32::try_from(l1.len())
            .map_err(io::Error::other)?
            .to_be_bytes(),
    );
    field.extend(place.to_be_bytes());
    storage.write_at(&field, HEADER_SIZE)?;
    storage.sync()?;
    if place != old.0 {
        // All entries of the new table are in the file, those that had not been written too.
        tables.l1_dirty = BTreeSet::new();
        let first = old.0 >> geometry.cluster_bits;
        for cluster in first..first + geometry.clusters_for(old.1 * 8) {
            tables.space.drop_later(cluster);
        }
    }
    tables.l1_offset = place;
    tables.l1 = l1;
    Ok(())
}

/// Makes an L1 table durable in clusters of its own.
fn write_l1(tables: &mut Tables, l1: &[u64], place: u64) -> io::Result<()> {
    let mut bytes: Vec<u8> = l1.iter().flat_map(|entry| entry.to_be_bytes()).collect();
    bytes.resize(
        bytes.len().next_multiple_of(tables.geometry.cluster_len()),
        0,
    );
    tables.space.write_refcounts(&*tables.storage)?;
    tables.storage.write_at(&bytes, place)?;
    tables.storage.sync()
}
