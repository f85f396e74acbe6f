//! The accelerator contract and the accelerators behind it.

pub mod api;
pub mod scripted;
pub mod select;

pub use select::{Accel, Choice};
