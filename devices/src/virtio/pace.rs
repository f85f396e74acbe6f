//! When a driver hears of the buffers that its device gave back.
//!
//! An interrupt costs a guest about as much as a request. A driver that has many requests under way
//! does not mind to hear of some of them later, together; one that waits for a single one minds
//! every microsecond. Which of the two it is cannot be seen in a queue: a fast device empties it
//! before a driver that has more to send can send it. So it is tried out, seldom: the device says
//! nothing and looks whether more comes.
//!
//! - A driver hears of its buffers when half of those that it has under way are done; the other half
//!   keeps both busy. At least so many are under way as wait in the queue.
//! - A *trial* says nothing until more are done than the driver was believed to have under way. If
//!   they are, twice as many are believed; if no more come ([`Pace::patience`]), it is as many as are
//!   done, and the next trial is twice as far away.
//! - Nobody waits longer than [`MOST`] for buffers that come next, nor for one that takes long: before
//!   such a one, and before each where most take long ([`SLOW`]), the driver hears of what is done.
//!
//! Pure: time and the length of the queue are arguments.

use std::time::Duration;

/// The longest that a buffer waits for others before its driver hears of it.
const MOST: Duration = Duration::from_millis(1);
/// A device that takes so long for a buffer is slow: next to that an interrupt costs nothing.
const SLOW: Duration = Duration::from_micros(200);
/// How long nothing has to come before nothing is believed to come: three times what a buffer takes,
/// within these.
const PATIENCE: (Duration, Duration) = (Duration::from_micros(50), Duration::from_micros(500));
/// The most that are believed to be under way.
const MOST_UNDER_WAY: u32 = 256;
/// How many times a driver hears of buffers between two trials, at first and at most.
const GAP: (u32, u32) = (63, 1023);

/// What is known of one queue's driver.
#[derive(Clone, Debug)]
pub struct Pace {
    /// So many it is believed to have under way if it hears of none.
    depth: u32,
    /// Times it hears until the next trial, and from a trial to the next.
    left: u32,
    gap: u32,
    /// What a buffer takes, smoothed.
    each: Duration,
    /// What the device itself takes for one, smoothed.
    serves_in: Duration,
    /// When it last heard.
    told: Duration,
    /// What it has not heard of.
    unheard: Unheard,
}

/// Buffers that were given back, and the driver does not know.
#[derive(Clone, Copy, Debug, Default)]
struct Unheard {
    count: u32,
    first: Duration,
    last: Duration,
    /// The driver can do nothing before it hears of one of them.
    urgent: bool,
    trial: bool,
    /// No more came.
    stalled: bool,
}

impl Pace {
    /// Of a driver that nothing is known of.
    #[must_use]
    pub fn new() -> Self {
        Self {
            depth: 1,
            left: GAP.0,
            gap: GAP.0,
            each: PATIENCE.0,
            serves_in: Duration::ZERO,
            told: Duration::ZERO,
            unheard: Unheard::default(),
        }
    }

    /// A buffer was given back; `urgent` if it surely is what the driver waits for.
    pub fn done(&mut self, urgent: bool, now: Duration) {
        let unheard = &mut self.unheard;
        if unheard.count == 0 {
            unheard.first = now;
            unheard.trial = self.left == 0;
        }
        unheard.count += 1;
        unheard.last = now;
        unheard.urgent |= urgent;
    }

    /// Whether the driver has not heard of all that is done.
    #[must_use]
    pub fn has_unheard(&self) -> bool {
        self.unheard.count > 0
    }

    /// The device took so long for a buffer.
    pub fn served(&mut self, time: Duration) {
        self.serves_in = (self.serves_in * 3 + time) / 4;
    }

    /// Whether it is time to interrupt the driver before the next buffer is begun, which surely takes
    /// `long` or nobody knows.
    #[must_use]
    pub fn is_due_before(&self, long: bool) -> bool {
        self.unheard.count > 0 && (long || self.serves_in >= SLOW)
    }

    /// Whether it is time to interrupt the driver, while so many buffers wait in the queue.
    #[must_use]
    pub fn is_due(&self, waiting: u32, now: Duration) -> bool {
        let Unheard {
            count,
            first,
            urgent,
            ..
        } = self.unheard;
        let late = now.saturating_sub(first) >= MOST;
        count > 0 && (urgent || late || count >= self.goal(waiting))
    }

