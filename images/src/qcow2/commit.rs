//! Bringing tables to the file, in the order that survives a loss of power at any moment.
//!
//! 1. The refcounts of what was allocated, with the data already written: durable first. Power lost
//!    here leaves clusters in use that nobody names.
//! 2. What names them: L2 and L1 tables. Each entry is in one sector, so it is old or new. What an
//!    old one named still has its refcount and its bytes.
//! 3. When that is durable, what lost its last use is free: see [`super::alloc`].
//!
//! The lock is not held while the host writes: the tables are copied, and go on changing. Tables that
//! grow meanwhile bring refcounts to the file too: newer ones, which [`Taken::write`] leaves alone.

use std::io;
use std::sync::PoisonError;

use super::Qcow2;
use super::slices::Taken;

/// Uses that wait to be taken back, at most.
const MOST_DROPPED: usize = 1 << 14;

/// What one commit writes.
struct Batch {
    refs: Taken,
    l2: Taken,
    l1: Vec<(usize, u64)>,
    l1_offset: u64,
    dropped: Vec<u64>,
}

impl Qcow2 {
    /// Makes everything durable that was written before.
    pub(super) fn commit(&self) -> io::Result<()> {
        let _one = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let batch = self.collect();
        let written = self.bring(&batch);
        let mut tables = self.lock();
        tables.space.refs.settle(&batch.refs, written.is_ok());
        tables.l2.settle(&batch.l2, written.is_ok());
        match written {
            Ok(()) => tables.space.dropped_for_good(batch.dropped),
            Err(error) => {
                tables
                    .l1_dirty
                    .extend(batch.l1.iter().map(|(index, _)| index));
                tables.space.dropped.extend(batch.dropped);
                return Err(error);
            }
        }
        drop(tables);
        self.reclaim()
    }

    fn collect(&self) -> Batch {
        let mut tables = self.lock();
        let tables = &mut *tables;
        let l1_dirty = std::mem::take(&mut tables.l1_dirty);
        Batch {
            refs: tables.space.refs.take_dirty(),
            l2: tables.l2.take_dirty(),
            l1: l1_dirty
                .iter()
                .map(|&index| (index, tables.l1[index]))
                .collect(),
            l1_offset: tables.l1_offset,
            dropped: std::mem::take(&mut tables.space.dropped),
        }
    }

    fn bring(&self, batch: &Batch) -> io::Result<()> {
        batch.refs.write(&*self.storage)?;
        self.storage.sync()?;
        if batch.l2.is_empty() && batch.l1.is_empty() {
            return Ok(());
        }
        batch.l2.write(&*self.storage)?;
        for (index, entry) in &batch.l1 {
            let at = batch.l1_offset + *index as u64 * 8;
            self.storage.write_at(&entry.to_be_bytes(), at)?;
        }
        self.storage.sync()
    }

    /// Makes free what lost its last use, as far as nobody holds it.
    fn reclaim(&self) -> io::Result<()> {
        let mut tables = self.lock();
        let clusters = tables.space.take_unheld();
        if clusters.is_empty() {
            return Ok(());
        }
        let mut last = tables.space.count_down(&*self.storage, &clusters)?;
        drop(tables);
        self.expanded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .forget();
        last.sort_unstable();
        last.dedup();
        if self.discard {
            self.punch(&last);
        }
        let mut tables = self.lock();
        tables.space.reuse(&*self.storage, &last)
    }

    /// Gives the space of clusters back: neighbours at once.
    fn punch(&self, clusters: &[u64]) {
        let bits = self.geometry.cluster_bits;
        for run in clusters.chunk_by(|a, b| a + 1 == *b) {
            let len = (run.len() as u64) << bits;
            if let Err(error) = self.storage.punch(run[0] << bits, len) {
                // The image is as good with the space as without it.
                tracing::debug!(%error, "space of a disk image was not given back");
            }
        }
    }

    /// Commits, if so much differs from the file that it is time to.
    pub(super) fn relieve(&self) -> io::Result<()> {
        let tables = self.lock();
        let strained = tables.l2.is_strained()
            || tables.space.refs.is_strained()
            || tables.space.dropped.len() > MOST_DROPPED;
        drop(tables);
        if strained { self.commit() } else { Ok(()) }
    }

    /// Leaves the file as short and as tidy as it can be.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.commit()?;
        // What became free by that has its refcounts to be written.
        if !self.lock().space.refs.is_clean() {
            self.commit()?;
        }
        let used = self.lock().space.used_len();
        if used < self.storage.len()? {
            self.storage.set_len(used)?;
        }
        Ok(())
    }
}
