//! What a snapshot holds of a console, beside its queues: what the driver and the device have said
//! to each other. Who is connected on the host is not a part of it.

use bitflags::bitflags;

bitflags! {
    /// Messages that the driver has still to get of a port, in the order in which it gets them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Due: u8 {
        /// There is such a port.
        const ADD = 1;
        /// Its name.
        const NAME = 2;
        /// It is a console.
        const CONSOLE = 4;
        /// The size of the terminal.
        const SIZE = 8;
    }
}

/// How far the driver is with a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The driver knows the port.
    pub ready: bool,
    /// Somebody in the guest has opened it.
    pub opened: bool,
    /// What the driver was told last of whether the host has.
    pub told_open: bool,
    /// What it is to be told.
    pub due: Due,
    /// Bytes of the next buffer of its output that are taken already.
    pub sent: u64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortState {
    /// Its name; `None` for the console.
    pub name: Option<String>,
    /// How far the driver is with it.
    pub progress: Progress,
}

/// A console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleState {
    /// Its ports; port 0, which is the console, may be missing.
    pub ports: Vec<Option<PortState>>,
}
