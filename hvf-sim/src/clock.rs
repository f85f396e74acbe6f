//! Time: the host's clocks as macOS has them, and the guest's counter.
//!
//! `mach_absolute_time` stands still while the host sleeps and `mach_continuous_time` goes on; both
//! tick at 24 MHz. A sleep of the host is made up by moving the one that goes on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use softcpu::cluster::Clock;

use crate::profile::{MACH_FREQUENCY, Profile};

/// Where the clocks begin: a Mac has been up for a while.
const UPTIME: u64 = 3600 * MACH_FREQUENCY;

static START: OnceLock<Instant> = OnceLock::new();
static SLEPT: AtomicU64 = AtomicU64::new(0);

/// `mach_absolute_time`
pub fn absolute() -> u64 {
    let nanos = START.get_or_init(Instant::now).elapsed().as_nanos();
    UPTIME + (nanos * 3 / 125) as u64
}

/// `mach_continuous_time`
pub fn continuous() -> u64 {
    absolute() + SLEPT.load(Ordering::SeqCst)
}

/// The host sleeps for so long, now.
pub fn sleep_host(time: Duration) {
    let ticks = (time.as_nanos() * 3 / 125) as u64;
    SLEPT.fetch_add(ticks, Ordering::SeqCst);
}

/// The counter of a vCPU.
#[derive(Debug)]
pub(crate) struct GuestClock {
    frequency: u64,
    scales: bool,
    offset: AtomicU64,
}

impl GuestClock {
    pub fn new(profile: &Profile) -> Self {
        Self {
            frequency: profile.guest_frequency,
            scales: profile.counter_scales,
            offset: AtomicU64::new(0),
        }
    }

    pub fn offset(&self) -> u64 {
        self.offset.load(Ordering::SeqCst)
    }

    pub fn set_offset(&self, offset: u64) {
        self.offset.store(offset, Ordering::SeqCst);
    }
}

impl Clock for GuestClock {
    fn counter(&self) -> u64 {
        let ticks = absolute().wrapping_sub(self.offset.load(Ordering::Relaxed));
        if !self.scales {
            return ticks;
        }
        // Whether the offset is in ticks of the one or the other is anybody's guess.
        (u128::from(ticks) * u128::from(self.frequency) / u128::from(MACH_FREQUENCY)) as u64
    }

    fn frequency(&self) -> u64 {
        self.frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_moves_only_the_clock_that_goes_on() {
        let before = (absolute(), continuous());
        sleep_host(Duration::from_secs(1000));
        let after = (absolute(), continuous());
        assert!(after.0 - before.0 < 500 * MACH_FREQUENCY);
        assert!(after.1 - before.1 >= 1000 * MACH_FREQUENCY);
    }

    #[test]
    fn counters_follow_the_offset_and_the_profile() {
        let plain = GuestClock::new(&Profile::M1_13);
        plain.set_offset(absolute());
        assert!(plain.counter() < 100 * MACH_FREQUENCY);
        assert_eq!(plain.frequency(), MACH_FREQUENCY);
        let fast = GuestClock::new(&Profile::M4_26_1GHZ);
        fast.set_offset(absolute() - MACH_FREQUENCY);
        assert!(fast.counter() >= 1_000_000_000);
        let wrong = GuestClock::new(&Profile::M4_26_WRONG_HZ);
        wrong.set_offset(absolute() - MACH_FREQUENCY);
        assert_eq!(wrong.frequency(), 1_000_000_000);
        assert!(wrong.counter() < 100 * MACH_FREQUENCY);
    }
}
