//! No test hangs, whatever the accelerator does.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::simulated;

/// What one test may take. An emulated host takes a tenth of it.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Runs a test's body on a thread of its own, and fails when it takes longer than [`LIMIT`]. The
/// thread is left behind then: it ends with the process.
///
/// # Panics
/// When the body does, takes too long, or does to a simulated Mac what none allows.
pub fn watched(body: impl FnOnce() + Send + 'static) {
    watched_for(LIMIT, body);
}

/// As [`watched`], for a test that may take longer.
///
/// # Panics
/// As there.
pub fn watched_for(limit: Duration, body: impl FnOnce() + Send + 'static) {
    let (done, finished) = channel();
    let thread = thread::spawn(move || {
        body();
        // Nobody waits any more if the time is up.
        let _ = done.send(());
    });
    match finished.recv_timeout(limit) {
        Ok(()) => {
            simulated::last_verdict().unwrap_or_else(|error| panic!("the Mac complains:\n{error}"))
        }
        Err(RecvTimeoutError::Timeout) => panic!("hangs: no end after {} s", limit.as_secs()),
        Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    }
}
