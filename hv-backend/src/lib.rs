//! The accelerator contract and the accelerators behind it.

pub mod api;
pub mod debug;
mod discard;
pub mod executor;
pub mod hvf;
pub mod id_policy;
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

// Where the functions of Hypervisor.framework come from, and how the one is called that no Rust type
// describes. The rest of that backend is compiled everywhere.
cfg_if::cfg_if! {
    if #[cfg(all(target_os = "macos", target_arch = "aarch64"))] {
        #[path = "hvf/sys/framework.rs"]
        mod hvf_table;
    } else {
        #[path = "hvf/elsewhere.rs"]
        mod hvf_table;
    }
}

cfg_if::cfg_if! {
    if #[cfg(target_arch = "aarch64")] {
        #[path = "hvf/sys/vector_aarch64.rs"]
        pub mod hvf_vector;
    } else if #[cfg(all(unix, target_arch = "x86_64"))] {
        #[path = "hvf/sys/vector_x86_64.rs"]
        pub mod hvf_vector;
    } else {
        #[path = "hvf/sys/vector_elsewhere.rs"]
        pub mod hvf_vector;
    }
}

pub use select::{Accel, Choice};
