//! Host services: the only place that starts threads, reads clocks, and touches terminals, file
//! descriptors and signals.

pub mod bell;
pub mod clock;
pub mod poll;
pub mod random;
pub mod signals;
pub mod socket;
pub mod stdio;
pub mod thread;
pub mod tty;
pub mod winsize;
