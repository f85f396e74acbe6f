//! Signals that ask the process to end.

use std::fmt;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use super::{thread, tty};

/// What a signal asks for, by how many there were before.
///
/// | signal              | the guest may still shut down | its power is being cut |
/// |---------------------|-------------------------------|------------------------|
/// | `SIGTERM`, `SIGINT`, the first | it is asked to     | the process ends       |
/// | the same, later     | its power is cut              | the process ends       |
/// | `SIGHUP`, `SIGQUIT` | its power is cut              | the process ends       |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// The guest is to shut down.
    Ask,
    /// The guest's power is to be cut.
    Cut,
    /// The process is to end, whatever it is busy with.
    AtOnce,
}

/// The signals that came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    asked: bool,
    cut: bool,
}

impl Patience {
    /// Takes the next signal.
    pub fn take(&mut self, signal: i32) -> Urgency {
        let asks = matches!(signal, SIGTERM | SIGINT) && !self.asked;
        if self.cut {
            Urgency::AtOnce
        } else if asks {
            self.asked = true;
            Urgency::Ask
        } else {
            self.cut = true;
            Urgency::Cut
        }
    }
}

/// A thread that waits for signals. Dropping it gives the signals their usual effect only as far
/// as this process is concerned: they are caught, and nobody listens.
pub struct Watch(Handle);

impl Watch {
    /// Calls `told` with each signal that asks the process to end, and how urgently it does. One
    /// that means the process to end at once does so: the terminal is put back.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn start(told: impl Fn(i32, Urgency) + Send + 'static) -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
        let handle = signals.handle();
        thread::spawn("signals", move || {
            let mut patience = Patience::default();
            for signal in signals.forever() {
                match patience.take(signal) {
                    Urgency::AtOnce => end_by(signal),
                    urgency @ (Urgency::Ask | Urgency::Cut) => told(signal, urgency),
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(signals: &[i32]) -> Vec<Urgency> {
        let mut patience = Patience::default();
        signals
            .iter()
            .map(|signal| patience.take(*signal))
            .collect()
    }

    #[test]
    fn the_first_asks_the_second_cuts_and_the_third_ends_the_process() {
        use Urgency::{Ask, AtOnce, Cut};
        assert_eq!(after(&[SIGTERM, SIGTERM, SIGTERM]), [Ask, Cut, AtOnce]);
        assert_eq!(after(&[SIGINT, SIGTERM, SIGINT]), [Ask, Cut, AtOnce]);
    }

    #[test]
    fn a_lost_terminal_and_quit_ask_nobody() {
        use Urgency::{Ask, AtOnce, Cut};
        assert_eq!(after(&[SIGHUP, SIGTERM]), [Cut, AtOnce]);
        assert_eq!(after(&[SIGTERM, SIGQUIT, SIGINT]), [Ask, Cut, AtOnce]);
    }
}
