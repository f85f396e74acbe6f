//! The input of the serial port, or of the virtio console's terminal: a thread that reads the host's standard input for the guest.
//!
//! It sleeps in one `poll` on the input and a bell. The bell rings when the guest took input after
//! some had not fit, and at the end. From a terminal it goes on reading while the guest takes
//! nothing, so that the escape key always works, and drops what is typed beyond [`TYPE_AHEAD`].
//! From a pipe or file it reads on only when the guest has taken what was read, so nothing is lost.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::pl011::Pl011;

use super::escape::{Escape, HELP, Key};
use crate::host;

/// Bytes of typing that wait for a guest that takes none.
const TYPE_AHEAD: usize = 4096;

/// Who gets what is typed.
pub trait Typist: Send + Sync {
    /// Takes as many bytes as there is room for.
    fn receive(&self, input: &[u8]) -> usize;
    /// Sets what to call when there is room again after some bytes were not taken.
    fn on_room(&self, call: Box<dyn Fn() + Send>);
}

impl Typist for Pl011 {
    fn receive(&self, input: &[u8]) -> usize {
        Self::receive(self, input)
    }

    fn on_room(&self, call: Box<dyn Fn() + Send>) {
        Self::on_room(self, call);
    }
}

/// What the input tells its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The user wants to leave.
    Leave,
}

/// A running input. Dropping it ends its thread.
#[derive(Debug)]
pub struct Input {
    bell: PipeWriter,
    over: Arc<AtomicBool>,
}

impl Input {
    /// Starts handing what `file` gives to `guest`. `terminal` says that a person types it.
    ///
    /// # Errors
    /// When the host has no pipe or thread left.
    pub fn start(
        file: File,
        terminal: bool,
        guest: Arc<dyn Typist>,
        tell: impl Fn(Wish) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (hear, bell) = std::io::pipe()?;
        let ring = bell.try_clone()?;
        // At most one ring follows each refusal, so the pipe is never full.
        guest.on_room(Box::new(move || drop((&ring).write(&[0]))));
        let over = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            file: Some(file),
            escape: terminal.then(Escape::default),
            pending: VecDeque::new(),
            guest,
            tell: Box::new(tell),
            hear,
            over: over.clone(),
        };
        host::thread::spawn("serial-input", move || reader.serve())?;
        Ok(Self { bell, over })
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.bell.write(&[0]);
    }
}

struct Reader {
    /// `None` when it has ended. The guest goes on without input then.
    file: Option<File>,
    /// For terminals only.
    escape: Option<Escape>,
    pending: VecDeque<u8>,
    guest: Arc<dyn Typist>,
    tell: Box<dyn Fn(Wish) + Send>,
    hear: PipeReader,
    over: Arc<AtomicBool>,
}

impl Reader {
    fn serve(mut self) {
        while self.file.is_some() || !self.pending.is_empty() {
            let wants_more = self.escape.is_some() || self.pending.is_empty();
            let file = self.file.as_ref().filter(|_| wants_more);
            let found = host::stdio::wait_readable(file, &mut self.hear);
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            match found {
                Err(error) => {
                    tracing::warn!(%error, "standard input is lost");
                    return;
                }
                Ok(found) if found.file => self.read(),
                Ok(_) => {}
            }
            self.hand_over();
        }
    }

    fn read(&mut self) {
        use std::io::ErrorKind::{Interrupted, WouldBlock};
        let mut bytes = [0; 512];
        let Some(file) = &mut self.file else { return };
        let n = match file.read(&mut bytes) {
            Ok(n) => n,
            Err(error) if matches!(error.kind(), Interrupted | WouldBlock) => return,
            Err(error) => {
                // A terminal that hung up says EIO.
                tracing::debug!(%error, "standard input failed");
                0
            }
        };
        if n == 0 {
            self.file = None;
        }
        for &byte in &bytes[..n] {
            self.take(byte);
        }
    }

    fn take(&mut self, byte: u8) {
        match self
            .escape
            .as_mut()
            .map_or(Key::Send(byte), |escape| escape.take(byte))
        {
            Key::Send(byte) => {
                if self.escape.is_none() || self.pending.len() < TYPE_AHEAD {
                    self.pending.push_back(byte);
                }
            }
            Key::Nothing => {}
            Key::Leave => (self.tell)(Wish::Leave),
            Key::Help => {
                // On the terminal, wherever the guest's output goes.
                let _ = std::io::stderr().write_all(HELP.as_bytes());
            }
        }
    }

    fn hand_over(&mut self) {
        let taken = self.guest.receive(self.pending.make_contiguous());
        self.pending.drain(..taken);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    use aarch64::Size;
    use devices::bus::MmioDevice;
    use devices::irq::IrqLine;
    use devices::serial::NullSink;

    use super::*;

    fn console(terminal: bool) -> (PipeWriter, Arc<Pl011>, Receiver<Wish>, Input) {
        let (reader, writer) = std::io::pipe().unwrap();
        let uart = Arc::new(Pl011::new(IrqLine::unconnected(), Box::new(NullSink)));
        // UARTLCR_H.FEN: the FIFO is on.
        uart.write(0x2c, Size::W, 1 << 4);
        let (tell, told) = channel();
        let file = File::from(OwnedFd::from(reader));
        let tell = move |wish| tell.send(wish).unwrap();
        let input = Input::start(file, terminal, uart.clone(), tell).unwrap();
        (writer, uart, told, input)
    }

    fn read(uart: &Pl011, count: usize) -> Vec<u8> {
        let start = Instant::now();
        let mut bytes = Vec::new();
        while bytes.len() < count {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no more input came"
            );
            // UARTFR.RXFE: the receive FIFO is empty.
            if uart.read(0x18, Size::W) & (1 << 4) == 0 {
                bytes.push(uart.read(0, Size::W).to_le_bytes()[0]);
            }
        }
        bytes
    }

    #[test]
    fn a_pipe_is_handed_over_whole_however_slow_the_guest() {
        let (mut writer, uart, _, _input) = console(false);
        let sent: Vec<u8> = (0..5000_u32).map(|n| n.to_le_bytes()[0]).collect();
        writer.write_all(&sent).unwrap();
        drop(writer);
        assert_eq!(read(&uart, sent.len()), sent);
    }

    #[test]
    fn the_escape_key_works_while_the_guest_takes_nothing() {
        let (mut writer, _uart, told, _input) = console(true);
        writer.write_all(&[b'a'; 3000]).unwrap();
        writer.write_all(b"\x01x").unwrap();
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(Wish::Leave));
    }

    #[test]
    fn a_pipe_has_no_escape_key() {
        let (mut writer, uart, _, _input) = console(false);
        writer.write_all(b"\x01x").unwrap();
        assert_eq!(read(&uart, 2), b"\x01x");
    }

    #[test]
    fn dropping_it_ends_its_thread() {
        let (_writer, uart, _, input) = console(false);
        drop(input);
        let start = Instant::now();
        // The thread and the callback hold one each.
        while Arc::strong_count(&uart) > 1 {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "the thread is still there"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
