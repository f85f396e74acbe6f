//! How a machine is stopped: its power key is pressed, now and then again, and when the guest has
//! not shut down in time, its power is cut.
//!
//! The key is pressed again because a guest may be deaf for a while: one that boots has no driver
//! for it yet. A guest that shuts down does not mind.
//!
//! This is the plan only, a function of the time it is given; the [coordinator](crate::coordinator)
//! carries it out.

use std::time::{Duration, Instant};

use crate::outcome::Outcome;

/// How often the key is pressed.
const AGAIN: Duration = Duration::from_secs(5);

/// A wish that the guest shuts down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRequest {
    /// How long it may take.
    pub within: Duration,
    /// How the machine ends if it takes longer.
    pub or_else: Outcome,
}

/// A machine that is being stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// When its power is cut; `None` for times that no clock will see.
    due: Option<Instant>,
    /// When the key is pressed next.
    press: Instant,
    or_else: Outcome,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The power key is to be pressed.
    Press,
    /// The time is up: the machine ends like this.
    Cut(Outcome),
    /// Nothing for this long.
    Wait(Duration),
}

impl Stopping {
    /// The key is to be pressed now.
    #[must_use]
    pub fn new(request: StopRequest, now: Instant) -> Self {
        let StopRequest { within, or_else } = request;
        Self {
            due: now.checked_add(within),
            press: now,
            or_else,
        }
    }

    /// Somebody asks once more: the key is to be pressed now, and the earlier time limit holds.
    pub fn ask_again(&mut self, request: StopRequest, now: Instant) {
        let other = Self::new(request, now);
        self.press = now;
        let is_earlier = match (other.due, self.due) {
            (Some(other), Some(due)) => other < due,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            *self = other;
        }
    }

    /// What is to be done at this moment. A key that is pressed is pressed again later.
    pub fn step(&mut self, now: Instant) -> Step {
        if self.due.is_some_and(|due| due <= now) {
            return Step::Cut(self.or_else.clone());
        }
        if self.press <= now {
            self.press = now + AGAIN;
            return Step::Press;
        }
        let next = self.due.map_or(self.press, |due| due.min(self.press));
        Step::Wait(next.duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn within(seconds: u32, signal: i32) -> StopRequest {
        let or_else = Outcome::Signal(signal);
        StopRequest {
            within: SECOND * seconds,
            or_else,
        }
    }

    #[test]
    fn the_key_is_pressed_now_and_then_until_the_time_is_up() {
        let start = Instant::now();
        let mut stopping = Stopping::new(within(7, 15), start);
        let mut at = |seconds| stopping.step(start + SECOND * seconds);
        assert_eq!(at(0), Step::Press);
        assert_eq!(at(0), Step::Wait(SECOND * 5));
        assert_eq!(at(4), Step::Wait(SECOND));
        assert_eq!(at(5), Step::Press);
        assert_eq!(at(5), Step::Wait(SECOND * 2));
        assert_eq!(at(7), Step::Cut(Outcome::Signal(15)));
    }

    #[test]
    fn with_no_time_at_all_it_is_cut_at_once() {
        let start = Instant::now();
        let mut stopping = Stopping::new(within(0, 2), start);
        assert_eq!(stopping.step(start), Step::Cut(Outcome::Signal(2)));
    }

    #[test]
    fn the_earlier_limit_holds_and_every_wish_presses_the_key() {
        let start = Instant::now();
        for (first, second, cut) in [(10, 3, 2), (3, 10, 1)] {
            let mut stopping = Stopping::new(within(first, 1), start);
            assert_eq!(stopping.step(start), Step::Press);
            stopping.ask_again(within(second, 2), start);
            assert_eq!(stopping.step(start), Step::Press);
            let end = start + SECOND * 3;
            assert_eq!(stopping.step(end), Step::Cut(Outcome::Signal(cut)));
        }
    }

    #[test]
    fn a_time_beyond_the_clock_never_comes() {
        let start = Instant::now();
        let forever = StopRequest {
            within: Duration::MAX,
            or_else: Outcome::Left,
        };
        let mut stopping = Stopping::new(forever.clone(), start);
        assert_eq!(stopping.step(start), Step::Press);
        assert_eq!(stopping.step(start), Step::Wait(AGAIN));
        stopping.ask_again(within(1, 15), start);
        stopping.ask_again(forever, start);
        let end = start + SECOND;
        assert_eq!(stopping.step(end), Step::Cut(Outcome::Signal(15)));
    }
}
