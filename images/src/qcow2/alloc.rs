//! Refcounts, and the clusters of the file that are free.
//!
//! A cluster that loses its last use is not free at once. The table that names it may still be in the
//! file, and a transfer to or from it may be under way. So it waits twice: until what replaced it is
//! durable ([`super::commit`] takes [`Space::dropped`]), and until the [`Hold`]s that were given out
//! before are gone ([`Space::limbo`]). Only then does its refcount fall.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;

use super::header::Header;
use super::slices::Slices;
use super::snapshots;
use super::spec::{Geometry, OFFSET, refcount, set_refcount};
use super::tables::{corrupt, read_table, reserve};
use crate::image::Hold;
use crate::storage::Storage;

/// Bytes of refcounts that are kept.
const REFCOUNT_CACHE: u64 = 512 << 10;
/// Free clusters that are remembered; more are found again when the image is next opened.
const MOST_FREE: usize = 1 << 20;
/// Refcounts that one allocation looks at, at most, beyond those it never has to look at again.
const MOST_LOOKS: u64 = 1 << 22;
/// By how much a file grows at least: its length is changed less often than once for each cluster.
const GROWTH: u64 = 1 << 20;

/// Who uses the clusters of the file.
#[derive(Debug)]
pub struct Space {
    pub geometry: Geometry,
    /// The refcount table: where its blocks are.
    pub table: Vec<u64>,
    pub table_offset: u64,
    /// Pieces of the blocks.
    pub refs: Slices,
    /// Clusters that are not a guest's to overwrite.
    pub metadata: HashSet<u64>,
    /// Below, there is nothing free that `free` does not have.
    cursor: u64,
    /// From here on, nothing was ever used.
    end: u64,
    /// Bytes of the file.
    len: u64,
    free: Vec<u64>,
    /// Clusters that lost a use since the last commit, once for each use.
    pub dropped: Vec<u64>,
    /// Clusters that lost a use in the file, and what is alive while a transfer may want them.
    limbo: VecDeque<(Arc<()>, Vec<u64>)>,
    token: Arc<()>,
    /// Where the next compressed cluster goes, in a cluster that has others.
    packing: Option<u64>,
}

impl Space {
    pub fn open(
        storage: &dyn Storage,
        header: &Header,
        mut metadata: HashSet<u64>,
        readonly: bool,
    ) -> io::Result<Self> {
        let geometry = header.geometry;
        let len = storage.len()?;
        let table_len = u64::from(header.reftable_clusters) * geometry.cluster();
        let mut table = Vec::new();
        if !readonly {
            table = read_table(storage, header.reftable_offset, table_len / 8)?;
            reserve(&mut metadata, geometry, header.reftable_offset, table_len);
            for at in table.iter().filter(|at| **at != 0) {
                let inside = at & !OFFSET & !(0xff << 56) == 0 && *at < len;
                let number = at >> geometry.cluster_bits;
                if !inside || !at.is_multiple_of(geometry.cluster()) || !metadata.insert(number) {
                    return Err(corrupt(format!("a refcount block is at {at:#x}")));
                }
            }
            for (at, len) in snapshots::places(storage, header)? {
                reserve(&mut metadata, geometry, at, len);
            }
        }
        Ok(Self {
            geometry,
            table,
            table_offset: header.reftable_offset,
            refs: Slices::new(geometry.cluster(), REFCOUNT_CACHE),
            metadata,
            cursor: 0,
            end: geometry.clusters_for(len),
            len,
            free: Vec::new(),
            dropped: Vec::new(),
            limbo: VecDeque::new(),
            token: Arc::new(()),
            packing: None,
        })
    }

    /// Keeps clusters that are in use now from being used for anything else.
    pub fn hold(&self) -> Hold {
        Hold::of(&self.token)
    }

    /// Whether the file goes at least that far.
    pub fn contains(&self, end: u64) -> bool {
        end <= self.len
    }

