//! One connection of a control socket: bytes in, lines taken out, bounded both ways.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result, Write};

use super::protocol::MAX_LINE;

/// Bytes taken from a connection in one turn, so that none keeps the others waiting.
const TURN: usize = 16 << 10;
/// Answers that wait for a client that does not read; its requests wait too then.
const MAX_BACKLOG: usize = 256 << 10;

/// A connection, over any stream that does not block.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    input: Vec<u8>,
    /// How many bytes of the input were taken as lines.
    taken: usize,
    output: VecDeque<u8>,
    /// Nothing more is read; it is over when everything is written.
    closing: bool,
    broken: bool,
}

/// A line, or what is too long for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// It is not read further.
    TooLong,
}

impl<S: Read + Write> Connection<S> {
    /// A new one.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            input: Vec::new(),
            taken: 0,
            output: VecDeque::new(),
            closing: false,
            broken: false,
        }
    }

    /// What it runs over.
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// Whether it is to be read: there is room for what comes, and for answers to it.
    pub fn wants_read(&self) -> bool {
        !self.closing && self.output.len() < MAX_BACKLOG
    }

    /// Whether there is something to write.
    pub fn wants_write(&self) -> bool {
        !self.output.is_empty()
    }

    /// Whether nothing will come of it any more.
    pub fn is_over(&self) -> bool {
        self.broken || (self.closing && self.output.is_empty())
    }

    /// Queues bytes.
    pub fn say(&mut self, bytes: &str) {
        self.output.extend(bytes.as_bytes());
    }

    /// Reads what is there, up to a turn's worth.
    pub fn read(&mut self) {
        let mut bytes = [0; TURN];
        let n = match self.stream.read(&mut bytes) {
            Ok(n) => n,
            Err(error) if is_passing(error.kind()) => return,
            Err(_) => {
                self.broken = true;
                return;
            }
        };
        if n == 0 {
            // Who wants no answer has hung up; who does may still read.
            self.closing = true;
        }
        self.input.drain(..std::mem::take(&mut self.taken));
        self.input.extend_from_slice(&bytes[..n]);
    }

    /// The next line that was read, if answers to it have room. What follows a line that is too
    /// long is not looked at: the connection ends.
    pub fn next_line(&mut self) -> Option<Line> {
        if self.output.len() >= MAX_BACKLOG {
            return None;
        }
        let rest = self.input.get(self.taken..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= MAX_LINE => {
                let line = rest[..end].to_vec();
                self.taken += end + 1;
                Some(Line::Whole(line))
            }
            None if rest.len() <= MAX_LINE => None,
            Some(_) | None => {
                (self.input, self.taken) = (Vec::new(), 0);
                self.closing = true;
                Some(Line::TooLong)
            }
        }
    }

    /// Writes what the other side takes.
    pub fn write(&mut self) {
        while !self.output.is_empty() {
            match self.write_some() {
                Ok(n) if n > 0 => drop(self.output.drain(..n)),
                Err(error) if is_passing(error.kind()) => return,
                Ok(_) | Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
    }

    fn write_some(&mut self) -> Result<usize> {
        let (front, _) = self.output.as_slices();
        self.stream.write(front)
    }
}

/// Whether it may go better the next time.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use proptest::prelude::*;

    use super::*;

    /// A peer that sends what it has, and takes so many bytes.
    #[derive(Debug, Default)]
    struct Peer {
        sends: VecDeque<u8>,
        takes: usize,
        got: Vec<u8>,
    }

    impl Read for Peer {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            if self.sends.is_empty() {
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            self.sends.read(into)
        }
    }

    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            let n = bytes.len().min(self.takes);
            if n == 0 {
                return Err(Error::from(ErrorKind::WouldBlock));
            }
            self.takes -= n;
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn sends(bytes: &[u8]) -> Connection<Peer> {
        Connection::new(Peer {
            sends: bytes.iter().copied().collect(),
            ..Peer::default()
        })
    }

    fn lines(connection: &mut Connection<Peer>) -> Vec<Line> {
        let mut lines = Vec::new();
        while !connection.stream.sends.is_empty() && connection.wants_read() {
            connection.read();
            while let Some(line) = connection.next_line() {
                lines.push(line);
            }
        }
        lines
    }

    #[test]
    fn a_line_as_long_as_may_be_is_whole_and_a_longer_one_ends_the_connection() {
        let mut long = vec![b'x'; MAX_LINE];
        long.extend(b"\nnext\n");
        let mut connection = sends(&long);
        let found = lines(&mut connection);
        assert_eq!(found[0], Line::Whole(vec![b'x'; MAX_LINE]));
        assert_eq!(found[1], Line::Whole(b"next".to_vec()));
        for end in ["", "\n", "\nnext\n"] {
            let mut longer = vec![b'x'; MAX_LINE + 1];
            longer.extend(end.as_bytes());
            let mut connection = sends(&longer);
            assert_eq!(lines(&mut connection), [Line::TooLong]);
            assert!(connection.is_over() && connection.input.is_empty());
        }
    }

    #[test]
    fn who_does_not_read_is_not_read() {
        let mut connection = sends(b"a\nb\n");
        connection.read();
        connection.say(&"y".repeat(MAX_BACKLOG));
        assert!(!connection.wants_read() && connection.wants_write());
        assert_eq!(connection.next_line(), None);
        connection.stream.takes = 10;
        connection.write();
        assert_eq!(connection.next_line(), Some(Line::Whole(b"a".to_vec())));
        connection.stream.takes = usize::MAX;
        connection.write();
        assert_eq!(connection.stream.got.len(), MAX_BACKLOG);
        assert!(!connection.wants_write() && !connection.is_over());
    }

    proptest! {
        #[test]
        fn lines_are_what_was_sent(texts in prop::collection::vec("[a-z]{0,30}", 0..50)) {
            let sent: String = texts.iter().map(|text| format!("{text}\n")).collect();
            let whole = |text: &String| Line::Whole(text.as_bytes().to_vec());
            let wanted: Vec<Line> = texts.iter().map(whole).collect();
            prop_assert_eq!(lines(&mut sends(sent.as_bytes())), wanted);
        }
    }
}
