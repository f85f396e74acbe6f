//! A vCPU's post: what other threads leave for it, and how they get its attention without losing
//! a wake-up or making a needless one.
//!
//! The vCPU's thread is in one of three modes. Whoever leaves something sets `attention` first
//! and reads the mode afterwards; the thread sets the mode first and reads `attention` afterwards,
//! all sequentially consistent. So either the thread sees the attention, or the other sees the
//! mode and acts on it:
//!
//! | mode     | the thread              | who wants its attention |
//! |----------|-------------------------|-------------------------|
//! | `Host`   | will look before long   | does nothing more       |
//! | `Guest`  | runs the guest          | kicks the vCPU          |
//! | `Parked` | sleeps in [`Post::park`]| wakes it                |
//!
//! An [`Errand`] is different: it is left only while the thread stands at the gate, and the gate
//! calls the thread to it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hv_backend::api::{IrqLine, Vcpu};

const HOST: u8 = 0;
const GUEST: u8 = 1;
const PARKED: u8 = 2;

/// Levels of a vCPU's two interrupt inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lines(u8);

impl Lines {
    /// Whether this input is high.
    #[must_use]
    pub fn is_high(self, line: IrqLine) -> bool {
        self.0 & bit(line) != 0
    }

    /// Whether any input is high.
    #[must_use]
    pub fn any(self) -> bool {
        self.0 != 0
    }
}

fn bit(line: IrqLine) -> u8 {
    match line {
        IrqLine::Irq => 1,
        IrqLine::Fiq => 2,
    }
}

/// Something to be done to a vCPU on the thread that holds it.
pub struct Errand(Box<Work>);

type Work = dyn FnOnce(&mut dyn Vcpu) + Send;

impl Errand {
    /// An errand.
    pub fn new(work: impl FnOnce(&mut dyn Vcpu) + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Does it.
    pub fn run(self, vcpu: &mut dyn Vcpu) {
        (self.0)(vcpu);
    }
}

impl fmt::Debug for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errand")
    }
}

/// Errands, one after the other.
#[derive(Debug, Default)]
struct Errands {
    next: Option<Errand>,
    /// The thread has ended and does none.
    closed: bool,
}

/// One vCPU's post.
#[derive(Debug, Default)]
pub struct Post {
    attention: AtomicBool,
    mode: AtomicU8,
    lines: AtomicU8,
    sleep: Mutex<()>,
    wake: Condvar,
    errands: Mutex<Errands>,
}

impl Post {
    /// Gets the vCPU's attention; `kick` gets it out of the guest if it is there. Any thread.
    pub fn rouse(&self, kick: impl FnOnce()) {
        self.attention.store(true, SeqCst);
        match self.mode.load(SeqCst) {
            GUEST => kick(),
            PARKED => {
                // With the lock held the sleeper is either before its look at `attention` or
                // asleep, never in between.
                drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
                self.wake.notify_one();
            }
            _ => {}
        }
    }

    /// Moves an interrupt input; whether that changed it.
    pub fn set_line(&self, line: IrqLine, high: bool) -> bool {
        let bit = bit(line);
        let before = if high {
            self.lines.fetch_or(bit, SeqCst)
        } else {
            self.lines.fetch_and(!bit, SeqCst)
        };
        (before & bit != 0) != high
    }

    /// The interrupt inputs now.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines(self.lines.load(SeqCst))
    }

    /// Takes the attention asked for. Look at everything others may have left after this.
    pub fn heed(&self) {
        self.attention.store(false, SeqCst);
    }

    /// Announces that the thread enters the guest; false when it should heed first. Follow it by
    /// [`Post::left_guest`] either way.
    #[must_use]
    pub fn entering_guest(&self) -> bool {
        self.mode.store(GUEST, SeqCst);
        !self.attention.load(SeqCst)
    }

    /// The thread is back from the guest.
    pub fn left_guest(&self) {
        self.mode.store(HOST, SeqCst);
    }

    /// Leaves an errand, in place of one not begun yet. It is dropped if the thread has ended.
    pub fn leave_errand(&self, errand: Errand) {
        let mut errands = self.errands();
        if !errands.closed {
            errands.next = Some(errand);
        }
    }

    /// Whether there is an errand.
    #[must_use]
    pub fn has_errand(&self) -> bool {
        self.errands().next.is_some()
    }

    /// Takes the errand.
    pub fn take_errand(&self) -> Option<Errand> {
        self.errands().next.take()
    }

    /// The thread ended: errands, begun or not, are for nobody.
    pub fn close(&self) {
        *self.errands() = Errands {
            next: None,
            closed: true,
        };
    }

    fn errands(&self) -> MutexGuard<'_, Errands> {
        self.errands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until somebody asks for attention, or `timeout` is over.
    pub fn park(&self, timeout: Option<Duration>) {
        let guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.mode.store(PARKED, SeqCst);
        let idle = |(): &mut ()| !self.attention.load(SeqCst);
        match timeout {
            Some(timeout) => drop(self.wake.wait_timeout_while(guard, timeout, idle)),
            None => drop(self.wake.wait_while(guard, idle)),
        }
        self.mode.store(HOST, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;

    #[test]
    fn attention_asked_for_before_parking_is_not_lost() {
        let post = Post::default();
        post.rouse(|| panic!("not in the guest"));
        post.park(None);
        post.heed();
        let start = Instant::now();
        post.park(Some(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn the_guest_is_kicked_only_when_it_runs() {
        let post = Post::default();
        let kicks = AtomicUsize::new(0);
        let kick = || {
            kicks.fetch_add(1, SeqCst);
        };
        post.rouse(kick);
        assert!(!post.entering_guest());
        post.left_guest();
        post.heed();
        assert!(post.entering_guest());
        post.rouse(kick);
        post.left_guest();
        assert_eq!(kicks.load(SeqCst), 1);
    }

    #[test]
    fn ten_thousand_wake_ups_in_a_row_all_arrive() {
        let (ping, pong) = (Post::default(), Post::default());
        let run = |mine: &Post, other: &Post, first: bool| {
            for round in 0..10_000 {
                if round != 0 || !first {
                    mine.park(None);
                    mine.heed();
                }
                other.rouse(|| {});
            }
        };
        std::thread::scope(|s| {
            s.spawn(|| run(&ping, &pong, true));
            s.spawn(|| run(&pong, &ping, false));
        });
    }

    #[test]
    fn lines_report_changes_only() {
        let post = Post::default();
        assert!(!post.set_line(IrqLine::Irq, false));
        assert!(post.set_line(IrqLine::Irq, true));
        assert!(!post.set_line(IrqLine::Irq, true));
        assert!(post.lines().is_high(IrqLine::Irq));
        assert!(!post.lines().is_high(IrqLine::Fiq));
        assert!(post.set_line(IrqLine::Fiq, true));
        assert!(post.set_line(IrqLine::Irq, false));
        assert!(post.lines().any());
    }
}
