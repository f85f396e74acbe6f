//! How a machine ends, and what its threads report on the way.

use std::fmt;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::coordinator::Standing;
use crate::gate::Epoch;
use crate::stopping::StopRequest;

/// Why a machine ended. The first reason counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered off.
    PoweredOff,
    /// The guest asked for a reset and the configuration says not to.
    ResetRefused,
    /// The user left by the console's escape, or the program asked the machine to end.
    Left,
    /// The host sent the process this signal, and the guest was not asked, or did not shut down in
    /// time.
    Signal(i32),
    /// Somebody asked for the guest's power to be cut.
    Cut,
    /// Somebody asked the guest to shut down, it did not within this time, and its power was cut.
    StopTimedOut(Duration),
    /// The guest crashed, or asked for what no machine can do.
    GuestFailed {
        /// One line.
        reason: String,
        /// Registers of the vCPU, in lines; empty when no single vCPU is to blame.
        registers: String,
    },
    /// The host failed; one line.
    HostFailed(String),
    /// The saved state that the machine was to go on from is none that its vCPUs can hold; one
    /// line. Nothing of it ran.
    NotRestored(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest powered off"),
            Self::ResetRefused => f.write_str("the guest asked for a reset"),
            Self::Left => f.write_str("left the guest"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
            Self::Cut => f.write_str("the guest's power was cut, as it was asked for"),
            Self::StopTimedOut(limit) => {
                let seconds = limit.as_secs();
                write!(
                    f,
                    "the guest did not shut down within {seconds} s; its power was cut"
                )
            }
            Self::GuestFailed { reason, .. } | Self::HostFailed(reason) => f.write_str(reason),
            Self::NotRestored(reason) => f.write_str(reason),
        }
    }
}

/// What becomes of guest time while the machine is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhilePaused {
    /// The guest's counter stands still: no timer expires, and the guest notices nothing but that
    /// its wall clock went on.
    #[default]
    TimeStands,
    /// The guest's counter runs on with the host's clock: timers are late afterwards.
    TimeRuns,
}

/// Somebody who looks at a machine that stands still, and may change it.
pub struct Visit(Box<dyn FnOnce(&Standing<'_>) + Send>);

impl Visit {
    /// A visit.
    pub fn new(visitor: impl FnOnce(&Standing<'_>) + Send + 'static) -> Self {
        Self(Box::new(visitor))
    }

    /// Pays it.
    pub fn run(self, standing: &Standing<'_>) {
        (self.0)(standing);
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Visit")
    }
}

/// What the machine's threads tell its coordinator.
#[derive(Debug)]
pub enum Event {
    /// The machine is over.
    End(Outcome),
    /// The guest asked for a reset, in this epoch. Several vCPUs may ask for the same one.
    Reset(Epoch),
    /// The vCPUs shall stop where they are; the sender hears when they have.
    Pause(WhilePaused, Sender<()>),
    /// Paused vCPUs shall go on.
    Resume,
    /// The guest shall shut down.
    Stop(StopRequest),
    /// Somebody asks to see the paused machine; if it is not paused, the visit is dropped.
    Visit(Visit),
    /// Somebody asks to see the machine while it stands still, be it only for that.
    Still(Visit),
}
