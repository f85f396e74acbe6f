//! The tables of an open image: where guest clusters are, under one lock.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::alloc::Space;
use super::fields::u64_at;
use super::header::Header;
use super::slices::Slices;
use super::spec::{COPIED, Geometry, Mapping, OFFSET};
use crate::storage::Storage;

/// Bytes of L2 tables that are kept: with clusters of 64 KiB they describe 16 GiB.
const L2_CACHE: u64 = 2 << 20;

/// What the lock of an image protects.
#[derive(Debug)]
pub struct Tables {
    pub storage: Arc<dyn Storage>,
    pub geometry: Geometry,
    /// The L1 table, as it will be.
    pub l1: Vec<u64>,
    /// Where it is in the file.
    pub l1_offset: u64,
    /// Its entries that differ from the file.
    pub l1_dirty: BTreeSet<usize>,
    /// Pieces of L2 tables.
    pub l2: Slices,
    /// Refcounts, and what is free.
    pub space: Space,
    /// Guest clusters that are being allocated or unmapped: who else wants to change them waits.
    pub busy: Vec<Range<u64>>,
}

/// What is wrong with an image that is in use.
pub fn corrupt(what: impl std::fmt::Display) -> io::Error {
    let line = format!("the image is corrupt: {what}; 'armlet disk check' says more");
    io::Error::new(io::ErrorKind::InvalidData, line)
}

/// A table of 64-bit numbers in the file.
pub fn read_table(storage: &dyn Storage, at: u64, entries: u64) -> io::Result<Vec<u64>> {
    let len = usize::try_from(entries * 8).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    storage.read_at(&mut bytes, at)?;
    let (entries, _) = bytes.as_chunks();
    Ok(entries.iter().copied().map(u64::from_be_bytes).collect())
}

impl Tables {
    /// Reads the tables that are always kept, and looks whether they can be.
    pub fn open(storage: Arc<dyn Storage>, header: &Header, readonly: bool) -> io::Result<Self> {
        let geometry = header.geometry;
        let l1 = read_table(&*storage, header.l1_offset, u64::from(header.l1_size))?;
        let mut metadata = HashSet::new();
        let file_len = storage.len()?;
        if !readonly {
            metadata.insert(0);
            reserve(
                &mut metadata,
                geometry,
                header.l1_offset,
                l1.len() as u64 * 8,
            );
        }
        for (index, entry) in l1
            .iter()
            .enumerate()
            .filter(|(_, entry)| *entry & OFFSET != 0)
        {
            let at = entry & OFFSET;
            if !at.is_multiple_of(geometry.cluster()) || at >= file_len {
                return Err(corrupt(format!("L1 entry {index} points to {at:#x}")));
            }
            if !readonly && !metadata.insert(at >> geometry.cluster_bits) {
                return Err(corrupt(format!("two tables are at {at:#x}")));
            }
        }
        let space = Space::open(&*storage, header, metadata, readonly)?;
        Ok(Self {
            storage,
            geometry,
            l1,
            l1_offset: header.l1_offset,
            l1_dirty: BTreeSet::new(),
            l2: Slices::new(geometry.cluster(), L2_CACHE),
            space,
            busy: Vec::new(),
        })
    }

    /// Where in L1 and in its L2 table a guest cluster is described.
    fn split(&self, guest: u64) -> (usize, u64) {
        let entries = self.geometry.l2_entries();
        let index = usize::try_from(guest / entries).unwrap_or(usize::MAX);
        (index, guest % entries)
    }

    /// The entry of a guest cluster; nothing where there is no L2 table.
    pub fn entry(&mut self, guest: u64) -> io::Result<Option<u64>> {
        let (index, within) = self.split(guest);
        let table = self.l1.get(index).copied().unwrap_or(0) & OFFSET;
        if table == 0 {
            return Ok(None);
        }
        let at = table + within * 8;
        let start = at - at % self.l2.size();
        let slice = self.l2.read(&*self.storage, start)?;
        let place = usize::try_from(at - start).map_err(io::Error::other)?;
        Ok(Some(u64_at(slice, place)?))
    }

    /// Where a guest cluster is.
    pub fn mapping(&mut self, guest: u64) -> io::Result<Mapping> {
        let entry = self.entry(guest)?.unwrap_or(0);
        let read = Mapping::read(entry, self.geometry);
        read.map_err(|what| corrupt(format!("guest cluster {guest}: {what}")))
    }

    /// How many guest clusters from here on are described by no L2 table.
    pub fn undescribed(&self, guest: u64) -> u64 {
        let (index, within) = self.split(guest);
        match self.l1.get(index) {
            Some(entry) if entry & OFFSET != 0 => 0,
            Some(_) | None => self.geometry.l2_entries() - within,
        }
    }

    /// Makes sure that a guest cluster has an L2 table that is its own.
    pub fn own_l2(&mut self, guest: u64) -> io::Result<u64> {
        let (index, _) = self.split(guest);
        let Some(&entry) = self.l1.get(index) else {
            return Err(corrupt(format!(
                "guest cluster {guest} is beyond the L1 table"
            )));
        };
        let old = entry & OFFSET;
        if old != 0 && entry & COPIED != 0 {
            return Ok(old);
        }
        let (table, fresh) = self.space.allocate(&*self.storage)?;
        let made = self.fill_l2(old, table, fresh);
        if let Err(error) = made {
            self.space.abandon(&*self.storage, table);
            return Err(error);
        }
        self.space
            .metadata
            .insert(table >> self.geometry.cluster_bits);
        if old != 0 {
            self.space.drop_later(old >> self.geometry.cluster_bits);
        }
        self.l1[index] = table | COPIED;
        self.l1_dirty.insert(index);
        Ok(table)
    }

    /// Makes a new L2 table a copy of the old one, or empty.
    fn fill_l2(&mut self, old: u64, table: u64, fresh: bool) -> io::Result<()> {
        let cluster = self.geometry.cluster();
        self.l2.forget(table, cluster);
        self.space.refs.forget(table, cluster);
        if old != 0 {
            let mut copy = vec![0; self.geometry.cluster_len()];
            self.storage.read_at(&mut copy, old)?;
            self.storage.write_at(&copy, table)
        } else if fresh {
            self.space.cover(&*self.storage, table + cluster)
        } else {
            self.storage.zero(table, cluster, false)
        }
    }

    /// Gives a guest cluster, whose L2 table is its own, another entry.
    pub fn set_entry(&mut self, guest: u64, entry: u64) -> io::Result<()> {
        let (_, within) = self.split(guest);
        let at = self.own_l2(guest)? + within * 8;
        let start = at - at % self.l2.size();
        let slice = self.l2.change(&*self.storage, start)?;
        let place = usize::try_from(at - start).unwrap_or(0);
        slice[place..place + 8].copy_from_slice(&entry.to_be_bytes());
        Ok(())
    }

    /// Gives up what a guest cluster used, once nobody can want it.
    pub fn release(&mut self, mapping: Mapping) {
        for cluster in mapping.clusters(self.geometry) {
            self.space.drop_later(cluster);
        }
    }

    /// Whether a guest cluster of these is being changed.
    pub fn is_busy(&self, guests: &Range<u64>) -> bool {
        self.busy
            .iter()
            .any(|range| range.start < guests.end && guests.start < range.end)
    }
}

/// Notes that a part of the file is a table's.
pub fn reserve(metadata: &mut HashSet<u64>, geometry: Geometry, at: u64, len: u64) {
    let first = at >> geometry.cluster_bits;
    metadata.extend(first..first + geometry.clusters_for(len));
}
