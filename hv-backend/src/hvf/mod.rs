//! The `hvf` backend: guests on the processor itself, through Hypervisor.framework of macOS on Apple
//! Silicon.
//!
//! It reaches the framework through one [`table::Table`] of functions. On a Mac the linker and `dlsym`
//! fill it; elsewhere there is none, unless a test registers a simulator's ([`register`]).

pub mod abi;
pub mod obstacle;
mod sys;

pub use sys::register;
pub use sys::table;

use obstacle::Obstacle;
use table::Table;

/// The functions to call: those that a test registered, or the host's.
///
/// # Errors
/// What stands in the way.
pub fn functions() -> Result<&'static Table, Obstacle> {
    sys::registered().map_or_else(crate::hvf_table::table, Ok)
}