    /// Bytes of the file that are in use or were.
    pub fn used_len(&self) -> u64 {
        self.end << self.geometry.cluster_bits
    }

    /// Where the refcount of a cluster is: the piece, and its place there.
    fn place(&self, cluster: u64) -> Option<(u64, usize)> {
        let entries = self.geometry.block_entries();
        let index = usize::try_from(cluster / entries).ok()?;
        let block = *self.table.get(index).filter(|block| **block != 0)?;
        let per_slice = (self.refs.size() * 8) >> self.geometry.refcount_order;
        let within = cluster % entries;
        let slice = block + within / per_slice * self.refs.size();
        Some((slice, usize::try_from(within % per_slice).unwrap_or(0)))
    }

    /// How often a cluster is used.
    pub fn refcount(&mut self, storage: &dyn Storage, cluster: u64) -> io::Result<u64> {
        let Some((slice, n)) = self.place(cluster) else {
            return Ok(0);
        };
        let bytes = self.refs.read(storage, slice)?;
        Ok(refcount(bytes, n, self.geometry.refcount_order))
    }

    /// Says how often a cluster is used, making room to say it.
    pub fn set_refcount(&mut self, storage: &dyn Storage, cluster: u64, to: u64) -> io::Result<()> {
        if to > self.geometry.max_refcount() {
            return Err(io::Error::other(
                "a cluster is used too often for its refcount",
            ));
        }
        self.ensure_block(storage, cluster / self.geometry.block_entries())?;
        let place = self.place(cluster);
        let (slice, n) = place.ok_or_else(|| corrupt("a refcount block is missing"))?;
        let bytes = self.refs.change(storage, slice)?;
        set_refcount(bytes, n, self.geometry.refcount_order, to);
        Ok(())
    }

    /// A cluster for one use: its place, and whether it still reads as zeroes.
    pub fn allocate(&mut self, storage: &dyn Storage) -> io::Result<(u64, bool)> {
        let (cluster, fresh) = self.find(storage)?;
        if self.metadata.contains(&cluster) {
            return Err(corrupt(format!("cluster {cluster} is a table's, and free")));
        }
        if let Err(error) = self.set_refcount(storage, cluster, 1) {
            self.free.push(cluster);
            return Err(error);
        }
        Ok((cluster << self.geometry.cluster_bits, fresh))
    }

    /// The number of a free cluster.
    fn find(&mut self, storage: &dyn Storage) -> io::Result<(u64, bool)> {
        while let Some(cluster) = self.free.pop() {
            if self.refcount(storage, cluster)? == 0 {
                return Ok((cluster, false));
            }
        }
        while self.cursor < self.end {
            let cluster = self.cursor;
            self.cursor += 1;
            if self.refcount(storage, cluster)? == 0 {
                return Ok((cluster, false));
            }
        }
        Ok((self.take_end(storage)?, true))
    }

