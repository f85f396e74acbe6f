//! The VMM on the scripted backend: the run loop exit by exit, and the composed machine.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod harness;
mod kernel_gic;
mod machine;
mod random_guests;
mod run_loop;
mod stop;
