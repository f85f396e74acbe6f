//! Limits on how fast a guest may use a device: a bucket that fills at a rate and holds a burst.
//!
//! Whoever takes more than is there leaves a debt, and waits until it is paid: a request is never
//! split or held back for its size, and over time no more goes through than the rate.

use std::time::Duration;

/// So much a second, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Units (bytes, operations) a second; at least 1.
    pub per_second: u64,
    /// Units that may go through at once after a rest.
    pub burst: u64,
}

/// The state of a limit.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    limit: RateLimit,
    /// What is there, in units of a billionth; negative is debt.
    level: i128,
    filled: Duration,
}

const BILLION: i128 = 1_000_000_000;

impl Bucket {
    /// A full bucket. `now` is the time of any clock that never goes back.
    #[must_use]
    pub fn new(limit: RateLimit, now: Duration) -> Self {
        Self {
            limit,
            level: i128::from(limit.burst) * BILLION,
            filled: now,
        }
    }

    /// How long until there is no debt; `None` when there is none.
    #[must_use]
    pub fn wait(&mut self, now: Duration) -> Option<Duration> {
        self.fill(now);
        if self.level >= 0 {
            return None;
        }
        let rate = i128::from(self.limit.per_second.max(1));
        let nanos = (-self.level + rate - 1) / rate;
        Some(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// Takes as much as is asked for, whether it is there or not.
    pub fn take(&mut self, units: u64, now: Duration) {
        self.fill(now);
        self.level -= i128::from(units) * BILLION;
    }

    /// Gives back what was taken for something that was not done.
    pub fn give_back(&mut self, units: u64) {
        let most = i128::from(self.limit.burst) * BILLION;
        self.level = (self.level + i128::from(units) * BILLION).min(most);
    }

    fn fill(&mut self, now: Duration) {
        let nanos = now.saturating_sub(self.filled).as_nanos();
        self.filled = self.filled.max(now);
        let gained = i128::try_from(nanos).unwrap_or(i128::MAX);
        let gained = gained.saturating_mul(i128::from(self.limit.per_second.max(1)));
        let most = i128::from(self.limit.burst) * BILLION;
        self.level = self.level.saturating_add(gained).min(most);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: RateLimit = RateLimit {
        per_second: 1000,
        burst: 100,
    };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_is_free_and_a_debt_is_paid_at_the_rate() {
        let mut bucket = Bucket::new(LIMIT, ms(5));
        bucket.take(100, ms(5));
        assert_eq!(bucket.wait(ms(5)), None);
        bucket.take(50, ms(5));
        assert_eq!(bucket.wait(ms(5)), Some(ms(50)));
        bucket.give_back(20);
        assert_eq!(bucket.wait(ms(5)), Some(ms(30)));
        bucket.take(20, ms(5));
        assert_eq!(bucket.wait(ms(25)), Some(ms(30)));
        assert_eq!(bucket.wait(ms(1)), Some(ms(30)), "time does not go back");
        assert_eq!(bucket.wait(ms(55)), None);
        bucket.take(101, ms(10_000));
        assert_eq!(bucket.wait(ms(10_000)), Some(ms(1)));
    }

    proptest! {
        #[test]
        fn over_time_no_more_goes_through_than_the_rate(
            rate in 1_u64..=1 << 40,
            burst in 0_u64..=1 << 40,
            asked in prop::collection::vec((any::<u32>(), 0_u64..5_000), 1..60),
        ) {
            let limit = RateLimit { per_second: rate, burst };
            let mut bucket = Bucket::new(limit, ms(0));
            let (mut now, mut through, mut last) = (ms(0), 0_u128, 0);
            for (units, pause) in asked {
                now += ms(pause);
                if let Some(wait) = bucket.wait(now) {
                    now += wait;
                    prop_assert_eq!(bucket.wait(now), None);
                }
                bucket.take(units.into(), now);
                through += u128::from(units);
                last = units;
            }
            let paid = u128::from(burst) + now.as_nanos() * u128::from(rate) / 1_000_000_000;
            prop_assert!(through <= paid + u128::from(last) + 1);
        }

        #[test]
        fn no_number_overflows(rate: u64, burst: u64, units: u64, secs: u64) {
            let mut bucket = Bucket::new(RateLimit { per_second: rate, burst }, ms(0));
            bucket.take(units, Duration::from_secs(secs));
            bucket.take(units, Duration::MAX);
            let _ = bucket.wait(Duration::MAX);
        }
    }
}
