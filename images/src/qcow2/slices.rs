//! A bounded cache of pieces of tables.
//!
//! Tables are as large as clusters, up to 2 MiB, and a disk has thousands of them; so it is pieces of
//! a page that are kept. A piece that differs from the file stays until it was written, which is for
//! [`super::commit`] to do in the right order.
//!
//! A commit writes copies ([`Taken`]) while the cache is in use. Who cannot wait for a commit, a table
//! that grows, writes what differs at once ([`Slices::write_now`]): that is newer than the copies, so
//! those of the same pieces are not written any more.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::Storage;

/// The largest piece.
const LARGEST: u64 = 4096;

/// A cache.
#[derive(Debug)]
pub struct Slices {
    slices: HashMap<u64, Slice>,
    /// Bytes of a piece.
    size: u64,
    /// How many are kept if they all equal the file.
    most: usize,
    clock: u64,
    dirty: usize,
    /// What was written at once since copies were last taken.
    newer: Arc<Newer>,
}

/// Places of pieces whose copies are not to be written: the file has what is newer.
///
/// The lock is held while a piece is written, so that no older copy overtakes a newer one. Who holds
/// it takes no other lock.
#[derive(Debug, Default)]
struct Newer(Mutex<HashSet<u64>>);

impl Newer {
    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Copies of what differed from the file, which are being written.
#[derive(Debug)]
pub struct Taken {
    pieces: Vec<(u64, Box<[u8]>)>,
    newer: Arc<Newer>,
}

impl Taken {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes them, but for those of which the file has something newer by now.
    pub fn write(&self, storage: &dyn Storage) -> io::Result<()> {
        for (at, bytes) in &self.pieces {
            let newer = self.newer.lock();
            if !newer.contains(at) {
                storage.write_at(bytes, *at)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Slice {
    bytes: Box<[u8]>,
    used: u64,
    /// Differs from the file.
    dirty: bool,
    /// Is being written: what is in the file is not to be relied on.
    writing: bool,
}

impl Slices {
    /// A cache of so many bytes, of tables in clusters of `cluster` bytes.
    pub fn new(cluster: u64, bytes: u64) -> Self {
        let size = cluster.min(LARGEST);
        Self {
            slices: HashMap::new(),
            size,
            most: usize::try_from(bytes / size).map_or(16, |count| count.max(16)),
            clock: 0,
            dirty: 0,
            newer: Arc::default(),
        }
    }

    /// Bytes of a piece.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is time to write what differs from the file.
    pub fn is_strained(&self) -> bool {
        self.dirty * 2 >= self.most
    }

    /// Whether nothing differs from the file.
    pub fn is_clean(&self) -> bool {
        self.dirty == 0
    }

    fn load(&mut self, storage: &dyn Storage, at: u64) -> io::Result<&mut Slice> {
        self.clock += 1;
        if !self.slices.contains_key(&at) {
            if self.slices.len() >= self.most {
                self.evict();
            }
            let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)].into_boxed_slice();
            storage.read_at(&mut bytes, at)?;
            let slice = Slice {
                bytes,
                used: 0,
                dirty: false,
                writing: false,
            };
            self.slices.insert(at, slice);
        }
        let clock = self.clock;
        let slice = self.slices.get_mut(&at).ok_or(io::ErrorKind::NotFound)?;
        slice.used = clock;
        Ok(slice)
    }

    /// Drops the quarter that was not used for longest, of those that equal the file.
    fn evict(&mut self) {
        let clean = self
            .slices
            .iter()
            .filter(|(_, slice)| !slice.dirty && !slice.writing);
        let mut clean: Vec<(u64, u64)> = clean.map(|(&at, slice)| (slice.used, at)).collect();
        clean.sort_unstable();
        for (_, at) in clean.iter().take((self.most / 4).max(1)) {
            self.slices.remove(at);
        }
    }

    /// The piece at `at`, a multiple of the size.
    pub fn read(&mut self, storage: &dyn Storage, at: u64) -> io::Result<&[u8]> {
        Ok(&self.load(storage, at)?.bytes)
    }

    /// The same, to be changed.
    pub fn change(&mut self, storage: &dyn Storage, at: u64) -> io::Result<&mut [u8]> {
        let slice = self.load(storage, at)?;
        let was_dirty = std::mem::replace(&mut slice.dirty, true);
        self.dirty += usize::from(!was_dirty);
        // Looked up again: the count above wanted the whole cache.
        let slice = self.slices.get_mut(&at).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut slice.bytes)
    }

    /// Forgets the pieces of a cluster that begins to be used for something else.
    pub fn forget(&mut self, at: u64, len: u64) {
        for at in (at..at + len).step_by(usize::try_from(self.size).unwrap_or(usize::MAX)) {
            if let Some(slice) = self.slices.remove(&at) {
                self.dirty -= usize::from(slice.dirty);
            }
        }
    }

    /// Copies of what differs from the file, which are now being written. None that were taken before
    /// may be left.
    pub fn take_dirty(&mut self) -> Taken {
        self.newer = Arc::default();
        Taken {
            pieces: self.copy_dirty(),
            newer: Arc::clone(&self.newer),
        }
    }

    fn copy_dirty(&mut self) -> Vec<(u64, Box<[u8]>)> {
        self.dirty = 0;
        let dirty = self.slices.iter_mut().filter(|(_, slice)| slice.dirty);
        let mut taken: Vec<(u64, Box<[u8]>)> = dirty
            .map(|(&at, slice)| {
                slice.dirty = false;
                slice.writing = true;
                (at, slice.bytes.clone())
            })
            .collect();
        taken.sort_unstable_by_key(|(at, _)| *at);
        taken
    }

    /// What was taken has been written, or has not.
    pub fn settle(&mut self, taken: &Taken, written: bool) {
        self.settle_pieces(&taken.pieces, written);
    }

    /// Writes what differs from the file, though copies may be on their way to it.
    pub fn write_now(&mut self, storage: &dyn Storage) -> io::Result<()> {
        let pieces = self.copy_dirty();
        let written = pieces.iter().try_for_each(|(at, bytes)| {
            let mut newer = self.newer.lock();
            storage.write_at(bytes, *at)?;
            newer.insert(*at);
            Ok(())
        });
        self.settle_pieces(&pieces, written.is_ok());
        written
    }

    fn settle_pieces(&mut self, pieces: &[(u64, Box<[u8]>)], written: bool) {
        for (at, _) in pieces {
            if let Some(slice) = self.slices.get_mut(at) {
                slice.writing = false;
                if !written && !std::mem::replace(&mut slice.dirty, true) {
                    self.dirty += 1;
                }
            }
        }
    }
}
