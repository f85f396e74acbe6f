//! The guest's counter, made of the host's monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use softcpu::cluster::Clock;

/// `CNTFRQ_EL0` if nobody asks for another: one tick is 16 ns.
pub const FREQUENCY: u64 = 62_500_000;
/// The most: one tick is 1 ns, which the host's clock counts in.
pub const MAX_FREQUENCY: u64 = NANOS;
const NANOS: u64 = 1_000_000_000;

/// A counter that runs with the host's clock, from an origin that can be moved.
#[derive(Debug)]
pub struct HostClock {
    frequency: u64,
    start: Instant,
    /// Added to the ticks since `start`.
    offset: AtomicU64,
}

impl HostClock {
    /// A counter that starts at 0 and counts so many ticks in a second, 1 to [`MAX_FREQUENCY`].
    pub fn new(frequency: u64) -> Option<Self> {
        (1..=MAX_FREQUENCY).contains(&frequency).then(|| Self {
            frequency,
            start: Instant::now(),
            offset: AtomicU64::new(0),
        })
    }

    fn ticks(&self) -> u64 {
        ticks(self.start.elapsed().as_nanos(), self.frequency)
    }

    /// Makes the counter read `value` now.
    pub fn set(&self, value: u64) {
        self.offset
            .store(value.wrapping_sub(self.ticks()), Ordering::SeqCst);
    }
}

/// Ticks in so many nanoseconds, without a rest that would add up.
fn ticks(nanos: u128, frequency: u64) -> u64 {
    // 584 years of nanoseconds fit; the counter wraps as the architecture's does.
    let nanos = nanos as u64;
    if NANOS.is_multiple_of(frequency) {
        return nanos / (NANOS / frequency);
    }
    (u128::from(nanos) * u128::from(frequency) / u128::from(NANOS)) as u64
}

impl Clock for HostClock {
    fn counter(&self) -> u64 {
        self.ticks()
            .wrapping_add(self.offset.load(Ordering::Relaxed))
    }

    fn frequency(&self) -> u64 {
        self.frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_goes_on_from_where_it_is_set() {
        let clock = HostClock::new(FREQUENCY).unwrap();
        clock.set(1 << 40);
        let first = clock.counter();
        assert!((1 << 40..(1 << 40) + 60 * FREQUENCY).contains(&first));
        assert!(clock.counter() >= first);
    }

    #[test]
    fn every_frequency_counts_true() {
        let year = u128::from(NANOS) * 31_557_600;
        for frequency in [1, 24_000_000, 25_000_000, 54_000_000, FREQUENCY, NANOS] {
            assert_eq!(
                ticks(year, frequency),
                31_557_600 * frequency,
                "{frequency}"
            );
            assert_eq!(ticks(NANOS.into(), frequency), frequency);
        }
        assert_eq!(ticks(42, 24_000_000), 1);
        assert_eq!(ticks(41, 24_000_000), 0);
    }

    #[test]
    fn impossible_frequencies_are_refused() {
        assert!(HostClock::new(0).is_none());
        assert!(HostClock::new(NANOS + 1).is_none());
    }
}
