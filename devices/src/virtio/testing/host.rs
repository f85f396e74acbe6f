//! What tests give devices in a machine's place.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use super::super::host::{Bell, Interrupt, Join, Random, Workers};
use crate::clock::Monotonic;
use crate::irq::{IrqLine, IrqSink};

/// No threads: whoever has them calls [`Core::turn`](super::super::Core::turn). Bells ring unheard.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoThreads;

impl Bell for NoThreads {
    fn ring(&self) {}
    fn wait(&self, _: Option<Duration>) {}
    fn event(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Workers for NoThreads {
    fn bell(&self) -> io::Result<Arc<dyn Bell>> {
        Ok(Arc::new(Self))
    }
    fn spawn(&self, _: String, _: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        Ok(Box::new(|| {}))
    }
}

/// Threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

#[derive(Default)]
struct ThreadBell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell for ThreadBell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait(&self, most: Option<Duration>) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let most = most.unwrap_or(Duration::from_secs(3600));
        let waited = self
            .changed
            .wait_timeout_while(rung, most, |rung| !*rung)
            .unwrap_or_else(PoisonError::into_inner);
        *{ waited.0 } = false;
    }

    fn event(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

impl Workers for Threads {
    fn bell(&self) -> io::Result<Arc<dyn Bell>> {
        Ok(Arc::new(ThreadBell::default()))
    }

    fn spawn(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        let thread = Builder::new().name(name).spawn(work)?;
        Ok(Box::new(move || {
            let joined = thread.join();
            assert!(joined.is_ok(), "a worker panicked");
        }))
    }
}

/// A clock that is set by hand, and a source of numbers that counts, and fails on demand.
#[derive(Debug, Default)]
pub struct Manual {
    micros: AtomicU64,
    count: AtomicU64,
    failing: AtomicBool,
}

impl Manual {
    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Whether the source fails from now on.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl Monotonic for Manual {
    fn now(&self) -> Duration {
        Duration::from_micros(self.micros.load(Ordering::SeqCst))
    }
}

impl Random for Arc<Manual> {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(io::Error::other("no numbers today"));
        }
        for byte in bytes {
            // From 1 to 255, so that what was not written shows.
            *byte = (self.count.fetch_add(1, Ordering::SeqCst) % 255) as u8 + 1;
        }
        Ok(())
    }
}

/// The other end of an interrupt wire, or a device's interrupts without a transport.
#[derive(Debug, Default)]
pub struct Recorder {
    level: AtomicBool,
    rises: AtomicU64,
    used: AtomicU64,
    config: AtomicU64,
}

impl Recorder {
    /// A wire to a new recorder.
    #[must_use]
    pub fn wire() -> (Arc<Self>, IrqLine) {
        let sink = Arc::new(Self::default());
        (sink.clone(), IrqLine::new(sink, aarch64::Intid::spi(16)))
    }

    /// Whether the wire is high.
    #[must_use]
    pub fn level(&self) -> bool {
        self.level.load(Ordering::SeqCst)
    }

    /// How often it rose since the last call.
    pub fn take_rises(&self) -> u64 {
        self.rises.swap(0, Ordering::SeqCst)
    }

    /// Interrupts for used buffers and for a changed configuration, since the last call.
    pub fn take(&self) -> (u64, u64) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        (take(&self.used), take(&self.config))
    }
}

impl IrqSink for Recorder {
    fn set_level(&self, _: aarch64::Intid, high: bool) {
        if high && !self.level.swap(high, Ordering::SeqCst) {
            self.rises.fetch_add(1, Ordering::SeqCst);
        }
        self.level.store(high, Ordering::SeqCst);
    }
}

impl Interrupt for Recorder {
    fn used(&self, _: u16) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn config_changed(&self) {
        self.config.fetch_add(1, Ordering::SeqCst);
    }
}
