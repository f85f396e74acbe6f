//! qcow2: a disk in a file that grows as it is written, on top of a backing file if there is one.
//!
//! The format is described by QEMU's `docs/interop/qcow2.txt`; [`spec`] has its names. Versions 2 and
//! 3 are read and written, with all sizes of clusters and refcounts, compressed clusters (zlib, zstd),
//! backing files and internal snapshots, which are kept but not made. Refused by name: encryption,
//! external data files, subclusters, unknown incompatible features.
//!
//! - [`tables`] says where guest clusters are, [`alloc`] which clusters of the file are free; both are
//!   kept under one lock, in bounded caches ([`slices`]). Data are moved outside of it.
//! - [`mod@write`] gives clusters to guest clusters, [`zero`] takes them away.
//! - [`commit`] brings tables to the file in the one order that leaves, whenever power fails, nothing
//!   worse than clusters that are lost until [`check`] finds them: first the refcounts of what was
//!   allocated and the data, then what points to it, and only then what is free again.
//!
//! The header and the tables that are always kept are looked at when an image is opened, entries when
//! they are used: no entry makes us write outside of the file's data, or without bound, and what is
//! not there any more is no zero ([`whole`]).

pub(crate) mod alloc;
pub mod check;
mod commit;
pub mod compress;
pub mod create;
mod fields;
mod grow;
pub mod header;
mod read;
pub mod repair;
mod resize;
mod slices;
pub(crate) mod snapshots;
pub mod spec;
mod tables;
mod whole;
mod write;
mod zero;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Problem;
use crate::image::{Extent, FileRange, Image, Limits, check_range, readonly};
use crate::storage::Storage;
use header::Header;
use read::{Expanded, Place};
use spec::{AUTOCLEAR_BITMAPS, Geometry};
use tables::Tables;

/// Where the header has the features that who does not know them clears.
const HEADER_AUTOCLEAR: u64 = 88;

/// An open image.
#[derive(Debug)]
pub struct Qcow2 {
    storage: Arc<dyn Storage>,
    geometry: Geometry,
    compression: compress::Compression,
    backing: Option<Arc<dyn Image>>,
    readonly: bool,
    /// Whether discarded space is given back.
    discard: bool,
    /// Whether the size may change.
    fixed_size: bool,
    size: AtomicU64,
    tables: Mutex<Tables>,
    /// Rung when a guest cluster is not busy any more.
    unbusy: Condvar,
    /// One commit at a time.
    committing: Mutex<()>,
    /// One resize at a time.
    resizing: Mutex<()>,
    expanded: Mutex<Expanded>,
    /// Whether anything of the tables may have changed since the image was opened.
    touched: AtomicBool,
}

/// How an image is opened, beyond its header.
#[derive(Debug)]
pub struct Setup {
    /// The image of the backing file.
    pub backing: Option<Arc<dyn Image>>,
    /// Whether writes are refused.
    pub readonly: bool,
    /// Whether discarded space is given back.
    pub discard: bool,
}

