//! Reading: where bytes are, and what is compressed.

use std::io;
use std::sync::{Arc, PoisonError};

use super::Qcow2;
use super::spec::{Geometry, Mapping};
use super::tables::{Tables, corrupt};
use crate::image::{Hold, Image};

/// Clusters that one look at the tables joins, at most.
const MOST_JOINED: u64 = 1024;
/// Bytes of expanded clusters that are kept.
const EXPANDED: u64 = 512 << 10;

/// Where bytes of the disk are.
#[derive(Debug)]
pub enum Place {
    /// In our file; `inside` if none of it is behind the file's end, where bytes are zero.
    Data {
        host: u64,
        len: u64,
        inside: bool,
        hold: Hold,
    },
    /// Nowhere.
    Zero(u64),
    /// In a compressed cluster, whose bytes begin at `skip`.
    Compressed {
        host: u64,
        packed: u64,
        skip: u64,
        len: u64,
        hold: Hold,
    },
    /// In the backing file, at the same place.
    Backing(Arc<dyn Image>, u64),
}

impl Place {
    fn len(&self) -> u64 {
        match self {
            Self::Data { len, .. }
            | Self::Zero(len)
            | Self::Compressed { len, .. }
            | Self::Backing(_, len) => *len,
        }
    }
}

/// Clusters that were expanded lately, by where they are in the file.
#[derive(Debug)]
pub struct Expanded {
    most: usize,
    clusters: Vec<(u64, Arc<Vec<u8>>)>,
}

impl Expanded {
    pub fn new(geometry: Geometry) -> Self {
        Self {
            most: usize::try_from(EXPANDED / geometry.cluster()).map_or(1, |n| n.clamp(1, 8)),
            clusters: Vec::new(),
        }
    }

    pub fn forget(&mut self) {
        self.clusters.clear();
    }
}

impl Qcow2 {
    /// Where the bytes from `at` are, for `len` bytes at most.
    pub(super) fn locate(&self, at: u64, len: u64) -> io::Result<Place> {
        let mut tables = self.lock();
        let tables = &mut *tables;
        let bits = self.geometry.cluster_bits;
        let skip = at % self.geometry.cluster();
        let first = self.guest(at);
        let mapping = tables.mapping(first)?;
        if let Some(host) = mapping.read_from() {
            self.refuse_behind(tables, first, host)?;
        }
        if let Mapping::Compressed { host, len: packed } = mapping {
            // Zeroes behind the file's end are none of its bytes, though they may expand.
            let packed = if tables.space.contains(host + packed) {
                packed
            } else {
                packed.min(self.storage.len()?.saturating_sub(host))
            };
            let len = len.min(self.geometry.cluster() - skip);
            let hold = tables.space.hold();
            return Ok(Place::Compressed {
                host,
                packed,
                skip,
                len,
                hold,
            });
        }
        let wanted = len
            .saturating_add(skip)
            .div_ceil(self.geometry.cluster())
            .max(1);
        let mut count = tables.undescribed(first).max(1);
        while count < wanted.min(MOST_JOINED) {
            let next = tables.mapping(first + count)?;
            let here = next
                .read_from()
                .is_none_or(|host| tables.space.contains(host + 1));
            if !here || !continues(mapping, next, count << bits) {
                break;
            }
            count += 1;
        }
        let len = len.min((count << bits) - skip);
        Ok(match mapping {
            Mapping::Data { host, .. } => Place::Data {
                host: host + skip,
                len,
                inside: tables.space.contains(host + skip + len),
                hold: tables.space.hold(),
            },
            Mapping::Zero { .. } => Place::Zero(len),
            Mapping::Unallocated | Mapping::Compressed { .. } => match &self.backing {
                Some(backing) if at < backing.size() => {
                    Place::Backing(Arc::clone(backing), len.min(backing.size() - at))
                }
                Some(_) | None => Place::Zero(len),
            },
        })
    }

    /// Refuses a cluster that begins behind the end of the file, which was cut short then: whatever
    /// we allocate, the file covers before a table names it. The last cluster may be there in part,
    /// as others' tools leave it.
    fn refuse_behind(&self, tables: &Tables, guest: u64, host: u64) -> io::Result<()> {
        // The length that we know is asked for again only when it says no.
        if tables.space.contains(host + 1) || host < self.storage.len()? {
            return Ok(());
        }
        let what = format!("guest cluster {guest} is at {host:#x}, but the file is cut short");
        Err(corrupt(what))
    }

    /// Reads bytes that are known to be on the disk, or behind it in its last cluster.
    pub(super) fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            let at = at + done as u64;
            let place = self.locate(at, (into.len() - done) as u64)?;
            let len = usize::try_from(place.len()).map_err(io::Error::other)?;
            let part = &mut into[done..done + len];
            match place {
                Place::Data { host, hold, .. } => {
                    self.storage.read_at(part, host)?;
                    drop(hold);
                }
                Place::Zero(_) => part.fill(0),
                Place::Backing(backing, _) => backing.read_at(part, at)?,
                Place::Compressed {
                    host,
                    packed,
                    skip,
                    len: _,
                    hold,
                } => {
                    let cluster = self.expand(host, packed)?;
                    drop(hold);
                    let skip = usize::try_from(skip).map_err(io::Error::other)?;
                    part.copy_from_slice(&cluster[skip..skip + len]);
                }
            }
            done += len;
        }
        Ok(())
    }

    /// The bytes of a compressed cluster.
    fn expand(&self, host: u64, packed: u64) -> io::Result<Arc<Vec<u8>>> {
        let kept = || self.expanded.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept().clusters.iter().find(|(at, _)| *at == host).cloned();
        if let Some((_, cluster)) = found {
            return Ok(cluster);
        }
        let mut bytes = vec![0; usize::try_from(packed).map_err(io::Error::other)?];
        self.storage.read_at(&mut bytes, host)?;
        let mut cluster = vec![0; self.geometry.cluster_len()];
        let expanded = self.compression.expand(&bytes, &mut cluster);
        // A check reads no data, so it has nothing to add to this.
        expanded.map_err(|error| {
            let line = format!("the image is corrupt: {error}, at {host:#x} of the file");
            io::Error::new(error.kind(), line)
        })?;
        let cluster = Arc::new(cluster);
        let mut kept = kept();
        if kept.clusters.len() >= kept.most {
            kept.clusters.remove(0);
        }
        kept.clusters.push((host, Arc::clone(&cluster)));
        Ok(cluster)
    }
}

/// Whether `next`, which is `distance` behind `first` on the disk, is so in the file too.
fn continues(first: Mapping, next: Mapping, distance: u64) -> bool {
    match (first, next) {
        (Mapping::Data { host, .. }, Mapping::Data { host: next, .. }) => {
            host.checked_add(distance) == Some(next)
        }
        (Mapping::Zero { .. }, Mapping::Zero { .. })
        | (Mapping::Unallocated, Mapping::Unallocated) => true,
        (
            Mapping::Unallocated
            | Mapping::Zero { .. }
            | Mapping::Data { .. }
            | Mapping::Compressed { .. },
            _,
        ) => false,
    }
}
