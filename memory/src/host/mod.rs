//! Calls of the host that `std` does not have, on memory that a guest shares.

// UNSAFETY: gives the host's kernel addresses of guest memory.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes guest RAM in our place"
)]

#[cfg_attr(target_os = "linux", path = "discard_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "discard_elsewhere.rs")]
mod discard;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

pub(crate) use discard::discard;

/// Runs of guest memory for one call of the host: few enough for every host's `IOV_MAX`.
pub(crate) const RUNS: usize = 128;
/// No call moves more bytes: a host refuses more than an `int` can count.
pub(crate) const MOST: usize = 1 << 30;

/// A run of guest memory in the host.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// Its first byte.
    pub base: NonNull<u8>,
    /// Bytes.
    pub len: usize,
}

impl Run {
    /// No byte.
    pub(crate) const NONE: Self = Self {
        base: NonNull::dangling(),
        len: 0,
    };
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the file to memory.
    In,
    /// From memory to the file.
    Out,
}

/// Moves bytes between a file and at most [`RUNS`] runs, in one call of the host. How many.
///
/// # Safety
/// Each run is mapped memory for the time of the call, readable and, for [`Way::In`], writable, and
/// nobody holds a reference to its bytes as plain data.
pub(crate) unsafe fn transfer(way: Way, file: &File, at: u64, runs: &[Run]) -> io::Result<usize> {
    let at = libc::off_t::try_from(at).map_err(io::Error::other)?;
    let nothing = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    let mut vectors = [nothing; RUNS];
    let mut count = 0;
    for (vector, run) in vectors.iter_mut().zip(runs) {
        vector.iov_base = run.base.as_ptr().cast();
        vector.iov_len = run.len;
        count += 1;
    }
    let fd = file.as_raw_fd();
    loop {
        let moved = match way {
            // SAFETY: `count` vectors are filled, with memory that the caller vouches for.
            Way::In => unsafe { libc::preadv(fd, vectors.as_ptr(), count, at) },
            // SAFETY: as above.
            Way::Out => unsafe { libc::pwritev(fd, vectors.as_ptr(), count, at) },
        };
        match usize::try_from(moved) {
            Ok(moved) => return Ok(moved),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Bytes of the host's pages.
#[must_use]
pub fn page_size() -> usize {
    // SAFETY: reads a number; no memory is involved.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}
