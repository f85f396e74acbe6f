//! What is behind a virtio disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use memory::Pieces;
use transfers::Way;

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

    /// Where the bytes at `at` lie as they are, if the host may move `range` of a buffer from or to
    /// there without this disk: a file, and the place in it. That has to be true for as long as the
    /// disk is not made smaller.
    fn place(
        &self,
        way: Way,
        at: u64,
        buffer: &Pieces,
        range: &Range<u64>,
    ) -> Option<(Arc<File>, u64)> {
        let _ = (way, at, buffer, range);
        None
    }

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
    /// Reads and writes wait for the drive itself, which does several in the time of one: who has
    /// several asks for their [places](Disk::place). No guest sees it.
    pub waits: bool,
}