    /// The queue is empty: how long to wait for more before the driver hears of what is done; `None`
    /// if it is to hear of it now, or there is nothing.
    pub fn rest(&mut self, now: Duration) -> Option<Duration> {
        let Unheard {
            count, first, last, ..
        } = self.unheard;
        if count == 0 || self.is_due(0, now) {
            return None;
        }
        let quiet = now.saturating_sub(last);
        let left = self.patience().saturating_sub(quiet);
        self.unheard.stalled = left.is_zero();
        let most = MOST.saturating_sub(now.saturating_sub(first));
        (!left.is_zero()).then(|| left.min(most))
    }

    /// So many buffers are being served: how long to wait for them before the driver hears of what is
    /// done; `None` if it is to hear of it now, or there is nothing. Other than what a driver may send,
    /// these come for sure.
    #[must_use]
    pub fn rest_for(&self, under_way: u32, now: Duration) -> Option<Duration> {
        let Unheard { count, first, .. } = self.unheard;
        let keeps = count > 0 && !self.is_due(under_way, now);
        keeps.then(|| MOST.saturating_sub(now.saturating_sub(first)))
    }

    /// The driver hears of all that is done.
    pub fn told(&mut self, now: Duration) {
        let Unheard {
            count,
            trial,
            stalled,
            ..
        } = std::mem::take(&mut self.unheard);
        if count == 0 {
            return;
        }
        let each = now.saturating_sub(self.told).min(MOST) / count;
        self.each = (self.each * 3 + each) / 4;
        self.told = now;
        self.left = self.left.saturating_sub(1);
        if trial && count > self.depth {
            self.depth = (2 * count).min(MOST_UNDER_WAY);
            self.gap = 0;
            self.left = 0;
        } else if trial || stalled {
            if stalled {
                self.depth = count;
            }
            self.gap = (2 * self.gap + 1).min(GAP.1);
            self.left = self.gap;
        }
    }

    fn goal(&self, waiting: u32) -> u32 {
        let Unheard { count, trial, .. } = self.unheard;
        let half = self.depth.max(count + waiting).div_ceil(2);
        if trial {
            half.max(self.depth + 1)
        } else {
            half
        }
    }

