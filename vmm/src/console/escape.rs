//! The console's escape key: what a person at the terminal says to armlet instead of the guest.
//!
//! Ctrl-A is the prefix; every other byte belongs to the guest. Only for terminals: from a pipe
//! every byte goes to the guest.

/// The prefix, Ctrl-A.
pub const PREFIX: u8 = 0x01;

/// What the help key shows.
pub const HELP: &str = "\n\
    Ctrl-A x       leave armlet; the guest ends as if its power were cut\n\
    Ctrl-A h       show this help\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\n";

/// What one byte from the terminal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The guest gets this byte.
    Send(u8),
    /// Nothing yet, or nothing at all.
    Nothing,
    /// The user leaves.
    Leave,
    /// The user wants help.
    Help,
}

/// Whether the last byte was the prefix.
#[derive(Clone, Copy, Debug, Default)]
pub struct Escape(bool);

impl Escape {
    /// Takes the next byte.
    pub fn take(&mut self, byte: u8) -> Key {
        if !std::mem::take(&mut self.0) {
            self.0 = byte == PREFIX;
            return if self.0 {
                Key::Nothing
            } else {
                Key::Send(byte)
            };
        }
        match byte {
            PREFIX => Key::Send(PREFIX),
            b'x' | b'X' => Key::Leave,
            b'h' | b'H' | b'?' => Key::Help,
            _ => Key::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut escape = Escape::default();
        bytes.iter().map(|byte| escape.take(*byte)).collect()
    }

    #[test]
    fn only_the_byte_after_the_prefix_is_special() {
        use Key::{Help, Leave, Nothing, Send};
        assert_eq!(keys(b"x\x03h"), [Send(b'x'), Send(3), Send(b'h')]);
        assert_eq!(keys(b"\x01x"), [Nothing, Leave]);
        assert_eq!(keys(b"\x01ha"), [Nothing, Help, Send(b'a')]);
        assert_eq!(keys(b"\x01\x01x"), [Nothing, Send(1), Send(b'x')]);
        assert_eq!(keys(b"\x01qx"), [Nothing, Nothing, Send(b'x')]);
    }
}
