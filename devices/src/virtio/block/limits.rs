//! What a disk allows in a time, and which of its host's failures were told already.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::limit::{Bucket, RateLimit};
use super::request::Operation;

/// What a disk allows in a time; everything, if nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskLimits {
    /// Requests.
    pub operations: Option<RateLimit>,
    /// Bytes read and written.
    pub bytes: Option<RateLimit>,
}

/// How far a disk's limits are used up, by all its queues.
#[derive(Debug)]
pub(super) struct Meter(Option<Mutex<Buckets>>);

#[derive(Debug)]
struct Buckets {
    operations: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Meter {
    pub fn new(limits: DiskLimits, now: Duration) -> Self {
        let DiskLimits { operations, bytes } = limits;
        let bucket = |limit: Option<RateLimit>| limit.map(|limit| Bucket::new(limit, now));
        let is_limited = operations.is_some() || bytes.is_some();
        Self(is_limited.then(|| {
            Mutex::new(Buckets {
                operations: bucket(operations),
                bytes: bucket(bytes),
            })
        }))
    }

    /// How long the next request has to wait, if it has to.
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        let mut buckets = self.lock()?;
        let Buckets { operations, bytes } = &mut *buckets;
        let wait = |bucket: &mut Option<Bucket>| bucket.as_mut().and_then(|b| b.wait(now));
        // `None` is less than any time.
        wait(operations).max(wait(bytes))
    }

    /// A request with so many bytes goes through.
    pub fn take(&self, count: u64, now: Duration) {
        let Some(mut buckets) = self.lock() else {
            return;
        };
        let Buckets { operations, bytes } = &mut *buckets;
        if let Some(bucket) = operations {
            bucket.take(1, now);
        }
        if let Some(bucket) = bytes {
            bucket.take(count, now);
        }
    }

    /// A request with so many bytes did not go through after all.
    pub fn give_back(&self, count: u64) {
        let Some(mut buckets) = self.lock() else {
            return;
        };
        let Buckets { operations, bytes } = &mut *buckets;
        if let Some(bucket) = operations {
            bucket.give_back(1);
        }
        if let Some(bucket) = bytes {
            bucket.give_back(count);
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Buckets>> {
        let buckets = self.0.as_ref()?;
        Some(buckets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which failures of the host were told already: one line for each kind, however often a guest asks
/// for what fails.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<Vec<io::ErrorKind>>);

impl Failures {
    pub fn warn(&self, disk: &str, operation: &Operation, error: &io::Error) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&error.kind()) {
            tracing::debug!(disk, ?operation, %error, "a request fails");
        } else {
            told.push(error.kind());
            drop(told);
            let asked = name(operation);
            tracing::warn!(disk, %error, "cannot {asked} the disk; the guest is told of an I/O error");
        }
    }
}

fn name(operation: &Operation) -> &'static str {
    match operation {
        Operation::Read(_) => "read",
        Operation::Write(..) => "write",
        Operation::Flush => "flush",
        Operation::Id | Operation::Unknown(_) => "ask",
        Operation::Discard(_) => "discard sectors of",
        Operation::WriteZeroes(_) => "zero sectors of",
    }
}