    fn patience(&self) -> Duration {
        (self.each * 3).clamp(PATIENCE.0, PATIENCE.1)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// A driver that keeps `depth` requests under way: each costs it `send` to send, and whenever it
    /// hears, an interrupt costs it as much. The device takes `serve` for each.
    struct Load {
        depth: u32,
        send: Duration,
        serve: Duration,
    }

    /// What came of it.
    #[derive(Debug)]
    struct Came {
        /// For each request.
        time: Duration,
        interrupts: f64,
    }

    impl Load {
        /// Plays so many requests. Both sides have a processor of their own.
        fn play(&self, pace: &mut Pace, requests: u32) -> Came {
            let (mut driver, mut device) = (us(0), us(0));
            // When what waits was sent, and what the driver has under way.
            let mut queue = std::collections::VecDeque::new();
            let (mut under_way, mut finished, mut interrupts) = (0, 0, 0_u32);
            while finished < requests {
                // The driver goes on as long as it is behind the device, or has all to itself.
                if under_way < self.depth && driver <= device {
                    driver += self.send;
                    queue.push_back(driver);
                    under_way += 1;
                    continue;
                }
                let next = queue.front().copied();
                let tell = match next.filter(|sent| *sent <= device) {
                    Some(_) => {
                        queue.pop_front();
                        device += self.serve;
                        pace.done(false, device);
                        let waiting = queue.iter().filter(|sent| **sent <= device).count();
                        pace.is_due(waiting as u32, device)
                    }
                    None => match pace.rest(device) {
                        Some(wait) => {
                            assert!(wait <= MOST && !wait.is_zero());
                            device += wait;
                            false
                        }
                        None => pace.unheard.count > 0,
                    },
                };
                if tell {
                    let count = pace.unheard.count;
                    pace.told(device);
                    driver = driver.max(device) + self.send;
                    under_way -= count;
                    finished += count;
                    interrupts += 1;
                } else if pace.unheard.count == 0 {
                    device = device.max(next.unwrap_or(device.max(driver) + us(1)));
                }
            }
            Came {
                time: driver.max(device) / requests,
                interrupts: f64::from(interrupts) / f64::from(requests),
            }
        }
    }

    #[test]
    fn who_waits_for_one_request_hears_of_it_at_once() {
        for (send, serve) in [(us(20), us(5)), (us(200), us(10)), (us(10), us(100))] {
            let depth = 1;
            let load = Load { depth, send, serve };
            let came = load.play(&mut Pace::new(), 20_000);
            assert_eq!(came.interrupts, 1.0);
            let least = 2 * send + serve;
            assert!(came.time < least + least / 20, "{came:?}, not {least:?}");
        }
    }

    #[test]
    fn who_has_many_under_way_hears_of_several_at_once() {
        for (send, serve) in [(us(20), us(2)), (us(100), us(10)), (us(5), us(50))] {
            let depth = 32;
            let load = Load { depth, send, serve };
            let came = load.play(&mut Pace::new(), 20_000);
            assert!(came.interrupts < 0.3, "{came:?}");
            let least = (send + send / 3).max(serve);
            assert!(came.time < least + least / 4, "{came:?}, not {least:?}");
        }
    }

    #[test]
    fn a_driver_that_changes_its_ways_is_found_out() {
        let load = |depth| Load {
            depth,
            send: us(20),
            serve: us(3),
        };
        let mut pace = Pace::new();
        for depth in [32, 1, 8, 2] {
            load(depth).play(&mut pace, 3000);
            let came = load(depth).play(&mut pace, 3000);
            let several = f64::from(depth.div_ceil(2)).min(16.0);
            assert!(came.interrupts <= 1.5 / several, "{depth}: {came:?}");
        }
    }

    #[test]
    fn nobody_waits_for_what_takes_long() {
        let mut pace = Pace::new();
        assert!(!pace.is_due_before(true), "there is nothing to hear of");
        pace.served(us(20));
        pace.done(false, us(20));
        assert!(!pace.is_due_before(false));
        assert!(pace.is_due_before(true));
        for _ in 0..4 {
            pace.served(us(5000));
        }
        assert!(pace.is_due_before(false), "a slow device");
        pace.told(us(30_000));
        assert!(!pace.is_due_before(true), "it heard of everything");
    }

    #[test]
    fn half_of_what_is_being_served_is_waited_for_but_not_long() {
        let mut pace = Pace::new();
        assert_eq!(pace.rest_for(8, us(5)), None, "there is nothing to hear of");
        for count in 1..4 {
            pace.done(false, us(10));
            assert_eq!(pace.rest_for(8 - count, us(110)), Some(MOST - us(100)));
        }
        assert_eq!(pace.rest_for(5, us(10) + MOST), None);
        pace.done(false, us(110));
        assert_eq!(pace.rest_for(4, us(110)), None);
        assert!(pace.has_unheard());
    }

    #[test]
    fn what_is_urgent_does_not_wait() {
        let mut pace = Pace::new();
        pace.depth = 32;
        pace.done(false, us(1));
        assert!(!pace.is_due(0, us(1)));
        pace.done(true, us(2));
        assert!(pace.is_due(30, us(2)));
        assert_eq!(pace.rest(us(2)), None);
    }

    proptest! {
        #[test]
        fn nobody_waits_for_ever(
            depth in 1_u32..300, left in 0_u32..3, done in 1_u32..40, each in 0_u64..5000,
        ) {
            let mut pace = Pace { depth, left, each: us(each), ..Pace::new() };
            let mut now = us(10);
            for _ in 0..done {
                pace.done(false, now);
            }
            let mut waits = 0;
            while let Some(wait) = pace.rest(now) {
                prop_assert!(!wait.is_zero());
                now += wait;
                waits += 1;
                prop_assert!(waits < 10);
            }
            prop_assert!(now <= us(10) + MOST);
            pace.told(now);
            prop_assert_eq!(pace.unheard.count, 0);
            prop_assert!(pace.depth >= 1);
        }
    }
}
