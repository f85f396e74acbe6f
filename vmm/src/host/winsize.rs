//! The size of the terminal that standard output is.

use std::fmt;

use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::{Handle, Signals};

use super::thread;

/// Columns and rows of the terminal, if standard output is one.
#[must_use]
pub fn size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// A thread that watches the size. Dropping it ends the thread.
pub struct Resizes(Handle);

impl Resizes {
    /// Calls `told` with each new size.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn watch(told: impl Fn((u16, u16)) + Send + 'static) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGWINCH])?;
        let handle = signals.handle();
        thread::spawn("terminal-size", move || {
            for _ in signals.forever() {
                if let Some(size) = size() {
                    told(size);
                }
            }
        })?;
        Ok(Self(handle))
    }
}

impl Drop for Resizes {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Resizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resizes")
    }
}
