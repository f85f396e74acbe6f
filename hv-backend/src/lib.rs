//! The accelerator contract and the accelerators behind it.

pub mod api;
