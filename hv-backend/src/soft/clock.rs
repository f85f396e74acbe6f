//! The guest's counter, made of the host's monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use softcpu::cluster::Clock;

/// `CNTFRQ_EL0`: one tick is 16 ns.
pub const FREQUENCY: u64 = 62_500_000;
const NANOS_PER_TICK: u64 = 1_000_000_000 / FREQUENCY;

/// A counter that runs with the host's clock, from an origin that can be moved.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
    /// Added to the ticks since `start`.
    offset: AtomicU64,
}

impl Default for HostClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            offset: AtomicU64::new(0),
        }
    }
}

impl HostClock {
    fn ticks(&self) -> u64 {
        let nanos = self.start.elapsed().as_nanos();
        // 584 years of nanoseconds fit; the counter wraps as the architecture's does.
        nanos as u64 / NANOS_PER_TICK
    }

    /// Makes the counter read `value` now.
    pub fn set(&self, value: u64) {
        self.offset
            .store(value.wrapping_sub(self.ticks()), Ordering::SeqCst);
    }
}

impl Clock for HostClock {
    fn counter(&self) -> u64 {
        self.ticks()
            .wrapping_add(self.offset.load(Ordering::Relaxed))
    }

    fn frequency(&self) -> u64 {
        FREQUENCY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_goes_on_from_where_it_is_set() {
        let clock = HostClock::default();
        clock.set(1 << 40);
        let first = clock.counter();
        assert!((1 << 40..(1 << 40) + 60 * FREQUENCY).contains(&first));
        assert!(clock.counter() >= first);
    }
}
