//! The serial console: the guest's UART on one side, files and terminals of the host on the other.

pub mod escape;
pub mod input;
pub mod output;
