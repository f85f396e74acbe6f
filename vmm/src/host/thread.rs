//! Threads with a name, for debuggers and panic messages.

use std::thread::{Builder, JoinHandle};

/// Starts a thread.
///
/// # Errors
/// When the host has no room for one.
pub fn spawn<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(body)
}
