//! Host services: the only place that starts threads, reads clocks, and touches terminals, file
//! descriptors and signals.

pub mod clock;
pub mod thread;
