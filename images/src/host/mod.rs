//! What each system does its own way: holes in files, durability, the page cache, who holds a lock.

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        pub use linux::*;
    } else if #[cfg(target_os = "macos")] {
        mod macos;
        pub use macos::*;
    } else {
        compile_error!("armlet's disk images know Linux and macOS");
    }
}
