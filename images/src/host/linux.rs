//! Linux.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, StatxFlags, fallocate, linkat, open, statx,
};

/// Whether the page cache is left out by opening a file with `O_DIRECT`, after which places, lengths
/// and memory have to be aligned.
pub const DIRECT_IS_ALIGNED: bool = true;

/// The flag to open a file with, to leave the page cache out.
pub fn direct_flag() -> i32 {
    OFlags::DIRECT.bits().cast_signed()
}

/// The flag to open a file with, so that opening a pipe does not wait for its other end.
pub fn nonblock_flag() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

/// Leaves the page cache out for an open file. Here, opening it did.
pub fn bypass_cache(_file: &File) -> io::Result<()> {
    Ok(())
}

/// The alignment of places, lengths and memory that a file asks for when the page cache is left out;
/// what is safe for all where the kernel does not tell.
pub fn direct_alignment(file: &File) -> u32 {
    const SAFE: u32 = 4096;
    let told = statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let told = told.ok().map(|stat| {
        let (memory, offset) = (stat.stx_dio_mem_align, stat.stx_dio_offset_align);
        memory.max(offset).max(512)
    });
    told.filter(|align| align.is_power_of_two() && *align <= 1 << 16 && *align > 512)
        .unwrap_or(SAFE)
}

/// Gives the space of a range back, which then reads as zeroes. Whether that can be done here.
pub fn punch(file: &File, at: u64, len: u64) -> io::Result<bool> {
    possible(fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        at,
        len,
    ))
}

/// Makes a range read as zeroes without writing them. Whether that can be done here.
pub fn zero(file: &File, at: u64, len: u64) -> io::Result<bool> {
    possible(fallocate(
        file,
        FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        at,
        len,
    ))
}

fn possible(done: rustix::io::Result<()>) -> io::Result<bool> {
    use rustix::io::Errno;
    match done {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV | Errno::PERM) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// A new file in this directory that has no name yet, and is gone with whoever has it open; none where
/// the file system has no such files, or the name could not be given later.
pub fn unnamed_file(directory: &Path) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(directory, flags, Mode::from_raw_mode(0o666)).ok()?;
    // Names are given by way of /proc, which not every container has.
    let file = File::from(file);
    fs::metadata(own_name(&file)?).ok()?;
    Some(file)
}

/// Gives an unnamed file its name, if that is free.
pub fn give_name(file: &File, path: &Path) -> io::Result<()> {
    let from = own_name(file).ok_or(io::ErrorKind::Unsupported)?;
    Ok(linkat(CWD, from, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
}

/// The name by which this process reaches what it has open, whatever other names that has; there
/// may be no /proc to have it.
pub fn own_name(file: &File) -> Option<PathBuf> {
    Some(format!("/proc/self/fd/{}", file.as_raw_fd()).into())
}

/// A flush as for ordinary files.
pub fn sync_relaxed(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// The process that holds a lock on a file, if the system tells.
pub fn lock_holder(file: &File) -> Option<u32> {
    let meta = file.metadata().ok()?;
    let device = meta.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let wanted = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, pid, place, ..] if *place == wanted => pid.parse().ok(),
            _ => None,
        }
    })
}
