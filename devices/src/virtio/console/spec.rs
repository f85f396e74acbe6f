//! Names from Virtio 1.2, section 5.3 (console device).

/// Feature bits (section 5.3.3).
pub mod feature {
    /// The size of the terminal is known.
    pub const SIZE: u64 = 1 << 0;
    /// It has more than one port, and queues to speak of them.
    pub const MULTIPORT: u64 = 1 << 1;
}

/// Numbers of queues (section 5.3.2).
pub mod queue {
    /// Bytes for the guest of port 0.
    pub const INPUT: u16 = 0;
    /// Bytes of the guest of port 0.
    pub const OUTPUT: u16 = 1;
    /// Messages for the driver.
    pub const CONTROL_IN: u16 = 2;
    /// Messages of the driver.
    pub const CONTROL_OUT: u16 = 3;
}

/// Offsets of the configuration (section 5.3.4).
pub mod config {
    /// Columns of the terminal (2 bytes).
    pub const COLS: usize = 0;
    /// Rows (2).
    pub const ROWS: usize = 2;
    /// The most ports (4).
    pub const MAX_PORTS: usize = 4;
    /// Bytes in all.
    pub const LEN: usize = 8;
}

/// What a control message is about (section 5.3.6.2).
pub mod event {
    /// The driver is ready for ports, or has failed.
    pub const DEVICE_READY: u16 = 0;
    /// There is a port.
    pub const PORT_ADD: u16 = 1;
    /// The driver is ready for the port, or has failed.
    pub const PORT_READY: u16 = 3;
    /// The port is a console.
    pub const CONSOLE_PORT: u16 = 4;
    /// The size of the terminal.
    pub const RESIZE: u16 = 5;
    /// The other side has opened or closed the port.
    pub const PORT_OPEN: u16 = 6;
    /// The name of the port.
    pub const PORT_NAME: u16 = 7;
}

/// Bytes of a control message, before what some have behind it.
pub const MESSAGE: usize = 8;
