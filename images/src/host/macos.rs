//! macOS. Holes are not made here: `F_PUNCHHOLE` has no safe wrapper. Space that a guest discards is
//! used again by the image, but not given back.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_nocache, fsync};

/// Whether leaving the page cache out asks for alignment: here it does not.
pub const DIRECT_IS_ALIGNED: bool = false;

/// The flag to open a file with, to leave the page cache out: there is none.
pub fn direct_flag() -> i32 {
    0
}

/// The flag to open a file with, so that opening a pipe does not wait for its other end.
pub fn nonblock_flag() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// Leaves the page cache out for an open file.
pub fn bypass_cache(file: &File) -> io::Result<()> {
    Ok(fcntl_nocache(file, true)?)
}

/// The alignment that a file asks for when the page cache is left out.
pub fn direct_alignment(_file: &File) -> u32 {
    1
}

/// Gives the space of a range back. Whether that can be done here.
pub fn punch(_file: &File, _at: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// Makes a range read as zeroes without writing them. Whether that can be done here.
pub fn zero(_file: &File, _at: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

/// A new file that has no name yet: there are none.
pub fn unnamed_file(_directory: &Path) -> Option<File> {
    None
}

/// Gives an unnamed file its name: there are none.
pub fn give_name(_file: &File, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The name by which this process reaches what it has open: there is none.
pub fn own_name(_file: &File) -> Option<PathBuf> {
    None
}

/// A flush as for ordinary files: into the drive, but not out of its cache.
pub fn sync_relaxed(file: &File) -> io::Result<()> {
    Ok(fsync(file)?)
}

/// The process that holds a lock on a file, if the system tells.
pub fn lock_holder(_file: &File) -> Option<u32> {
    None
}
