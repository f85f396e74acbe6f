//! The gate that every vCPU thread passes before it enters the guest: how all of them are stopped
//! at once, and let go again.
//!
//! | phase    | a thread at the gate                                   | to            | by |
//! |----------|--------------------------------------------------------|---------------|----|
//! | `Closed` | waits; leaves to do an errand, and comes back          | `Open`/`Gone` | [`Gate::open`] / [`Gate::remove`] |
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
    /// It does what was left for it, in this epoch, and comes back.
    Errand(Epoch),
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

    /// A thread arrives, and waits until the gate lets it pass or there is an errand for it.
    pub fn pass(&self, has_errand: impl Fn() -> bool) -> Passage {
        self.wait(has_errand, |_| true)
    }

    /// A thread arrives that has no more to do before the next reset of the machine, but errands.
    pub fn hold(&self, seen: Epoch, has_errand: impl Fn() -> bool) -> Passage {
        self.wait(has_errand, |inner| inner.epoch != seen)
    }

    /// Lets the threads at the gate see whether there is an errand for them.
    pub fn call(&self) {
        // With the lock held a thread is either before its look or asleep, never in between.
        drop(self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, has_errand: impl Fn() -> bool, may_go: impl Fn(&Inner) -> bool) -> Passage {
        let mut inner = self.lock();
        inner.waiting += 1;
        self.changed.notify_all();
        loop {
            let passage = match inner.phase {
                Phase::Gone => Some(Passage::Leave),
                Phase::Open | Phase::Closed if has_errand() => Some(Passage::Errand(inner.epoch)),
                Phase::Open if may_go(&inner) => Some(Passage::Go(inner.epoch)),
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
                    while let Passage::Go(_) = gate.pass(|| false) {
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
        let Passage::Go(seen) = gate.pass(|| false) else {
            panic!("the gate is open")
        };
        std::thread::scope(|s| {
            let holder = s.spawn(|| gate.hold(seen, || false));
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
    fn a_closed_gate_lets_a_thread_do_its_errands() {
        let gate = Gate::new(1);
        let (left, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let has_errand = || left.load(Ordering::SeqCst) > done.load(Ordering::SeqCst);
        std::thread::scope(|s| {
            s.spawn(|| {
                while let Passage::Errand(_) = gate.pass(has_errand) {
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
            for errand in 1..=100 {
                left.store(errand, Ordering::SeqCst);
                gate.call();
                while done.load(Ordering::SeqCst) < errand {
                    std::thread::yield_now();
                }
            }
            gate.wait_for_all();
            gate.remove();
        });
        assert_eq!(done.into_inner(), 100);
    }

    #[test]
    fn a_thread_that_ended_is_not_waited_for() {
        let gate = Gate::new(1);
        gate.resign();
        gate.wait_for_all();
        gate.remove();
        gate.open();
        assert_eq!(gate.pass(|| true), Passage::Leave);
        assert!(gate.is_shut());
    }
}
