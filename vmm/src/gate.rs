//! The gate that every vCPU thread passes before it enters the guest: how all of them are stopped
//! at once, and let go again.
//!
//! | phase    | a thread at the gate                                   | to            | by |
//! |----------|--------------------------------------------------------|---------------|----|
//! | `Closed` | waits                                                  | `Open`/`Gone` | [`Gate::open`] / [`Gate::remove`] |
//! | `Open`   | passes; waits on if it holds for the next epoch        | `Closed`/`Gone` | [`Gate::close`] / [`Gate::remove`] |
//! | `Gone`   | leaves for good                                        |               | |
//!
//! Closing alone does not bring a thread here: whoever closes also rouses every vCPU. The epoch
//! counts resets of the machine; a thread that finds a new one starts its vCPU over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How often the machine was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Epoch(u64);

/// What a thread does after the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes on, in this epoch.
    Go(Epoch),
    /// It ends.
    Leave,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    Gone,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    epoch: Epoch,
    waiting: usize,
    threads: usize,
}

/// The gate. It starts closed.
#[derive(Debug)]
pub struct Gate {
    /// Whether there is any reason to stop at the gate, readable without the lock.
    shut: AtomicBool,
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Gate {
    /// A closed gate for this many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let inner = Inner {
            phase: Phase::Closed,
            epoch: Epoch(0),
            waiting: 0,
            threads,
        };
        Self {
            shut: AtomicBool::new(true),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
        }
    }

    /// Whether a thread has to come to the gate.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// A thread arrives, and waits until the gate lets it pass.
    pub fn pass(&self) -> Passage {
        self.wait(|_| true)
    }

    /// A thread arrives that has no more to do before the next reset of the machine.
    pub fn hold(&self, seen: Epoch) -> Passage {
        self.wait(|inner| inner.epoch != seen)
    }

    fn wait(&self, may_go: impl Fn(&Inner) -> bool) -> Passage {
        let mut inner = self.lock();
        inner.waiting += 1;
        self.changed.notify_all();
        loop {
            let passage = match inner.phase {
                Phase::Open if may_go(&inner) => Some(Passage::Go(inner.epoch)),
                Phase::Gone => Some(Passage::Leave),
                Phase::Open | Phase::Closed => None,
            };
            if let Some(passage) = passage {
                inner.waiting -= 1;
                return passage;
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A thread ended, and will not come to the gate again.
    pub fn resign(&self) {
        self.lock().threads -= 1;
        self.changed.notify_all();
    }

    /// Stops threads at the gate from now on.
    pub fn close(&self) {
        self.change(|inner| inner.phase = Phase::Closed);
    }

    /// Waits until every thread waits at the gate or has ended.
    pub fn wait_for_all(&self) {
        let busy = |inner: &mut Inner| inner.waiting < inner.threads;
        let inner = self.changed.wait_while(self.lock(), busy);
        drop(inner.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets threads pass.
    pub fn open(&self) {
        self.change(|inner| inner.phase = Phase::Open);
    }

    /// Begins a new epoch; the gate is closed.
    pub fn next_epoch(&self) -> Epoch {
        self.change(|inner| inner.epoch = Epoch(inner.epoch.0 + 1));
        self.lock().epoch
    }

    /// Sends every thread away for good.
    pub fn remove(&self) {
        self.change(|inner| inner.phase = Phase::Gone);
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        if inner.phase != Phase::Gone {
            change(&mut inner);
        }
        self.shut
            .store(inner.phase != Phase::Open, Ordering::SeqCst);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn closing_collects_every_thread_and_opening_lets_them_go() {
        let gate = Gate::new(3);
        let passes = AtomicUsize::new(0);
        std::thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    while let Passage::Go(_) = gate.pass() {
                        passes.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for _ in 0..100 {
                gate.open();
                gate.close();
                gate.wait_for_all();
                let before = passes.load(Ordering::SeqCst);
                std::thread::yield_now();
                assert_eq!(passes.load(Ordering::SeqCst), before);
            }
            gate.remove();
        });
    }

    #[test]
    fn a_holder_waits_through_open_phases_until_the_next_epoch() {
        let gate = Gate::new(1);
        gate.open();
        let Passage::Go(seen) = gate.pass() else {
            panic!("the gate is open")
        };
        std::thread::scope(|s| {
            let holder = s.spawn(|| gate.hold(seen));
            gate.wait_for_all();
            gate.close();
            gate.open();
            assert!(!holder.is_finished());
            gate.close();
            gate.next_epoch();
            gate.open();
            assert_eq!(holder.join().unwrap(), Passage::Go(Epoch(1)));
        });
    }

    #[test]
    fn a_thread_that_ended_is_not_waited_for() {
        let gate = Gate::new(1);
        gate.resign();
        gate.wait_for_all();
        gate.remove();
        gate.open();
        assert_eq!(gate.pass(), Passage::Leave);
        assert!(gate.is_shut());
    }
}
