//! The system level of the CPU, behaviour by behaviour, as a guest sees it.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

mod debug;
mod exceptions;
mod hypervised;
mod machine;
mod maintenance;
mod timers;
mod translation;
mod traps;
mod wild;
