//! The accelerator contract and the accelerators behind it.

pub mod api;
pub mod scripted;
pub mod select;
pub mod soft;

// The one place that tells platforms apart: an accelerator is whole files, or says why it is not
// there. Both forms of a module offer the same `open`.
cfg_if::cfg_if! {
    if #[cfg(all(target_os = "linux", target_arch = "aarch64"))] {
        pub mod kvm;
    } else {
        #[path = "kvm/elsewhere.rs"]
        pub mod kvm;
    }
}

pub use select::{Accel, Choice};
