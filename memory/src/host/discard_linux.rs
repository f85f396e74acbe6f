//! Giving memory back to Linux.

// UNSAFETY: a call of the host on guest memory.

use std::io;

use super::Run;

/// Gives back whole pages of private anonymous memory: they read as zeros and cost nothing until
/// they are touched again.
///
/// # Safety
/// The run is whole pages of such memory, mapped for the time of the call, and nobody holds a
/// reference to its bytes as plain data.
pub(crate) unsafe fn discard(run: Run) -> io::Result<()> {
    // SAFETY: the caller's promise; the mapping itself stays.
    let done = unsafe { libc::madvise(run.base.as_ptr().cast(), run.len, libc::MADV_DONTNEED) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
