//! The accelerator contract and the accelerators behind it.

pub mod api;
pub mod scripted;
pub mod select;
pub mod soft;

pub use select::{Accel, Choice};
