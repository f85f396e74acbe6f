//! Taking clusters away: discard, zeroes, and what is beyond the end of a disk that shrinks.

use std::io;
use std::sync::atomic::Ordering;

use super::spec::{COMPRESSED, COPIED, Geometry, Mapping, ZERO, compressed_entry};
use super::{Image, Qcow2, Tables};

/// Guest clusters that are changed under one lock.
const MOST_LOCKED: u64 = 512;

/// Why clusters are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody needs them: parts of clusters stay as they are.
    Discard,
    /// They have to read as zeroes; with `keep`, clusters stay allocated.
    Zero {
        /// Whether clusters stay allocated.
        keep: bool,
    },
    /// They are beyond the disk's end.
    Forget,
}

/// What one guest cluster needs.
enum Step {
    /// Nothing.
    Leave,
    /// Another entry; what the old one used is given up, unless it is kept.
    Set { entry: u64, release: bool },
    /// Zeroes, written.
    Write,
}

impl Qcow2 {
    /// Takes a range away.
    pub(super) fn unmap(&self, at: u64, len: u64, kind: Kind) -> io::Result<()> {
        self.touched.store(true, Ordering::Release);
        let cluster = self.geometry.cluster();
        let end = at + len;
        // The last cluster of the disk is whole, even if the disk ends in it.
        let whole_end = if end == self.size() {
            end.next_multiple_of(cluster)
        } else {
            end
        };
        let first = at.next_multiple_of(cluster);
        let last = whole_end - whole_end % cluster;
        if first >= last {
            return self.zero_part(at, end, kind);
        }
        self.zero_part(at, first, kind)?;
        let mut guest = self.guest(first);
        let stop = self.guest(last);
        while guest < stop {
            self.relieve()?;
            guest = self.unmap_some(guest, stop, kind)?;
        }
        self.zero_part(last.min(end), end, kind)
    }

    /// A part of one cluster.
    fn zero_part(&self, at: u64, end: u64, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::Discard | Kind::Forget => return Ok(()),
            Kind::Zero { .. } => {}
        }
        let mut at = at;
        while at < end {
            let place = self.locate(at, end - at)?;
            let len = match place {
                super::Place::Zero(len) => len,
                super::Place::Data { len, .. }
                | super::Place::Compressed { len, .. }
                | super::Place::Backing(_, len) => {
                    let len = len.min(self.geometry.cluster());
                    let zeroes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
                    self.write(&zeroes, at)?;
                    len
                }
            };
            at += len;
        }
        Ok(())
    }

    /// Changes some whole clusters from `guest` on, and returns where to go on.
    fn unmap_some(&self, guest: u64, stop: u64, kind: Kind) -> io::Result<u64> {
        let most = stop.min(guest + MOST_LOCKED);
        let mut tables = self.lock_idle(&(guest..most));
        let undescribed = tables.undescribed(guest);
        let hidden = guest << self.geometry.cluster_bits >= self.backing_size();
        if undescribed > 0 && (hidden || kind != (Kind::Zero { keep: kind.keeps() })) {
            return Ok((guest + undescribed).min(stop));
        }
        for guest in guest..most {
            match self.step(&mut tables, guest, kind)? {
                Step::Leave => {}
                Step::Set { entry, release } => {
                    let old = tables.mapping(guest)?;
                    tables.set_entry(guest, entry)?;
                    if release {
                        tables.release(old);
                    }
                }
                Step::Write => {
                    drop(tables);
                    let at = guest << self.geometry.cluster_bits;
                    self.write(&vec![0; self.geometry.cluster_len()], at)?;
                    return Ok(guest + 1);
                }
            }
        }
        Ok(most)
    }

    fn step(&self, tables: &mut Tables, guest: u64, kind: Kind) -> io::Result<Step> {
        let old = tables.mapping(guest)?;
        let v3 = self.geometry.v3;
        let hidden = guest << self.geometry.cluster_bits >= self.backing_size();
        let set = |entry| Step::Set {
            entry,
            release: true,
        };
        Ok(match (kind, old) {
            (Kind::Forget, Mapping::Unallocated) => Step::Leave,
            (Kind::Forget, _) => set(0),
            (_, Mapping::Unallocated) if hidden => Step::Leave,
            // Nothing of ours to give back.
            (Kind::Discard, Mapping::Unallocated | Mapping::Zero { kept: None }) => Step::Leave,
            (Kind::Zero { .. }, Mapping::Zero { kept: None }) => Step::Leave,
            (Kind::Zero { keep: true }, Mapping::Zero { kept: Some(_) }) => Step::Leave,
            (Kind::Zero { keep: true }, Mapping::Data { host, copied: true }) if v3 => Step::Set {
                entry: host | COPIED | ZERO,
                release: false,
            },
            (Kind::Zero { keep: true }, Mapping::Data { .. }) => Step::Write,
            (_, _) if hidden => set(0),
            (_, _) if v3 => set(ZERO),
            // Version 2 has no way to hide the backing file but to write.
            (Kind::Discard, _) => Step::Leave,
            (Kind::Zero { .. }, _) => Step::Write,
        })
    }
}

impl Kind {
    fn keeps(self) -> bool {
        match self {
            Self::Zero { keep } => keep,
            Self::Discard | Self::Forget => false,
        }
    }
}

/// The entry that says this, to take back a change.
pub fn entry_of(mapping: Mapping, geometry: Geometry) -> u64 {
    match mapping {
        Mapping::Unallocated => 0,
        Mapping::Zero { kept: None } => ZERO,
        Mapping::Zero { kept: Some(host) } => host | ZERO,
        Mapping::Data { host, copied } => host | if copied { COPIED } else { 0 },
        Mapping::Compressed { host, len } => compressed_entry(host, len, geometry) | COMPRESSED,
    }
}
