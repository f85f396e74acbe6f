//! Where the bytes a guest's serial port sends go to.

use std::fmt;
use std::io::Write;

/// Takes what a serial port sends. It has no way to fail: a host that lost its terminal is no
/// concern of the guest's.
pub trait SerialSink: Send {
    /// Takes one byte. It is called on a vCPU's thread, so one that may have to wait for long
    /// should queue.
    fn put(&mut self, byte: u8);
}

/// Sends to a writer at once. The first failure is logged, later ones are not.
pub struct WriterSink<W> {
    writer: W,
    failed: bool,
}

impl<W: Write + Send> WriterSink<W> {
    /// A sink that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            writer,
            failed: false,
        }
    }
}

impl<W: Write + Send> SerialSink for WriterSink<W> {
    fn put(&mut self, byte: u8) {
        let done = self
            .writer
            .write_all(&[byte])
            .and_then(|()| self.writer.flush());
        if let Err(error) = done
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "serial output is lost");
        }
    }
}

/// Drops everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl SerialSink for NullSink {
    fn put(&mut self, _: u8) {}
}

impl<W> fmt::Debug for WriterSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterSink")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failing_writer_is_tried_again() {
        struct Flaky(Vec<u8>, bool);
        impl Write for Flaky {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if std::mem::take(&mut self.1) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                self.0.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = WriterSink::new(Flaky(Vec::new(), true));
        b"abc".iter().for_each(|&b| sink.put(b));
        assert_eq!(sink.writer.0, b"bc");
        assert!(sink.failed);
    }
}
