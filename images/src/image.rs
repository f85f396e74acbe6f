//! What a virtual disk asks of an image.

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

/// An array of bytes that outlives the machine.
///
/// All methods may be called from several threads at once. Two calls that overlap happen in any
/// order, sector by sector, as on a real disk; calls that do not overlap never disturb each other.
/// What was written survives a loss of power once a [`flush`](Self::flush) that began after it has
/// returned. An error leaves the image consistent and usable: what the failed call should have
/// changed is then old or new.
pub trait Image: fmt::Debug + Send + Sync {
    /// Bytes of the disk. Changes only by [`resize`](Self::resize).
    fn size(&self) -> u64;

    /// What requests should look like.
    fn limits(&self) -> Limits;

    /// Whether writes are refused.
    fn is_readonly(&self) -> bool;

    /// Fills `into` with what is at `at`.
    ///
    /// # Errors
    /// The host's, or that the range is not on the disk.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes `from` at `at`.
    ///
    /// # Errors
    /// The host's, or that the range is not on the disk, or that the image is read-only.
    fn write_at(&self, from: &[u8], at: u64) -> io::Result<()>;

    /// Where the bytes from `at` are, for `len` bytes at most; never empty unless `len` is 0. The
    /// caller goes on behind what it is told.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn extent(&self, at: u64, len: u64) -> io::Result<Extent>;

    /// Where bytes from `at` may be overwritten in place, for `len` bytes at most, or nothing: then
    /// [`write_at`](Self::write_at) has to do it, for as much as one likes.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_extent(&self, at: u64, len: u64) -> io::Result<Option<FileRange>>;

    /// Makes all finished writes outlive a loss of power.
    ///
    /// # Errors
    /// The host's. Once the host has failed to keep what was written, it fails forever.
    fn flush(&self) -> io::Result<()>;

    /// Says that the range is not needed. It may read as anything that was there, or zeroes.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn discard(&self, at: u64, len: u64) -> io::Result<()>;

    /// Makes the range read as zeroes; with `unmap`, its space may be given back.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> io::Result<()>;

    /// Gives the disk another size. New bytes are zero; bytes beyond a smaller size are gone.
    ///
    /// # Errors
    /// The host's, or that this image cannot have this size.
    fn resize(&self, size: u64) -> io::Result<()>;

    /// Bytes that the image's own file takes on the host's disk.
    ///
    /// # Errors
    /// The host's.
    fn usage(&self) -> io::Result<u64>;
}

/// What requests should look like. All are powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Places and lengths should be multiples of this: what is not is slower, and is never
    /// given as a [`FileRange`].
    pub request: u32,
    /// Memory for reads and writes of a [`FileRange`] must be aligned to this.
    pub memory: u32,
    /// The unit in which space is allocated and given back.
    pub discard: u32,
}

/// Where some bytes of a disk are.
#[derive(Clone, Debug)]
pub enum Extent {
    /// In a file, as they are.
    Data(FileRange),
    /// Nowhere: so many zeroes.
    Zero(u64),
    /// So many bytes that only [`Image::read_at`] can make.
    Indirect(u64),
}

impl Extent {
    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(range) => range.len,
            Self::Zero(len) | Self::Indirect(len) => *len,
        }
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Some bytes of a disk, in a file. Keep it until the transfer is done.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Where in the file.
    pub at: u64,
    /// How many bytes.
    pub len: u64,
    /// Keeps the place from being used for anything else.
    pub hold: Hold,
}

/// Keeps a place of a file from being used for anything else for as long as it lives.
#[derive(Clone, Debug, Default)]
pub struct Hold(Option<Arc<()>>);

impl Hold {
    /// A hold on what is never moved.
    #[must_use]
    pub fn nothing() -> Self {
        Self(None)
    }

    /// Whether the place is never used for anything else anyway.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// A hold on what `token` guards.
    #[must_use]
    pub fn of(token: &Arc<()>) -> Self {
        Self(Some(Arc::clone(token)))
    }
}

/// That a range is on a disk of `size` bytes.
pub(crate) fn check_range(at: u64, len: u64, size: u64) -> io::Result<()> {
    match at.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        Some(_) | None => {
            let message = format!("{len} bytes at {at} are not on a disk of {size} bytes");
            Err(io::Error::new(io::ErrorKind::InvalidInput, message))
        }
    }
}

/// What a write to a read-only image comes to.
pub(crate) fn readonly() -> io::Error {
    io::Error::new(
        io::ErrorKind::ReadOnlyFilesystem,
        "the image was opened read-only",
    )
}
