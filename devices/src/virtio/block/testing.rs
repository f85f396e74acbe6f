//! A disk in memory that fails on demand, for tests and fuzzing.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory::Pieces;

use super::{Disk, Shape};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shape: Shape,
    bytes: Mutex<Vec<u8>>,
    failure: Mutex<Option<io::ErrorKind>>,
    flushes: AtomicU64,
}

impl MemoryDisk {
    /// A disk with these bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>, read_only: bool) -> Self {
        Self::of_shape(
            bytes,
            Shape {
                read_only,
                ..Self::SHAPE
            },
        )
    }

    /// What a disk is like that can be written.
    pub const SHAPE: Shape = Shape {
        read_only: false,
        discard: true,
        block: 512,
        discard_unit: 4096,
        waits: false,
    };

    /// A disk with these bytes, and of this shape.
    #[must_use]
    pub fn of_shape(bytes: Vec<u8>, shape: Shape) -> Self {
        Self(Arc::new(Inner {
            shape,
            bytes: Mutex::new(bytes),
            failure: Mutex::default(),
            flushes: AtomicU64::new(0),
        }))
    }

    /// What is on it.
    #[must_use]
    pub fn contents(&self) -> Vec<u8> {
        self.bytes().clone()
    }

    /// Has everything fail from now on, or nothing.
    pub fn fail(&self, how: Option<io::ErrorKind>) {
        *self
            .0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = how;
    }

    /// Flushes since the last call.
    #[must_use]
    pub fn take_flushes(&self) -> u64 {
        self.0.flushes.swap(0, Ordering::SeqCst)
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> io::Result<()> {
        let failure = *self
            .0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Changes a range that has to be on the disk.
    fn change(&self, at: u64, len: u64, change: impl FnOnce(&mut [u8])) -> io::Result<()> {
        self.check()?;
        let mut bytes = self.bytes();
        let range = usize::try_from(at)
            .ok()
            .zip(usize::try_from(len).ok())
            .and_then(|(at, len)| bytes.get_mut(at..at.checked_add(len)?));
        let Some(range) = range else {
            return Err(io::Error::other("not on the disk"));
        };
        change(range);
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn name(&self) -> &str {
        "memory"
    }

    fn shape(&self) -> Shape {
        self.0.shape
    }

    fn size(&self) -> u64 {
        self.bytes().len() as u64
    }

    fn read(&self, at: u64, into: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut copied = Ok(());
        self.change(at, range.end - range.start, |bytes| {
            copied = into.copy_from(range.start, bytes);
        })?;
        copied.map_err(io::Error::other)
    }

    fn write(&self, at: u64, from: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut copied = Ok(());
        self.change(at, range.end - range.start, |bytes| {
            copied = from.copy_to(range.start, bytes);
        })?;
        copied.map_err(io::Error::other)
    }

    fn flush(&self) -> io::Result<()> {
        self.check()?;
        self.0.flushes.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.change(at, len, |bytes| bytes.fill(0xdd))
    }

    fn write_zeroes(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
        self.change(at, len, |bytes| bytes.fill(0))
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.check()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        self.bytes().resize(size, 0);
        Ok(())
    }
}
