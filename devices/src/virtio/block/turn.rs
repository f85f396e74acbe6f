//! A worker's turn, and what it took from the queue.

use std::time::Duration;

use super::super::Chain;
use super::request::{Operation, Request};

/// Requests in one turn, before somebody may want the worker to stop.
const BATCH: u32 = 64;
/// Bytes after which a turn ends, and time.
const BATCH_BYTES: u64 = 4 << 20;
const TURN: Duration = Duration::from_millis(10);

/// How far a turn is.
#[derive(Debug)]
pub struct Turn {
    begin: Duration,
    now: Duration,
    requests: u32,
    bytes: u64,
}

impl Turn {
    /// None is done yet.
    pub fn new(now: Duration) -> Self {
        Self {
            begin: now,
            now,
            requests: 0,
            bytes: 0,
        }
    }

    /// A request of so many bytes is begun.
    pub fn count(&mut self, bytes: u64) {
        self.requests += 1;
        self.bytes += bytes;
    }

    /// A request is done.
    pub fn go_on(&mut self, now: Duration) {
        self.now = now;
    }

    /// As far as it went on.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How long it has been.
    pub fn length(&self) -> Duration {
        self.now.saturating_sub(self.begin)
    }

    /// Whether somebody else may want the worker now.
    pub fn is_over(&self) -> bool {
        self.requests >= BATCH || self.bytes >= BATCH_BYTES || self.length() >= TURN
    }
}

/// A request that was taken.
#[derive(Debug)]
pub struct Job {
    /// Its buffer.
    pub chain: Chain,
    /// What is in it.
    pub request: Request,
    /// Bytes of the disk that it reads or writes.
    pub bytes: u64,
}

impl Job {
    /// Whether the driver surely waits for it.
    pub fn is_urgent(&self) -> bool {
        matches!(self.request.operation, Operation::Flush)
    }
}
