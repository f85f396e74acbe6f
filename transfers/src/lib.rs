//! Transfers between files and guest memory, several at once: what a [`Ring`] was given is under way
//! until it is [reaped](Ring::reap), in whatever order the host gets done.
//!
//! On Linux it is an io_uring. Elsewhere, and where the kernel or its administrator says no,
//! [`Ring::new`] is an error, and whoever asked makes one transfer at a time as `memory::Pieces` does.
//!
//! | state     | what it is                                   | what ends it |
//! |-----------|----------------------------------------------|--------------|
//! | queued    | [`Ring::begin`] took it; nothing happens yet | [`Ring::submit`], [`Ring::wait`] |
//! | under way | the kernel reads or writes the memory        | the kernel   |
//! | done      | its outcome lies in the ring                 | [`Ring::reap`] |
//!
//! The memory and the file of a transfer are held from the first of these states to the last, whatever
//! happens: to drop a ring is to wait for what is under way.
//!
//! Omitted: everything else that an io_uring does, a flush among them: an image has to know whether
//! one ever failed.

mod host;
mod transfer;

pub use host::Ring;
pub use memory::Way;
pub use transfer::{Done, Transfer};

#[cfg(test)]
mod tests;
