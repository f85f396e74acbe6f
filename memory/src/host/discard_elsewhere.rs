//! Giving memory back to a host whose `madvise` promises nothing: new memory takes its place.

// UNSAFETY: a call of the host on guest memory.

use std::io;

use super::Run;

/// Gives back whole pages of private anonymous memory: they read as zeros and cost nothing until
/// they are touched again. An accelerator that was told of the old pages must be told of the new.
///
/// # Safety
/// The run is whole pages of such memory, mapped for the time of the call, and nobody holds a
/// reference to its bytes as plain data.
pub(crate) unsafe fn discard(run: Run) -> io::Result<()> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_FIXED;
    let base = run.base.as_ptr().cast();
    // SAFETY: the caller's promise: what is replaced are pages of a mapping like the new one.
    let placed = unsafe { libc::mmap(base, run.len, prot, flags, -1, 0) };
    match placed == libc::MAP_FAILED {
        false => Ok(()),
        true => Err(io::Error::last_os_error()),
    }
}
