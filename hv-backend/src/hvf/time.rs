//! The counter of a VM: its offset, the same for all vCPUs, and the host's sleep.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use super::clock::{GuestClock, Moment, slept};
use super::sys::Framework;

/// The counter of a VM.
#[derive(Debug)]
pub struct VmTime {
    clock: GuestClock,
    ticks_per_second: u64,
    /// Held by who changes the rest.
    changing: Mutex<()>,
    offset: AtomicU64,
    /// Counts changes of `offset`, so that vCPUs see them.
    version: AtomicU64,
    /// How long the host had slept when that was last looked at.
    asleep: AtomicU64,
}

fn moment(framework: Framework) -> Moment {
    let all = framework.all_ticks();
    let awake = framework.awake_ticks();
    Moment { all, awake }
}

impl VmTime {
    /// A counter that starts from zero now.
    pub fn new(framework: Framework, clock: GuestClock, ticks_per_second: u64) -> Self {
        let now = moment(framework);
        Self {
            clock,
            ticks_per_second,
            changing: Mutex::new(()),
            offset: AtomicU64::new(clock.offset(now.awake, 0)),
            version: AtomicU64::new(1),
            asleep: AtomicU64::new(now.asleep()),
        }
    }

    /// How the counter follows from ticks.
    pub fn clock(&self) -> GuestClock {
        self.clock
    }

    /// Ticks in a second.
    pub fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// The offset for vCPUs, if it is not that of `version`; and its version.
    pub fn changed_since(&self, version: u64) -> Option<(u64, u64)> {
        let now = self.version.load(SeqCst);
        (now != version).then(|| (self.offset.load(SeqCst), now))
    }

    /// The counter now.
    pub fn counter(&self, framework: Framework) -> u64 {
        let ticks = framework.awake_ticks();
        self.clock.counter(ticks, self.offset.load(SeqCst))
    }

    /// Makes the counter read `value` now.
    pub fn set(&self, framework: Framework, value: u64) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = moment(framework);
        self.asleep.store(now.asleep(), SeqCst);
        self.change(self.clock.offset(now.awake, value));
    }

    /// Lets the counter jump by what the host slept since it was last looked at. Whether it did.
    pub fn catch_up(&self, framework: Framework) -> bool {
        let sleep = |now| slept(self.asleep.load(SeqCst), now, self.ticks_per_second);
        if sleep(moment(framework)).is_none() {
            return false;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = moment(framework);
        let Some(ticks) = sleep(now) else {
            return false;
        };
        let offset = self.offset.load(SeqCst);
        let value = self.clock.counter(now.awake.wrapping_add(ticks), offset);
        self.asleep.store(now.asleep(), SeqCst);
        self.change(self.clock.offset(now.awake, value));
        true
    }

    fn change(&self, offset: u64) {
        self.offset.store(offset, SeqCst);
        self.version.fetch_add(1, SeqCst);
    }
}
