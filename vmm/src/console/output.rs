//! The serial port's output on its way to the host: a bounded queue and the thread that writes it.
//!
//! A vCPU's thread only queues. When the reader on the host stands still and the queue is full,
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

/// Called once when writing failed, with the reason.
pub type OnFailure = Box<dyn FnOnce(&std::io::Error) + Send>;

#[derive(Debug, Default)]
struct Queue {
    bytes: VecDeque<u8>,
    /// The writer has taken bytes and not finished with them.
    writing: bool,
    /// Nobody takes bytes any more.
    closed: bool,
    /// The writer leaves when the queue is empty.
    last: bool,
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
        if !queue.closed {
            queue.bytes.push_back(byte);
            self.filled.notify_one();
        }
    }

    fn serve(&self, mut file: File, on_failure: OnFailure) {
        loop {
            let empty = |queue: &mut Queue| queue.bytes.is_empty() && !queue.last;
            let wait = self.filled.wait_while(self.lock(), empty);
            let mut queue = wait.unwrap_or_else(PoisonError::into_inner);
            let bytes = Vec::from(std::mem::take(&mut queue.bytes));
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
fn write_all(file: &mut File, mut bytes: &[u8]) -> std::io::Result<()> {
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
