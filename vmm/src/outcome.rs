//! How a machine ends, and what its threads report on the way.

use std::sync::mpsc::Sender;

use crate::gate::Epoch;

/// Why a machine ended. The first reason counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest powered off.
    PoweredOff,
    /// The guest asked for a reset and the configuration says not to.
    ResetRefused,
    /// The user left by the console's escape, or the program asked the machine to end.
    Left,
    /// The host sent the process this signal.
    Signal(i32),
    /// The guest crashed, or asked for what no machine can do.
    GuestFailed {
        /// One line.
        reason: String,
        /// Registers of the vCPU, in lines; empty when no single vCPU is to blame.
        registers: String,
    },
    /// The host failed; one line.
    HostFailed(String),
}

/// What the machine's threads tell its coordinator.
#[derive(Clone, Debug)]
pub enum Event {
    /// The machine is over.
    End(Outcome),
    /// The guest asked for a reset, in this epoch. Several vCPUs may ask for the same one.
    Reset(Epoch),
    /// The vCPUs shall stop where they are; the sender hears when they have.
    Pause(Sender<()>),
    /// Paused vCPUs shall go on.
    Resume,
}
