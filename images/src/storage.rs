//! What an image is kept in: a file of the host.
//!
//! [`Storage`] is also the seam where tests put a disk that loses power: see the tests of
//! [`crate::qcow2`].

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::host;
use crate::options::Durability;

/// An array of bytes that grows. Reading past its end gives zeroes; writing there makes it longer.
/// All methods may be called from several threads at once.
pub trait Storage: fmt::Debug + Send + Sync {
    /// Its bytes.
    ///
    /// # Errors
    /// The host's; so for all methods.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The host's.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` with what is at `at`.
    ///
    /// # Errors
    /// The host's.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes `from` at `at`.
    ///
    /// # Errors
    /// The host's.
    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()>;

    /// Makes a range within the length read as zeroes; with `unmap`, gives its space back if that
    /// can be done.
    ///
    /// # Errors
    /// The host's.
    fn zero(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        let _ = unmap;
        write_zeroes(self, at, len)
    }

    /// Gives the space of a range back, if that can be done; otherwise does nothing.
    ///
    /// # Errors
    /// The host's.
    fn punch(&self, at: u64, len: u64) -> io::Result<()>;

    /// Makes all finished writes outlive a loss of power. Once this has failed, it always fails:
    /// the system may have dropped what it could not write.
    ///
    /// # Errors
    /// The host's.
    fn sync(&self) -> io::Result<()>;

    /// Gives it another length.
    ///
    /// # Errors
    /// The host's.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Bytes that it takes on the host's disk.
    ///
    /// # Errors
    /// The host's.
    fn usage(&self) -> io::Result<u64>;

    /// The file, for who can read and write it by itself.
    fn file(&self) -> Option<&Arc<File>>;

    /// What places, lengths and memory have to be aligned to in [`Storage::file`].
    fn alignment(&self) -> u32;
}

/// Zeroes, written.
fn write_zeroes<S: Storage + ?Sized>(storage: &S, at: u64, len: u64) -> io::Result<()> {
    const CHUNK: usize = 64 << 10;
    let zeroes = [0; CHUNK];
    let mut done = 0;
    while done < len {
        let count = usize::try_from(len - done).map_or(CHUNK, |left| left.min(CHUNK));
        storage.write_at(&zeroes[..count], at + done)?;
        done += count as u64;
    }
    Ok(())
}

/// A file of the host.
#[derive(Debug)]
pub struct FileStorage {
    file: Arc<File>,
    /// Where the page cache is left out: the same file with it, for what is not aligned.
    cached: Option<File>,
    alignment: u32,
    durability: Option<Durability>,
    can_punch: AtomicBool,
    can_zero: AtomicBool,
    lost: AtomicBool,
}

impl FileStorage {
    /// A file, and the same file opened with the page cache if `file` leaves it out. A flush does
    /// nothing without a `durability`.
    pub fn new(file: File, cached: Option<File>, durability: Option<Durability>) -> Self {
        let alignment = match cached {
            Some(_) => host::direct_alignment(&file),
            None => 1,
        };
        Self {
            file: Arc::new(file),
            cached,
            alignment,
            durability,
            can_punch: AtomicBool::new(true),
            can_zero: AtomicBool::new(true),
            lost: AtomicBool::new(false),
        }
    }

    /// The descriptor for a transfer: the page cache takes what is not aligned.
    fn route(&self, memory: &[u8], at: u64) -> &File {
        let Some(cached) = &self.cached else {
            return &self.file;
        };
        let align = u64::from(self.alignment);
        let aligned = at.is_multiple_of(align)
            && (memory.len() as u64).is_multiple_of(align)
            && memory
                .as_ptr()
                .addr()
                .is_multiple_of(self.alignment as usize);
        if aligned { &self.file } else { cached }
    }

    /// Tries what not every file system can do, until it says that it cannot.
    fn attempt(
        can: &AtomicBool,
        file: &File,
        (at, len): (u64, u64),
        call: fn(&File, u64, u64) -> io::Result<bool>,
    ) -> io::Result<bool> {
        if len == 0 || !can.load(Ordering::Relaxed) {
            return Ok(len == 0);
        }
        let done = call(file, at, len)?;
        if !done {
            can.store(false, Ordering::Relaxed);
        }
        Ok(done)
    }
}

impl Storage for FileStorage {
    fn len(&self) -> io::Result<u64> {
        length(&self.file)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let file = self.route(into, at);
        let mut done = 0;
        while done < into.len() {
            // Past an odd number of bytes, what is left is not aligned any more.
            let file = if done == 0 {
                file
            } else {
                self.route(&into[done..], at + done as u64)
            };
            match file.read_at(&mut into[done..], at + done as u64) {
                Ok(0) => {
                    into[done..].fill(0);
                    return Ok(());
                }
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            let place = at + done as u64;
            match self
                .route(&from[done..], place)
                .write_at(&from[done..], place)
            {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn zero(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        let range = (at, len);
        if unmap && Self::attempt(&self.can_punch, &self.file, range, host::punch)? {
            return Ok(());
        }
        if Self::attempt(&self.can_zero, &self.file, range, host::zero)? {
            return Ok(());
        }
        write_zeroes(self, at, len)
    }

    fn punch(&self, at: u64, len: u64) -> io::Result<()> {
        Self::attempt(&self.can_punch, &self.file, (at, len), host::punch).map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        if self.lost.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier flush failed"));
        }
        let done = match self.durability {
            None => Ok(()),
            Some(Durability::Full) => self.file.sync_data(),
            Some(Durability::Relaxed) => host::sync_relaxed(&self.file),
        };
        if done.is_err() {
            self.lost.store(true, Ordering::Release);
        }
        done
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn usage(&self) -> io::Result<u64> {
        /// The unit of a file's blocks, whatever its file system's are.
        const BLOCK: u64 = 512;
        Ok(self.file.metadata()?.blocks() * BLOCK)
    }

    fn file(&self) -> Option<&Arc<File>> {
        Some(&self.file)
    }

    fn alignment(&self) -> u32 {
        self.alignment
    }
}

/// Bytes of a file or a block device.
fn length(file: &File) -> io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    let meta = file.metadata()?;
    if meta.is_file() {
        return Ok(meta.len());
    }
    // Only places are given to reads and writes, so nobody minds where the file stands.
    let mut file = file;
    file.seek(SeekFrom::End(0))
}
