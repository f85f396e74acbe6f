//! What is behind a virtio disk.

use std::io;
use std::ops::Range;

use memory::Pieces;

/// An array of bytes, in a file most likely.
///
/// All methods are called from several threads at once. What was written lasts once a flush that
/// began later has returned. An error of one call leaves the disk usable.
pub trait Disk: Send + Sync {
    /// What messages call it: its file's name.
    fn name(&self) -> &str;

    /// What it is like. It never changes.
    fn shape(&self) -> Shape;

    /// Bytes. Changes only by [`Disk::resize`].
    fn size(&self) -> u64;

    /// Fills `range` of a buffer with what is at `at`.
    ///
    /// # Errors
    /// The host's.
    fn read(&self, at: u64, into: &Pieces, range: Range<u64>) -> io::Result<()>;

    /// Writes `range` of a buffer at `at`.
    ///
    /// # Errors
    /// The host's, no space among them.
    fn write(&self, at: u64, from: &Pieces, range: Range<u64>) -> io::Result<()>;

    /// Makes all finished writes last.
    ///
    /// # Errors
    /// The host's.
    fn flush(&self) -> io::Result<()>;

    /// What is there is not needed any more.
    ///
    /// # Errors
    /// The host's.
    fn discard(&self, at: u64, len: u64) -> io::Result<()>;

    /// Makes a range zero; with `unmap`, its space may be given back.
    ///
    /// # Errors
    /// The host's.
    fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> io::Result<()>;

    /// Gives it another size.
    ///
    /// # Errors
    /// The host's, or that it cannot have this size.
    fn resize(&self, size: u64) -> io::Result<()>;
}

/// What a disk is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Writes are refused.
    pub read_only: bool,
    /// Discards are worth while.
    pub discard: bool,
    /// Requests should be of multiples of this many bytes; a power of two.
    pub block: u32,
    /// Space is given back in units of this many bytes; a power of two.
    pub discard_unit: u32,
}
