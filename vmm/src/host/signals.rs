//! Signals that ask the process to end.

use std::fmt;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::{thread, tty};

/// A thread that waits for signals. Dropping it gives the signals their usual effect only as far
/// as this process is concerned: they are caught, and nobody listens.
pub struct Watch(Handle);

impl Watch {
    /// Calls `told` with the first signal that asks the process to end. A second one means that
    /// ending takes too long: the terminal is put back and the process ends at once.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn start(told: impl Fn(i32) + Send + 'static) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let handle = signals.handle();
        thread::spawn("signals", move || {
            let mut signals = signals.forever();
            if let Some(first) = signals.next() {
                told(first);
            }
            if let Some(second) = signals.next() {
                end_by(second);
            }
        })?;
        Ok(Self(handle))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Ends the process as this signal does, so that its parent sees why.
pub fn end_by(signal: i32) -> ! {
    tty::restore();
    let _ = signal_hook::low_level::emulate_default_handler(signal);
    // Only for a signal that does not end processes.
    std::process::exit(128 + signal)
}
