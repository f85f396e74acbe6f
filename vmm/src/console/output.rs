//! The serial port's output on its way to the host: a bounded queue and the thread that writes it.
//!
//! A vCPU's thread only queues, and seldom calls the host: the writer gathers what a guest sends byte
//! by byte until a line ends, [`BATCH`] bytes are there or [`GATHER`] is over, and needs to be woken
//! only then, or when it slept for want of bytes. When the reader on the host stands still and the queue is full,
//! each further byte waits [`PATIENCE`] and is then queued nevertheless. So nothing is lost, the
//! guest slows down to what its reader takes, the queue grows by at most 20 bytes a second, and no
//! vCPU is ever stuck here when it has to be stopped.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::serial::SerialSink;

use crate::host;

/// Bytes the queue holds before the guest has to wait.
const CAPACITY: usize = 1 << 20;
/// How long one byte waits for room.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes that are worth a write of their own.
const BATCH: usize = 4096;
/// How long the start of a line waits for its end: too short to notice when typing.
const GATHER: Duration = Duration::from_millis(5);

/// Called once when writing failed, with the reason.
pub type OnFailure = Box<dyn FnOnce(&std::io::Error) + Send>;

/// What the writer sleeps for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wants {
    /// It is awake.
    #[default]
    Nothing,
    /// Any byte.
    Bytes,
    /// The end of a line, or much of one.
    Line,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// The end of a line is among them.
    line: bool,
    wants: Wants,
    /// The writer has taken bytes and not finished with them.
    writing: bool,
    /// Nobody takes bytes any more.
    closed: bool,
    /// The writer leaves when the queue is empty.
    last: bool,
}

impl Queue {
    fn push(&mut self, byte: u8) {
        self.bytes.push_back(byte);
        self.line |= byte == b'\n';
    }

    /// There is enough to write, or no more will come.
    fn is_ready(&self) -> bool {
        self.line || self.bytes.len() >= BATCH || self.last
    }

