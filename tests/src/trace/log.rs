//! What an observed accelerator's vCPUs do, written down as it happens; and, for a replay, kept in the
//! order it happened in before.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Line, What};

/// How long the next vCPU in turn may take before its turn is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the VMM does after an answer, such as noting that a vCPU is off, is done in this time; the
/// turn of another vCPU begins later.
const SETTLING: Duration = Duration::from_millis(50);

/// A log of exits.
pub struct Log {
    /// Lines after which nothing more is written down.
    most: usize,
    /// Whose exits are to come in which order; any, if empty.
    turns: Vec<u16>,
    written: Mutex<Written>,
    changed: Condvar,
}

/// Where a line goes: exits are answered in another order than they happen in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(usize);

#[derive(Default)]
struct Written {
    /// Each with its place in the order of exits, not in that order yet.
    lines: Vec<(Place, Line)>,
    /// The next place.
    next: usize,
    /// Exits among the lines.
    exits: usize,
    closed: bool,
}

impl Log {
    /// A log of at most so many lines.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self::in_turns(most, Vec::new())
    }

    /// A log that lets exits happen in this order of vCPUs only.
    #[must_use]
    pub fn in_turns(most: usize, turns: Vec<u16>) -> Self {
        Self {
            most,
            turns,
            written: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// What is written so far, in the order of the exits.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = self.lock().lines.clone();
        lines.sort_by_key(|(place, _)| *place);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Waits until nothing more is written down, or for `limit`; whether it came to that.
    pub fn wait_for_end(&self, limit: Duration) -> bool {
        let open = |written: &mut Written| !written.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), limit, open);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    /// Writes down nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The place of what happens now.
    pub(super) fn place(&self) -> Place {
        let mut written = self.lock();
        written.next += 1;
        Place(written.next)
    }

    /// Writes a line.
    pub(super) fn write(&self, place: Place, vcpu: u16, what: What) {
        let mut written = self.lock();
        if written.closed {
            return;
        }
        written.lines.push((place, Line { vcpu, what }));
        written.exits += usize::from(matches!(what, What::Exit { .. }));
        written.closed = written.lines.len() >= self.most;
        self.changed.notify_all();
    }

    /// Waits for a vCPU's turn.
    pub(super) fn wait_for_turn(&self, vcpu: u16) {
        if self.turns.is_empty() {
            return;
        }
        let others = |written: &mut Written| {
            let next = self.turns.get(written.exits);
            !written.closed && next.is_some_and(|next| *next != vcpu)
        };
        let mut written = self.lock();
        if others(&mut written) {
            let waited = self.changed.wait_timeout_while(written, PATIENCE, others);
            drop(waited);
            std::thread::sleep(SETTLING);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("lines", &self.lock().lines.len())
            .finish_non_exhaustive()
    }
}
