//! Whether all of an image is there. A file that was cut short (by a copy that did not finish, a full
//! disk, a bad transfer) reads as zeroes behind its end, and an image that does so loses data without
//! a word. So a cluster that begins behind the end is corruption wherever it is used; see
//! [`Qcow2::locate`](super::Qcow2).
//!
//! An image that is written needs more: it grows, and what was behind its end would be zeroes from
//! then on. So it is looked through before that. To do so at each opening would take too long, but
//! clusters that are behind the end were counted: only if a refcount says so are all tables read.
//! Power that fails leaves such refcounts too, for clusters that no table names: these are only lost.

use std::io;

use super::check;
use super::header::Header;
use super::spec::refcount;
use super::tables::{Tables, corrupt};
use crate::storage::Storage;

/// Blocks of refcounts that are looked at, at most: more are as suspect as those that count.
const MOST_BLOCKS: usize = 64;

/// Refuses an image that names clusters behind the end of its file, before it is written.
pub fn refuse_cut(storage: &dyn Storage, header: &Header, tables: &Tables) -> io::Result<()> {
    let len = storage.len()?;
    if !counts_behind(storage, header, tables, len)? {
        return Ok(());
    }
    match check::first_behind(storage, header)? {
        Some(fault) => Err(corrupt(format!("its file is cut short: {fault}"))),
        None => Ok(()),
    }
}

/// Whether a cluster that is not in the file has a refcount.
fn counts_behind(
    storage: &dyn Storage,
    header: &Header,
    tables: &Tables,
    len: u64,
) -> io::Result<bool> {
    let geometry = header.geometry;
    let (end, entries) = (geometry.clusters_for(len), geometry.block_entries());
    let blocks = (0..).zip(&tables.space.table);
    let behind = blocks.filter(|(index, at)| **at != 0 && (index + 1) * entries > end);
    let mut block = vec![0; geometry.cluster_len()];
    for (looked, (index, &at)) in behind.enumerate() {
        if looked >= MOST_BLOCKS {
            return Ok(true);
        }
        storage.read_at(&mut block, at)?;
        let first = usize::try_from(end.saturating_sub(index * entries));
        let last = usize::try_from(entries).map_err(io::Error::other)?;
        let mut counts = first.map_err(io::Error::other)?..last;
        if counts.any(|n| refcount(&block, n, geometry.refcount_order) > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}