impl Qcow2 {
    /// Opens what is in `storage`.
    ///
    /// # Errors
    /// What is wrong with the image, in one line.
    pub fn open(storage: Arc<dyn Storage>, header: &Header, setup: Setup) -> Result<Self, Problem> {
        let Setup {
            backing,
            readonly,
            discard,
        } = setup;
        if !readonly {
            header.refuse_writing()?;
        }
        let tables = Tables::open(Arc::clone(&storage), header, readonly).and_then(|tables| {
            if !readonly {
                whole::refuse_cut(&*storage, header, &tables)?;
            }
            Ok(tables)
        });
        let tables = tables.map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                Problem::Wrong(error.to_string())
            } else {
                Problem::Host("read it", error)
            }
        })?;
        if !readonly && header.geometry.v3 && header.autoclear & !AUTOCLEAR_BITMAPS != 0 {
            let known = (header.autoclear & AUTOCLEAR_BITMAPS).to_be_bytes();
            storage
                .write_at(&known, HEADER_AUTOCLEAR)
                .and_then(|()| storage.sync())
                .map_err(Problem::host("write it"))?;
        }
        Ok(Self {
            storage,
            geometry: header.geometry,
            compression: header.compression,
            backing,
            readonly,
            discard,
            fixed_size: header.snapshots > 0,
            size: AtomicU64::new(header.size),
            tables: Mutex::new(tables),
            unbusy: Condvar::new(),
            committing: Mutex::new(()),
            resizing: Mutex::new(()),
            expanded: Mutex::new(Expanded::new(header.geometry)),
            touched: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables, once none of these guest clusters is being changed.
    fn lock_idle(&self, guests: &std::ops::Range<u64>) -> MutexGuard<'_, Tables> {
        let mut tables = self.lock();
        while tables.is_busy(guests) {
            let waited = self.unbusy.wait(tables);
            tables = waited.unwrap_or_else(PoisonError::into_inner);
        }
        tables
    }

    /// The number of the guest cluster at `at`.
    fn guest(&self, at: u64) -> u64 {
        at >> self.geometry.cluster_bits
    }

    fn check_write(&self, at: u64, len: u64) -> io::Result<()> {
        check_range(at, len, self.size())?;
        if self.readonly {
            return Err(readonly());
        }
        Ok(())
    }

    /// Where the image is kept, if its file can take a transfer of these bytes as it is.
    fn file_range(&self, host: u64, len: u64, hold: crate::image::Hold) -> Option<FileRange> {
        let align = u64::from(self.storage.alignment());
        let len = len - len % align;
        let file = self
            .storage
            .file()
            .filter(|_| host.is_multiple_of(align) && len > 0)?;
        Some(FileRange {
            file: Arc::clone(file),
            at: host,
            len,
            hold,
        })
    }

    /// Bytes of the backing file's disk.
    fn backing_size(&self) -> u64 {
        self.backing.as_ref().map_or(0, |backing| backing.size())
    }
}

impl Image for Qcow2 {
    fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    fn limits(&self) -> Limits {
        let align = self.storage.alignment();
        Limits {
            request: align,
            memory: align,
            discard: u32::try_from(self.geometry.cluster()).unwrap_or(u32::MAX),
        }
    }

    fn is_readonly(&self) -> bool {
        self.readonly
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        check_range(at, into.len() as u64, self.size())?;
        self.read(into, at)
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        self.check_write(at, from.len() as u64)?;
        self.write(from, at)
    }

    fn extent(&self, at: u64, len: u64) -> io::Result<Extent> {
        check_range(at, len, self.size())?;
        match self.locate(at, len)? {
            Place::Data {
                host,
                len,
                inside,
                hold,
            } => {
                let range = self.file_range(host, len, hold).filter(|_| inside);
                Ok(range.map_or(Extent::Indirect(len), Extent::Data))
            }
            Place::Zero(len) => Ok(Extent::Zero(len)),
            Place::Compressed { len, .. } => Ok(Extent::Indirect(len)),
            Place::Backing(backing, len) => backing.extent(at, len),
        }
    }

    fn write_extent(&self, at: u64, len: u64) -> io::Result<Option<FileRange>> {
        self.check_write(at, len)?;
        if len == 0 {
            return Ok(None);
        }
        let mut tables = self.lock();
        // Whoever is changing this cluster goes first: writing the old place would be lost.
        if tables.is_busy(&(self.guest(at)..self.guest(at) + 1)) {
            return Ok(None);
        }
        let Some((host, len)) = self.in_place(&mut tables, at, len)? else {
            return Ok(None);
        };
        Ok(self.file_range(host, len, tables.space.hold()))
    }

    fn flush(&self) -> io::Result<()> {
        if self.readonly { Ok(()) } else { self.commit() }
    }

    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.check_write(at, len)?;
        if self.discard {
            self.unmap(at, len, zero::Kind::Discard)
        } else {
            Ok(())
        }
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.check_write(at, len)?;
        let keep = !(unmap && self.discard);
        self.unmap(at, len, zero::Kind::Zero { keep })
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        if self.readonly {
            return Err(readonly());
        }
        self.change_size(size)
    }

    fn usage(&self) -> io::Result<u64> {
        self.storage.usage()
    }
}

impl Drop for Qcow2 {
    fn drop(&mut self) {
        if self.readonly || !self.touched.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "a disk image was not closed well");
        }
    }
}
