//! The control queues: what the driver and the device tell each other of ports (section 5.3.6.2).
//!
//! | the driver says | the device then says |
//! |---|---|
//! | it is ready | of each port, that it is there |
//! | it is ready for a port | its name, or that it is a console and how large; and if the host has it open, that |
//! | somebody opened or closed a port | nothing; input flows while it is open |
//!
//! What is still to be said is a set for each port and no list, so that no driver can make it grow.

use super::spec::{MESSAGE, event};
use super::state::{Due, Progress};

/// A message, without what some have behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The port it is about.
    pub port: u32,
    /// One of [`event`].
    pub event: u16,
    /// Its value.
    pub value: u16,
}

impl Message {
    /// As it lies in memory.
    #[must_use]
    pub fn bytes(self) -> [u8; MESSAGE] {
        let Self { port, event, value } = self;
        let word = u64::from(value) << 48 | u64::from(event) << 32 | u64::from(port);
        word.to_le_bytes()
    }

    /// From memory.
    #[must_use]
    pub fn from_bytes(bytes: [u8; MESSAGE]) -> Self {
        let word = u64::from_le_bytes(bytes);
        Self {
            port: word as u32,
            event: (word >> 32) as u16,
            value: (word >> 48) as u16,
        }
    }
}

/// What the device says of a port next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It is there.
    Add,
    /// It has a name.
    Name,
    /// It is a console.
    Console,
    /// So large is the terminal.
    Size,
    /// Whether the host has it open.
    Open(bool),
}

impl Progress {
    /// The driver is ready for ports.
    pub fn device_ready(&mut self) {
        if !self.ready {
            self.due = Due::ADD;
        }
    }

    /// The driver is ready for this port, which is a console or has a name; or it has failed.
    pub fn port_ready(&mut self, ready: bool, console: bool) {
        self.ready = ready;
        self.told_open = false;
        self.due = match (ready, console) {
            (false, _) => {
                self.opened = false;
                Due::empty()
            }
            (true, true) => Due::CONSOLE | Due::SIZE,
            (true, false) => Due::NAME,
        };
    }

    /// What to say next, if the host has the port open so.
    #[must_use]
    pub fn next(&self, open: bool) -> Option<Say> {
        let list = [
            (Due::ADD, Say::Add),
            (Due::NAME, Say::Name),
            (Due::CONSOLE, Say::Console),
            (Due::SIZE, Say::Size),
        ];
        let due = list.into_iter().find(|(due, _)| self.due.contains(*due));
        let open = (self.ready && self.told_open != open).then_some(Say::Open(open));
        due.map(|(_, say)| say).or(open)
    }

    /// It was said.
    pub fn said(&mut self, say: Say) {
        match say {
            Say::Add => self.due -= Due::ADD,
            Say::Name => self.due -= Due::NAME,
            Say::Console => self.due -= Due::CONSOLE,
            Say::Size => self.due -= Due::SIZE,
            Say::Open(open) => self.told_open = open,
        }
    }
}

impl Say {
    /// Its message.
    #[must_use]
    pub fn message(self, port: u32) -> Message {
        let (event, value) = match self {
            Self::Add => (event::PORT_ADD, 1),
            Self::Name => (event::PORT_NAME, 1),
            Self::Console => (event::CONSOLE_PORT, 1),
            Self::Size => (event::RESIZE, 0),
            Self::Open(open) => (event::PORT_OPEN, open.into()),
        };
        Message { port, event, value }
    }
}
