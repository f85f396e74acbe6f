//! The host's way to make several transfers at once.

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod ring;
        pub use ring::Ring;
    } else {
        mod none;
        pub use none::Ring;
    }
}