    /// The number of a cluster behind everything.
    fn take_end(&mut self, storage: &dyn Storage) -> io::Result<u64> {
        for _ in 0..MOST_LOOKS {
            let cluster = self.end;
            // The most that entries of tables can say.
            if cluster >= 1 << (56 - self.geometry.cluster_bits) {
                break;
            }
            self.end += 1;
            if self.cursor == cluster {
                self.cursor = self.end;
            }
            if self.refcount(storage, cluster)? == 0 {
                return Ok(cluster);
            }
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    /// So many neighbouring clusters behind everything: the first one's number.
    pub fn allocate_run(&mut self, storage: &dyn Storage, count: u64) -> io::Result<u64> {
        let entries = self.geometry.block_entries();
        let mut first = self.end;
        // Blocks for their refcounts first: these too come from the end.
        loop {
            for index in first / entries..=(first + count - 1) / entries {
                self.ensure_block(storage, index)?;
            }
            if first == self.end {
                break;
            }
            first = self.end;
        }
        for cluster in first..first + count {
            if self.refcount(storage, cluster)? != 0 {
                return Err(corrupt("clusters behind the end of the file are in use"));
            }
        }
        self.cover(storage, (first + count) << self.geometry.cluster_bits)?;
        self.advance(first + count);
        let mut run = first..first + count;
        if let Err(error) = run.try_for_each(|cluster| self.set_refcount(storage, cluster, 1)) {
            self.abandon_run(storage, first, count);
            return Err(error);
        }
        Ok(first)
    }

    /// Takes back a run that came to nothing, and what was written there.
    pub fn abandon_run(&mut self, storage: &dyn Storage, first: u64, count: u64) {
        let bits = self.geometry.cluster_bits;
        if let Err(error) = storage.punch(first << bits, count << bits) {
            // It is free all the same.
            tracing::debug!(%error, "space of a disk image was not given back");
        }
        for cluster in first..first + count {
            self.abandon(storage, cluster << bits);
        }
    }

    /// A place for a compressed cluster, of no more bytes than a cluster has: clusters are shared.
    pub fn allocate_bytes(&mut self, storage: &dyn Storage, len: u64) -> io::Result<u64> {
        let bits = self.geometry.cluster_bits;
        let most = 1 << (62 - (bits - 8)).min(56);
        let mut place = None;
        if let Some(at) = self.packing.take() {
            let shared = self.refcount(storage, at >> bits)?;
            let end = (at + len - 1) >> bits;
            if shared == self.geometry.max_refcount() {
                // This one is used as often as can be said.
            } else if end == at >> bits {
                place = Some((at, shared));
            } else {
                let (next, _) = self.allocate(storage)?;
                place = Some(if next >> bits == end {
                    (at, shared)
                } else {
                    (next, 0)
                });
            }
        }
        let (at, shared) = match place {
            Some(place) => place,
            None => (self.allocate(storage)?.0, 0),
        };
        if shared > 0 {
            self.set_refcount(storage, at >> bits, shared + 1)?;
        }
        if at >= most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.cover(storage, self.used_len())?;
        let next = at + len;
        self.packing = (!next.is_multiple_of(self.geometry.cluster())).then_some(next);
        Ok(at)
    }

    /// Takes back an allocation that came to nothing.
    pub fn abandon(&mut self, storage: &dyn Storage, at: u64) {
        let cluster = at >> self.geometry.cluster_bits;
        // If even this fails the cluster is lost until the image is checked, and nothing else.
        if self.set_refcount(storage, cluster, 0).is_ok() {
            self.free.push(cluster);
        }
    }

    /// Makes the file at least this long.
    pub fn cover(&mut self, storage: &dyn Storage, len: u64) -> io::Result<()> {
        if len > self.len {
            let roomy = len.next_multiple_of(GROWTH.max(self.geometry.cluster()));
            let done = storage.set_len(roomy).map(|()| roomy);
            self.len = done.or_else(|_| storage.set_len(len).map(|()| len))?;
        }
        Ok(())
    }

    /// Notes that a use of a cluster is gone from the tables in memory.
    pub fn drop_later(&mut self, cluster: u64) {
        self.dropped.push(cluster);
    }

    /// The uses that are gone from the file too: these clusters may be free when nobody holds them.
    pub fn dropped_for_good(&mut self, clusters: Vec<u64>) {
        if !clusters.is_empty() {
            let old = std::mem::replace(&mut self.token, Arc::new(()));
            self.limbo.push_back((old, clusters));
        }
    }

    /// Clusters that lost a use, and nobody holds any more.
    pub fn take_unheld(&mut self) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some((token, _)) = self.limbo.front() {
            if Arc::strong_count(token) > 1 {
                break;
            }
            if let Some((_, clusters)) = self.limbo.pop_front() {
                taken.extend(clusters);
            }
        }
        taken
    }

    /// Lets the refcounts of clusters fall, and returns those that nobody uses: [`Self::reuse`]
    /// takes them back.
    pub fn count_down(&mut self, storage: &dyn Storage, clusters: &[u64]) -> io::Result<Vec<u64>> {
        let mut last = Vec::new();
        for &cluster in clusters {
            match self.refcount(storage, cluster)? {
                0 => {
                    tracing::warn!(cluster, "a cluster of a disk image was in use, and free");
                }
                1 => last.push(cluster),
                count => self.set_refcount(storage, cluster, count - 1)?,
            }
        }
        Ok(last)
    }

    /// Makes clusters free that nobody uses.
    pub fn reuse(&mut self, storage: &dyn Storage, clusters: &[u64]) -> io::Result<()> {
        for &cluster in clusters {
            self.set_refcount(storage, cluster, 0)?;
            self.metadata.remove(&cluster);
            if self.free.len() < MOST_FREE {
                self.free.push(cluster);
            }
        }
        Ok(())
    }

    /// That a guest may overwrite a cluster.
    pub fn check_target(&self, host: u64) -> io::Result<()> {
        let cluster = host >> self.geometry.cluster_bits;
        if cluster >= self.end || self.metadata.contains(&cluster) {
            let what = format!("a guest cluster is at {host:#x}, which is no place for data");
            return Err(corrupt(what));
        }
        Ok(())
    }

    /// Makes sure that there is a block for these refcounts.
    fn ensure_block(&mut self, storage: &dyn Storage, index: u64) -> io::Result<()> {
        let slot = usize::try_from(index).map_err(io::Error::other)?;
        if slot >= self.table.len() {
            super::grow::refcount_table(self, storage, index)?;
        }
        if self.table.get(slot).is_some_and(|at| *at != 0) {
            return Ok(());
        }
        let cluster = self.take_end(storage)?;
        let own = cluster / self.geometry.block_entries();
        let at = cluster << self.geometry.cluster_bits;
        let mut block = vec![0; self.geometry.cluster_len()];
        if own == index {
            let within = usize::try_from(cluster % self.geometry.block_entries());
            let within = within.map_err(io::Error::other)?;
            set_refcount(&mut block, within, self.geometry.refcount_order, 1);
        } else {
            self.set_refcount(storage, cluster, 1)?;
        }
        // Setting that refcount may have made this block along the way.
        if self.table.get(slot).is_some_and(|at| *at != 0) {
            self.abandon(storage, at);
            return Ok(());
        }
        if let Err(error) = self.write_block(storage, &block, at) {
            // Nothing names it yet. One that would count itself is not counted.
            if own != index {
                self.abandon(storage, at);
            }
            return Err(error);
        }
        storage.write_at(&at.to_be_bytes(), self.table_offset + index * 8)?;
        self.table[slot] = at;
        self.metadata.insert(cluster);
        Ok(())
    }

    /// Makes a block durable, and that its cluster is in use: it has to be there before anything says
    /// that it is.
    fn write_block(&mut self, storage: &dyn Storage, block: &[u8], at: u64) -> io::Result<()> {
        self.write_refcounts(storage)?;
        self.refs.forget(at, self.geometry.cluster());
        self.cover(storage, at + self.geometry.cluster())?;
        storage.write_at(block, at)?;
        storage.sync()
    }

    /// Where the block `index` is; 0 if there is none.
    pub fn block(&self, index: u64) -> u64 {
        let slot = usize::try_from(index).unwrap_or(usize::MAX);
        self.table.get(slot).copied().unwrap_or(0)
    }

    /// Says that everything before `end` is used.
    pub fn advance(&mut self, end: u64) {
        if self.cursor == self.end {
            self.cursor = end;
        }
        self.end = end;
    }

    /// Writes all refcounts that differ from the file, at once.
    pub fn write_refcounts(&mut self, storage: &dyn Storage) -> io::Result<()> {
        self.refs.write_now(storage)
    }
}
