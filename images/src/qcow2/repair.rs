//! Mending what a check found, as far as refcounts and flags mend it.
//!
//! Refcounts that are too high are lowered in place. If one is too low, or has no place, all are made
//! anew behind the end of the file. What is wrong beyond that would need a guess, and is left alone.

use std::collections::BTreeSet;
use std::io;

use super::check::{Check, Report, check};
use super::header::Header;
use super::spec::{
    COPIED, MAX_REFTABLE_BYTES, Mapping, OFFSET, incompatible, refcount, set_refcount,
};
use super::tables::read_table;
use crate::error::Problem;
use crate::storage::Storage;

/// Where the header has the incompatible features.
const HEADER_INCOMPATIBLE: u64 = 72;
/// Where the header has the place of the refcount table, and its clusters behind.
const HEADER_REFTABLE: u64 = 48;

/// Mends an image. What was found first, and what is left.
///
/// # Errors
/// The host's, or that the image's tables cannot be read at all.
pub fn repair(storage: &dyn Storage, header: &Header) -> Result<(Report, Report), Problem> {
    let host = |error| Problem::Host("repair it", error);
    let mut found = Check::new(storage, header).map_err(host)?;
    found.run().map_err(host)?;
    if found.report.is_clean() || found.hopeless {
        return Ok((found.report.clone(), found.report));
    }
    if found.low {
        rebuild(&mut found).map_err(host)?;
    } else if found.report.leaks > 0 {
        lower(&found).map_err(host)?;
    }
    if found.wrong_flags > 0 {
        mend_flags(&found).map_err(host)?;
    }
    let mut mended = header.clone();
    mended.incompatible &= !(incompatible::DIRTY | incompatible::CORRUPT);
    let mark = || -> io::Result<()> {
        storage.sync()?;
        if header.geometry.v3 {
            storage.write_at(&mended.incompatible.to_be_bytes(), HEADER_INCOMPATIBLE)?;
        }
        storage.sync()
    };
    mark().map_err(host)?;
    let header = Header::read(storage)?;
    let left = check(storage, &header).map_err(host)?;
    Ok((found.report, left))
}

/// Lowers refcounts that are too high.
fn lower(found: &Check<'_>) -> io::Result<()> {
    let order = found.geometry.refcount_order;
    let entries = found.geometry.block_entries();
    for (index, &at) in (0..).zip(&found.table).filter(|(_, at)| **at != 0) {
        let mut block = vec![0; found.geometry.cluster_len()];
        found.storage.read_at(&mut block, at)?;
        let mut changed = false;
        for n in 0..usize::try_from(entries).map_err(io::Error::other)? {
            let uses = found.uses.of(index * entries + n as u64);
            if refcount(&block, n, order) > uses {
                set_refcount(&mut block, n, order, uses);
                changed = true;
            }
        }
        if changed {
            found.storage.write_at(&block, at)?;
        }
    }
    Ok(())
}

/// Makes all refcounts anew.
fn rebuild(found: &mut Check<'_>) -> io::Result<()> {
    let geometry = found.geometry;
    let (storage, header) = (found.storage, found.header);
    let entries = geometry.block_entries();
    let bits = geometry.cluster_bits;
    // The old table and blocks are not used any more.
    for at in found.table.iter().filter(|at| **at != 0) {
        found.uses.remove(at >> bits);
    }
    let old = header.reftable_offset >> bits;
    for cluster in old..old + u64::from(header.reftable_clusters) {
        found.uses.remove(cluster);
    }
    let first = geometry.clusters_for(storage.len()?);
    let mut blocks: BTreeSet<u64> = found
        .uses
        .clusters()
        .map(|cluster| cluster / entries)
        .collect();
    let (table, end) = loop {
        let last = blocks.last().copied().unwrap_or(0);
        let table = geometry.clusters_for((last + 1) * 8);
        let end = first + blocks.len() as u64 + table;
        let before = blocks.len();
        blocks.extend(first / entries..=(end - 1) / entries);
        if blocks.len() == before {
            break (table, end);
        }
    };
    if table * geometry.cluster() > MAX_REFTABLE_BYTES.max(geometry.cluster()) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    storage.set_len(end << bits)?;
    let mut places = vec![0u64; usize::try_from(table << bits >> 3).map_err(io::Error::other)?];
    for (number, &index) in (first..).zip(&blocks) {
        let mut block = vec![0; geometry.cluster_len()];
        for n in 0..usize::try_from(entries).map_err(io::Error::other)? {
            let cluster = index * entries + n as u64;
            let uses = found.uses.of(cluster) + u64::from((first..end).contains(&cluster));
            if uses > geometry.max_refcount() {
                return Err(io::Error::other(
                    "a cluster is used too often for its refcount",
                ));
            }
            set_refcount(&mut block, n, geometry.refcount_order, uses);
        }
        storage.write_at(&block, number << bits)?;
        places[usize::try_from(index).map_err(io::Error::other)?] = number << bits;
    }
    let place = (first + blocks.len() as u64) << bits;
    let bytes: Vec<u8> = places
        .iter()
        .flat_map(|entry| entry.to_be_bytes())
        .collect();
    storage.write_at(&bytes, place)?;
    storage.sync()?;
    let mut field = place.to_be_bytes().to_vec();
    field.extend(
        u32::try_from(table)
            .map_err(io::Error::other)?
            .to_be_bytes(),
    );
    storage.write_at(&field, HEADER_REFTABLE)
}

/// Makes the flags of the active tables say what refcounts say.
fn mend_flags(found: &Check<'_>) -> io::Result<()> {
    let (storage, header, geometry) = (found.storage, found.header, found.geometry);
    let right = |at: u64| {
        let own = found.uses.of(at >> geometry.cluster_bits) == 1;
        if own { COPIED } else { 0 }
    };
    let put = |at: u64, old: u64, new: u64| {
        if old == new {
            Ok(())
        } else {
            storage.write_at(&new.to_be_bytes(), at)
        }
    };
    let l1 = read_table(storage, header.l1_offset, u64::from(header.l1_size))?;
    for (index, entry) in (0..).zip(l1) {
        let table = entry & OFFSET;
        if table == 0 {
            continue;
        }
        for (within, entry) in (0..).zip(read_table(storage, table, geometry.l2_entries())?) {
            let flag = match Mapping::read(entry, geometry) {
                Ok(Mapping::Data { host, .. } | Mapping::Zero { kept: Some(host) }) => right(host),
                Ok(
                    Mapping::Compressed { .. }
                    | Mapping::Unallocated
                    | Mapping::Zero { kept: None },
                )
                | Err(_) => 0,
            };
            put(table + within * 8, entry, entry & !COPIED | flag)?;
        }
        put(
            header.l1_offset + index * 8,
            entry,
            entry & !COPIED | right(table),
        )?;
    }
    Ok(())
}
