//! What images are kept in for tests and fuzzing: memory, or a directory that goes away.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::storage::Storage;

/// A directory of a test's own, which is removed with what is in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// One for the test of this name.
    ///
    /// # Errors
    /// The host's.
    pub fn new(test: &str) -> io::Result<Self> {
        let name = format!("armlet-{test}-{}", std::process::id());
        // A link on the way to it would make other names of its files.
        let path = fs::canonicalize(std::env::temp_dir())?.join(name);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind is for the host to tidy up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes in memory, in the place of a file.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    bytes: Mutex<Vec<u8>>,
    /// The longest it may get: a write beyond finds no space.
    limit: Mutex<Option<u64>>,
}

impl MemoryStorage {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Mutex::new(bytes),
            limit: Mutex::new(None),
        }
    }

    /// A copy of the bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().clone()
    }

    /// From now on there is no space beyond this length.
    pub fn limit(&self, limit: Option<u64>) {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, end: u64) -> io::Result<usize> {
        /// No test needs more; hostile offsets ask for it.
        const MOST: u64 = 1 << 30;
        let limit = *self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        if end > limit.unwrap_or(MOST).min(MOST) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        usize::try_from(end).map_err(io::Error::other)
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let bytes = self.lock();
        let start = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        let count = into.len().min(bytes.len() - start);
        into[..count].copy_from_slice(&bytes[start..start + count]);
        into[count..].fill(0);
        Ok(())
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let end = self.check(at.saturating_add(from.len() as u64))?;
        let mut bytes = self.lock();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[end - from.len()..end].copy_from_slice(from);
        Ok(())
    }

    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        let mut bytes = self.lock();
        let clip = |at: u64| usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        let (start, end) = (clip(at), clip(at.saturating_add(len)));
        bytes[start..end].fill(0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = self.check(len)?;
        self.lock().resize(len, 0);
        Ok(())
    }

    fn usage(&self) -> io::Result<u64> {
        self.len()
    }

    fn file(&self) -> Option<&Arc<File>> {
        None
    }

    fn alignment(&self) -> u32 {
        1
    }
}
