//! What can be made to go wrong: things that Macs were seen to do, and that no test would meet by
//! itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

/// One of the things that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A kick that meets a vCPU on its way out of the guest for another reason is lost.
    DropKicks,
    /// Every n-th run returns with reason UNKNOWN and has done nothing.
    Unknown(u64),
    /// Every n-th run returns CANCELED though nobody asked.
    SpuriousCancel(u64),
    /// The virtual timer is noticed so many ticks late.
    LateTimer(u64),
    /// The n-th `hv_vm_map` from now fails, once.
    FailMap(u64),
}

impl Fault {
    /// How each is written.
    pub const WORDS: [&'static str; 5] = [
        "drop-kicks",
        "unknown=N",
        "spurious-cancel=N",
        "late-timer=N",
        "fail-map=N",
    ];

    /// The fault that a word of [`Self::WORDS`] names, with a number from 1 on for N.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        if word == "drop-kicks" {
            return Some(Self::DropKicks);
        }
        let (name, number) = word.split_once('=')?;
        let n = number.parse().ok().filter(|n| *n > 0)?;
        Some(match name {
            "unknown" => Self::Unknown(n),
            "spurious-cancel" => Self::SpuriousCancel(n),
            "late-timer" => Self::LateTimer(n),
            "fail-map" => Self::FailMap(n),
            _ => return None,
        })
    }
}

static DROP_KICKS: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static UNKNOWN: AtomicU64 = AtomicU64::new(0);
static SPURIOUS_CANCEL: AtomicU64 = AtomicU64::new(0);
static LATE_TIMER: AtomicU64 = AtomicU64::new(0);
static FAIL_MAP: AtomicU64 = AtomicU64::new(0);

/// Makes one thing go wrong from now on.
pub fn inject(fault: Fault) {
    match fault {
        Fault::DropKicks => DROP_KICKS.store(true, SeqCst),
        Fault::Unknown(n) => UNKNOWN.store(n, SeqCst),
        Fault::SpuriousCancel(n) => SPURIOUS_CANCEL.store(n, SeqCst),
        Fault::LateTimer(ticks) => LATE_TIMER.store(ticks, SeqCst),
        Fault::FailMap(n) => FAIL_MAP.store(n, SeqCst),
    }
}

/// Makes everything go right again.
pub fn clear() {
    DROP_KICKS.store(false, SeqCst);
    for counter in [&UNKNOWN, &SPURIOUS_CANCEL, &LATE_TIMER, &FAIL_MAP] {
        counter.store(0, SeqCst);
    }
}

pub(crate) fn drops_kicks() -> bool {
    DROP_KICKS.load(SeqCst)
}

/// Counts a kick that was dropped.
pub(crate) fn kick_dropped() {
    DROPPED.fetch_add(1, SeqCst);
}

/// How many kicks were dropped since the process began: whether a test met what it is about.
#[must_use]
pub fn dropped_kicks() -> u64 {
    DROPPED.load(SeqCst)
}

/// Whether the run with this number, counted from 1, does nothing for an unknown reason.
pub(crate) fn is_unknown(run: u64) -> bool {
    is_nth(&UNKNOWN, run)
}

pub(crate) fn is_cancelled_for_nothing(run: u64) -> bool {
    is_nth(&SPURIOUS_CANCEL, run)
}

fn is_nth(every: &AtomicU64, run: u64) -> bool {
    let every = every.load(SeqCst);
    every != 0 && run.is_multiple_of(every)
}

pub(crate) fn timer_delay() -> u64 {
    LATE_TIMER.load(SeqCst)
}

/// Counts a map down; whether it is the one that fails.
pub(crate) fn fails_this_map() -> bool {
    let down = |left: u64| left.checked_sub(1);
    FAIL_MAP.fetch_update(SeqCst, SeqCst, down) == Ok(1)
}