    /// The writer has to be woken.
    fn is_awaited(&self) -> bool {
        match self.wants {
            Wants::Nothing => false,
            Wants::Bytes => true,
            Wants::Line => self.is_ready(),
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There are bytes, or no more will come.
    filled: Condvar,
    /// There is room, or nobody takes bytes any more.
    drained: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, byte: u8) {
        let mut queue = self.lock();
        if queue.bytes.len() >= CAPACITY {
            let full = |queue: &mut Queue| queue.bytes.len() >= CAPACITY && !queue.closed;
            let wait = self.drained.wait_timeout_while(queue, PATIENCE, full);
            queue = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        if queue.closed {
            return;
        }
        queue.push(byte);
        if queue.is_awaited() {
            queue.wants = Wants::Nothing;
            drop(queue);
            self.filled.notify_one();
        }
    }

    /// Waits until there is something worth writing, or no more will come.
    fn gather(&self) -> MutexGuard<'_, Queue> {
        let mut queue = self.lock();
        loop {
            queue.wants = Wants::Line;
            let unready = |queue: &mut Queue| !queue.is_ready();
            let wait = self.filled.wait_timeout_while(queue, GATHER, unready);
            queue = wait.unwrap_or_else(PoisonError::into_inner).0;
            if !queue.bytes.is_empty() || queue.last {
                queue.wants = Wants::Nothing;
                return queue;
            }
            queue.wants = Wants::Bytes;
            let empty = |queue: &mut Queue| queue.bytes.is_empty() && !queue.last;
            let wait = self.filled.wait_while(queue, empty);
            queue = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn serve(&self, mut file: File, on_failure: OnFailure) {
        loop {
            let mut queue = self.gather();
            let bytes = Vec::from(std::mem::take(&mut queue.bytes));
            queue.line = false;
            queue.writing = !bytes.is_empty();
            if !queue.writing {
                queue.closed = true;
            }
            let over = queue.closed;
            drop(queue);
            self.drained.notify_all();
            if over {
                return;
            }
            let done = write_all(&mut file, &bytes);
            let mut queue = self.lock();
            queue.writing = false;
            queue.closed |= done.is_err();
            drop(queue);
            self.drained.notify_all();
            if let Err(error) = done {
                on_failure(&error);
                return;
            }
        }
    }
}

/// Writes everything, also to a descriptor that another program made non-blocking.
pub(super) fn write_all(file: &mut File, mut bytes: &[u8]) -> std::io::Result<()> {
    use std::io::ErrorKind::{Interrupted, WouldBlock, WriteZero};
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == Interrupted => {}
            Err(error) if error.kind() == WouldBlock => host::stdio::wait_writable(file)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The writing end, for the machine's owner.
#[derive(Debug)]
pub struct Output {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Output {
    /// Starts writing to `file`.
    ///
    /// # Errors
    /// When the host cannot start a thread.
    pub fn start(file: File, on_failure: OnFailure) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let served = shared.clone();
        let thread = host::thread::spawn("serial-output", move || served.serve(file, on_failure))?;
        Ok(Self { shared, thread })
    }

    /// A sink for a serial port.
    #[must_use]
    pub fn sink(&self) -> QueueSink {
        QueueSink(self.shared.clone())
    }

    /// Waits until everything is written, at most for `limit`; takes no more from then on.
    pub fn finish(self, limit: Option<Duration>) {
        let mut queue = self.shared.lock();
        queue.last = true;
        self.shared.filled.notify_one();
        let busy = |queue: &mut Queue| !queue.closed && (queue.writing || !queue.bytes.is_empty());
        let drained = &self.shared.drained;
        match limit {
            None => drop(drained.wait_while(queue, busy)),
            Some(limit) => drop(drained.wait_timeout_while(queue, limit, busy)),
        }
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        // The thread is not joined: past the limit it may be stuck in a write.
        drop(self.thread);
    }
}

/// The queue as a serial port sees it.
#[derive(Debug)]
pub struct QueueSink(Arc<Shared>);

impl SerialSink for QueueSink {
    fn put(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::channel;

    use super::*;

    fn output() -> (
        std::io::PipeReader,
        Output,
        std::sync::mpsc::Receiver<String>,
    ) {
        let (reader, writer) = std::io::pipe().unwrap();
        let (tell, told) = channel();
        let on_failure = Box::new(move |e: &std::io::Error| tell.send(e.to_string()).unwrap());
        let output = Output::start(File::from(OwnedFd::from(writer)), on_failure).unwrap();
        (reader, output, told)
    }

    #[test]
    fn nothing_is_lost_or_reordered_up_to_the_end() {
        let (mut reader, output, _) = output();
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut sink = output.sink();
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || {
            bytes.iter().for_each(|byte| sink.put(*byte));
            output.finish(None);
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn the_writer_is_woken_for_the_first_byte_and_for_whole_lines() {
        let woken_by = |wants, bytes: &[u8]| {
            let mut queue = Queue {
                wants,
                ..Queue::default()
            };
            bytes.iter().position(|byte| {
                queue.push(*byte);
                queue.is_awaited()
            })
        };
        assert_eq!(woken_by(Wants::Bytes, b"ab\n"), Some(0));
        assert_eq!(woken_by(Wants::Line, b"ab\nc"), Some(2));
        assert_eq!(woken_by(Wants::Line, &[b'a'; BATCH]), Some(BATCH - 1));
        assert_eq!(woken_by(Wants::Nothing, b"ab\n"), None);
    }

    #[test]
    fn the_start_of_a_line_does_not_wait_for_its_end() {
        let (mut reader, output, _) = output();
        let mut sink = output.sink();
        let mut bytes = [0; 7];
        for prompt in [b"login: ", b"ps 2 # "] {
            prompt.iter().for_each(|byte| sink.put(*byte));
            reader.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, prompt);
        }
        output.finish(None);
    }

    #[test]
    fn nothing_is_lost_on_a_full_descriptor_that_does_not_block() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let on_failure = Box::new(|e: &std::io::Error| panic!("{e}"));
        let output = Output::start(File::from(OwnedFd::from(writer)), on_failure).unwrap();
        let mut sink = output.sink();
        // More than a pipe holds, before anybody reads.
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        sent.iter().for_each(|byte| sink.put(*byte));
        let end = std::thread::spawn(move || output.finish(None));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        end.join().unwrap();
        assert_eq!(got, sent);
    }

    #[test]
    fn a_reader_that_went_away_is_reported_once_and_blocks_nobody() {
        let (reader, output, told) = output();
        drop(reader);
        let mut sink = output.sink();
        sink.put(b'a');
        assert!(
            told.recv_timeout(Duration::from_secs(10))
                .unwrap()
                .contains("pipe")
        );
        (0..2 * CAPACITY).for_each(|_| sink.put(b'b'));
        output.finish(None);
    }

    #[test]
    fn a_reader_that_stands_still_does_not_hold_the_end_up() {
        let (reader, output, _) = output();
        let mut sink = output.sink();
        (0..CAPACITY + (1 << 17))
            .take(CAPACITY)
            .for_each(|_| sink.put(b'a'));
        output.finish(Some(Duration::from_millis(10)));
        sink.put(b'b');
        drop(reader);
    }
}
