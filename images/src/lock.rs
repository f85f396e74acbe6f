//! Keeps processes from using an image in ways that do not go together: one writer, or any number of
//! readers.
//!
//! The locks are the system's locks of whole files (`flock`), which end with the process however it
//! ends. They bind programs that ask for them; QEMU asks for another kind and does not see these.

use std::fs::{File, TryLockError};

use crate::error::Problem;
use crate::host;

/// Takes a lock for as long as `file` is open: shared for readers, exclusive for a writer.
pub fn lock(file: &File, readonly: bool) -> Result<(), Problem> {
    let taken = if readonly {
        file.try_lock_shared()
    } else {
        file.try_lock()
    };
    match taken {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let by = host::lock_holder(file).map_or_else(
                || " by another process".to_owned(),
                |pid| format!(" by process {pid}"),
            );
            Err(if readonly {
                Problem::BeingWritten(by)
            } else {
                Problem::Locked(by)
            })
        }
        Err(TryLockError::Error(error)) => Err(Problem::Host("lock the file", error)),
    }
}
