//! A port whose output goes to a file or to standard output, which may hold its writer up as long as
//! it likes: the guest's bytes wait in a bounded buffer for a thread that writes them. Input is what
//! is typed, if anybody types.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devices::virtio::console::{Flow, PortEnd, PortSignal};

use super::super::input::Typist;
use super::super::output::write_all;
use crate::host::thread;

/// Bytes of the guest that wait. What does not fit stays in the guest's buffers.
const OUTPUT: usize = 64 << 10;
/// Bytes for the guest that wait.
const INPUT: usize = 4096;

#[derive(Default)]
struct State {
    output: Vec<u8>,
    input: VecDeque<u8>,
    /// The thread has taken bytes and not finished with them.
    writing: bool,
    /// Writing has failed.
    failed: bool,
    /// The thread leaves when there is nothing more to write.
    last: bool,
    /// The device waits for room.
    starved: bool,
    /// Bytes that were typed did not fit.
    refused: bool,
    on_room: Option<Box<dyn Fn() + Send>>,
    signal: PortSignal,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The end of a port. Clones are the same.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

impl Writer {
    /// Starts writing to `file`, which messages call `name`.
    ///
    /// # Errors
    /// When the host cannot start a thread.
    pub fn start(file: File, name: String) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let served = shared.clone();
        thread::spawn("console-output", move || served.serve(file, &name))?;
        Ok(Self(shared))
    }

    /// Waits until everything is written, at most for `limit`; takes no more from then on.
    pub fn finish(&self, limit: Option<Duration>) {
        let mut state = self.0.lock();
        state.last = true;
        self.0.changed.notify_all();
        let busy = |state: &mut State| !state.failed && (state.writing || !state.output.is_empty());
        match limit {
            None => drop(self.0.changed.wait_while(state, busy)),
            Some(limit) => drop(self.0.changed.wait_timeout_while(state, limit, busy)),
        }
        // The thread is not waited for: past the limit it may be stuck in a write.
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut file: File, name: &str) {
        loop {
            let idle = |state: &mut State| state.output.is_empty() && !state.last;
            let wait = self.changed.wait_while(self.lock(), idle);
            let mut state = wait.unwrap_or_else(PoisonError::into_inner);
            let bytes = std::mem::take(&mut state.output);
            if bytes.is_empty() {
                return;
            }
            state.writing = true;
            let waiting = std::mem::take(&mut state.starved).then(|| state.signal.clone());
            drop(state);
            if let Some(signal) = waiting {
                signal.changed();
            }
            let done = write_all(&mut file, &bytes);
            let mut state = self.lock();
            state.writing = false;
            state.failed = done.is_err();
            let signal = state.signal.clone();
            drop(state);
            self.changed.notify_all();
            if let Err(error) = done {
                tracing::warn!(%error, "cannot write the guest's output to {name}; it is lost");
                signal.changed();
                return;
            }
        }
    }
}

impl PortEnd for Writer {
    fn connect(&self, signal: PortSignal) {
        self.0.lock().signal = signal;
    }

    fn is_open(&self) -> bool {
        !self.0.lock().failed
    }

    fn read(&self, into: &mut [u8]) -> Flow {
        let mut state = self.0.lock();
        let count = into.len().min(state.input.len());
        for (to, from) in into.iter_mut().zip(state.input.drain(..count)) {
            *to = from;
        }
        if count == 0 {
            return Flow::Later;
        }
        if std::mem::take(&mut state.refused)
            && let Some(call) = &state.on_room
        {
            // It only rings a bell.
            call();
        }
        Flow::Bytes(count)
    }

    fn write(&self, from: &[u8]) -> Flow {
        let mut state = self.0.lock();
        if state.failed || state.last {
            return Flow::Gone;
        }
        let count = from.len().min(OUTPUT - state.output.len());
        state.output.extend_from_slice(&from[..count]);
        state.starved = count == 0;
        drop(state);
        self.0.changed.notify_all();
        if count == 0 {
            Flow::Later
        } else {
            Flow::Bytes(count)
        }
    }
}

impl Typist for Writer {
    fn receive(&self, input: &[u8]) -> usize {
        let mut state = self.0.lock();
        let count = input.len().min(INPUT - state.input.len());
        state.input.extend(&input[..count]);
        state.refused |= count < input.len();
        let signal = state.signal.clone();
        drop(state);
        signal.changed();
        count
    }

    fn on_room(&self, call: Box<dyn Fn() + Send>) {
        self.0.lock().on_room = Some(call);
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn nothing_is_lost_and_no_more_waits_than_may() {
        let (mut reader, pipe) = std::io::pipe().unwrap();
        let writer = Writer::start(File::from(OwnedFd::from(pipe)), "a pipe".into()).unwrap();
        let mut sent = 0;
        // Until pipe and buffer are full: nobody reads.
        let mut tries = 0;
        while tries < 100 {
            match writer.write(&[7; 1000]) {
                Flow::Bytes(count) => (sent, tries) = (sent + count, 0),
                Flow::Later => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Flow::Gone => panic!("the pipe is open"),
            }
        }
        assert!((OUTPUT..4 * OUTPUT + (1 << 20)).contains(&sent), "{sent}");
        let end = std::thread::spawn(move || {
            writer.finish(None);
            writer
        });
        let mut got = vec![0; sent];
        reader.read_exact(&mut got).unwrap();
        assert!(got.iter().all(|byte| *byte == 7));
        assert_eq!(end.join().unwrap().write(b"x"), Flow::Gone);
    }

    #[test]
    fn what_is_typed_waits_for_the_guest_in_bounds() {
        let (_reader, pipe) = std::io::pipe().unwrap();
        let writer = Writer::start(File::from(OwnedFd::from(pipe)), "a pipe".into()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        writer.on_room(Box::new(move || tell.send(()).unwrap()));
        assert_eq!(writer.receive(&[1; INPUT + 1]), INPUT);
        assert!(told.try_recv().is_err());
        assert_eq!(writer.read(&mut [0; 10]), Flow::Bytes(10));
        assert_eq!(told.try_recv(), Ok(()));
        assert_eq!(writer.receive(&[1; 20]), 10);
        writer.finish(None);
    }

    #[test]
    fn a_reader_that_left_closes_the_port() {
        let (reader, pipe) = std::io::pipe().unwrap();
        drop(reader);
        let writer = Writer::start(File::from(OwnedFd::from(pipe)), "a pipe".into()).unwrap();
        assert_eq!(writer.write(b"x"), Flow::Bytes(1));
        writer.finish(Some(Duration::from_secs(10)));
        assert!(!writer.is_open());
    }
}
