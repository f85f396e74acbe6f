//! The guest's counter, made of the host's ticks. Pure.
//!
//! The framework lets the guest count from an offset: `CNTVCT_EL0` = `mach_absolute_time()` - offset.
//! Three things are not as one would expect:
//! - Durations of the host are made of ticks with `mach_timebase_info`, never with `CNTFRQ_EL0`:
//!   on some processors macOS shows programs a faster counter than the one it counts ticks by.
//!   What a guest then sees nobody has documented, so a two-instruction guest is asked
//!   ([`GuestClock::recognise`]), and what fits none of the ideas about it is refused.
//! - Ticks stop while the host sleeps ([`slept`]).
//! - The counter must be the same on all vCPUs, but each has its own offset.
//!
//! # Guest time after the host slept
//! The guest's counter jumps forward by the time slept, as that of a machine does whose processors
//! were held. So the guest's clocks, wall clock too, stay right without an agent in the guest. The jump is
//! made by whichever vCPU first enters the guest or is looked at afterwards; those inside the guest
//! follow at once. A timer that a vCPU in the guest has set is late by what the host slept past it and no
//! more. One that a parked vCPU waits for is later: its thread waits in the host's time awake, so up to as
//! long as the host slept while it was parked, unless something else wakes it. Pausing a machine is the
//! VMM's way to stop its time.

use super::abi::Timebase;

/// Ticks in a second, from what a tick is. `None` if the host says that it is nothing.
#[must_use]
pub fn tick_frequency(timebase: Timebase) -> Option<u64> {
    let Timebase { numer, denom } = timebase;
    let frequency = 1_000_000_000 * u64::from(denom);
    (numer != 0 && denom != 0).then(|| frequency / u64::from(numer))
}

/// How the guest's counter follows from ticks and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The guest counts ticks.
    Ticks,
    /// The counter is scaled, and the offset is one of scaled counts.
    ScaledThenOffset,
    /// The ticks from the offset on are scaled.
    OffsetThenScaled,
}

/// The relation between the host's ticks and the guest's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestClock {
    ticks_per_second: u64,
    frequency: u64,
    rule: Rule,
}

/// What the two-instruction guest saw, and what the host saw around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// `CNTFRQ_EL0` in the guest.
    pub frequency: u64,
    /// `CNTVCT_EL0` in the guest.
    pub counter: u64,
    /// The offset it was given.
    pub offset: u64,
    /// Ticks before and after.
    pub ticks: (u64, u64),
}

fn scale(value: u64, to: u64, from: u64) -> u64 {
    // The counter wraps as the architecture's does.
    (u128::from(value) * u128::from(to) / u128::from(from.max(1))) as u64
}

impl GuestClock {
    /// The relation that explains what a guest saw, if one does.
    #[must_use]
    pub fn recognise(ticks_per_second: u64, seen: Sighting) -> Option<Self> {
        let Sighting {
            frequency,
            counter,
            offset,
            ticks: (before, after),
        } = seen;
        if frequency == 0 || ticks_per_second == 0 {
            return None;
        }
        let rules: &[Rule] = if frequency == ticks_per_second {
            &[Rule::Ticks]
        } else {
            &[Rule::ScaledThenOffset, Rule::OffsetThenScaled]
        };
        let clocks = rules.iter().map(|rule| Self {
            ticks_per_second,
            frequency,
            rule: *rule,
        });
        let mut clocks = clocks.filter(|clock| {
            let from = clock.counter(before, offset);
            // The last tick may have been counted in part.
            let until = clock.counter(after.wrapping_add(1), offset);
            counter.wrapping_sub(from) <= until.wrapping_sub(from)
        });
        clocks.next()
    }

    /// What the guest counts in a second.
    #[must_use]
    pub fn frequency(self) -> u64 {
        self.frequency
    }

    /// The guest's counter.
    #[must_use]
    pub fn counter(self, ticks: u64, offset: u64) -> u64 {
        let scaled = |ticks| scale(ticks, self.frequency, self.ticks_per_second);
        match self.rule {
            Rule::Ticks => ticks.wrapping_sub(offset),
            Rule::ScaledThenOffset => scaled(ticks).wrapping_sub(offset),
            Rule::OffsetThenScaled => scaled(ticks.wrapping_sub(offset)),
        }
    }

    /// The offset with which the guest's counter is `value` now.
    #[must_use]
    pub fn offset(self, ticks: u64, value: u64) -> u64 {
        match self.rule {
            Rule::Ticks => ticks.wrapping_sub(value),
            Rule::ScaledThenOffset => {
                scale(ticks, self.frequency, self.ticks_per_second).wrapping_sub(value)
            }
            Rule::OffsetThenScaled => {
                ticks.wrapping_sub(scale(value, self.ticks_per_second, self.frequency))
            }
        }
    }

    /// The ticks that so many counts of the guest take, rounded up.
    #[must_use]
    pub fn ticks(self, counts: u64) -> u64 {
        let ticks = u128::from(counts) * u128::from(self.ticks_per_second);
        u64::try_from(ticks.div_ceil(u128::from(self.frequency.max(1)))).unwrap_or(u64::MAX)
    }
}

/// The host's clocks at a moment: all ticks first, then those awake, so that a thread that is held
/// between the two sees less sleep than there was, never more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Ticks since the host started, those it slept too.
    pub all: u64,
    /// Ticks since the host started, less those it slept.
    pub awake: u64,
}

impl Moment {
    /// Ticks that the host has slept since it started.
    #[must_use]
    pub fn asleep(self) -> u64 {
        self.all.saturating_sub(self.awake)
    }
}

/// Ticks that the host slept since `known` (of [`Moment::asleep`]) was looked at. What is shorter
/// than a twentieth of a second is the uncertainty of looking at two clocks, and no sleep.
#[must_use]
pub fn slept(known: u64, now: Moment, ticks_per_second: u64) -> Option<u64> {
    let growth = now.asleep().saturating_sub(known);
    (growth > ticks_per_second / 20).then_some(growth)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MHZ_24: u64 = 24_000_000;
    const GHZ: u64 = 1_000_000_000;

    fn seen(frequency: u64, counter: u64) -> Sighting {
        Sighting {
            frequency,
            counter,
            offset: 5_000_000,
            ticks: (24_000_000, 24_000_100),
        }
    }

    #[test]
    fn ticks_have_the_frequency_of_the_timebase() {
        let timebase = |numer, denom| Timebase { numer, denom };
        assert_eq!(tick_frequency(timebase(125, 3)), Some(MHZ_24));
        assert_eq!(tick_frequency(timebase(1, 1)), Some(GHZ));
        assert_eq!(tick_frequency(timebase(0, 1)), None);
        assert_eq!(tick_frequency(timebase(1, 0)), None);
    }

    #[test]
    fn what_the_guest_sees_tells_the_rule() {
        let rule = |sighting| GuestClock::recognise(MHZ_24, sighting).map(|clock| clock.rule);
        assert_eq!(rule(seen(MHZ_24, 19_000_050)), Some(Rule::Ticks));
        let scaled = rule(seen(GHZ, 1_000_000_000 - 5_000_000 + 900));
        assert_eq!(scaled, Some(Rule::ScaledThenOffset));
        let scaled = rule(seen(GHZ, 791_666_667 + 900));
        assert_eq!(scaled, Some(Rule::OffsetThenScaled));
        // It says that it is fast, but counts ticks; it counts something else; it says nothing.
        assert_eq!(rule(seen(GHZ, 19_000_050)), None);
        assert_eq!(rule(seen(MHZ_24, 19_000_500)), None);
        assert_eq!(rule(seen(0, 19_000_050)), None);
    }

    #[test]
    fn an_offset_makes_the_counter_what_was_asked_for() {
        for rule in [Rule::Ticks, Rule::ScaledThenOffset, Rule::OffsetThenScaled] {
            let frequency = if rule == Rule::Ticks { MHZ_24 } else { GHZ };
            let clock = GuestClock {
                ticks_per_second: MHZ_24,
                frequency,
                rule,
            };
            for (ticks, value) in [(1_000_000, 0), (1_000_000, 900_000), (3, 1 << 40)] {
                let offset = clock.offset(ticks, value);
                let off_by = clock.counter(ticks, offset).abs_diff(value);
                assert!(
                    off_by <= frequency / MHZ_24 || value > 1 << 39,
                    "{rule:?} {off_by}"
                );
                let step = clock.counter(ticks + MHZ_24, offset);
                let step = step.wrapping_sub(clock.counter(ticks, offset));
                assert!(
                    step.abs_diff(frequency) <= 1 || value > 1 << 39,
                    "{rule:?} {step}"
                );
            }
            assert_eq!(clock.ticks(frequency), MHZ_24);
            assert_eq!(clock.ticks(1), 1);
        }
    }

    #[test]
    fn sleep_is_told_from_the_uncertainty_of_clocks() {
        let moment = |asleep, awake| Moment {
            all: awake + asleep,
            awake,
        };
        assert_eq!(slept(0, moment(0, 1), MHZ_24), None);
        assert_eq!(
            slept(100, moment(99, 1), MHZ_24),
            None,
            "held between two looks"
        );
        assert_eq!(slept(100, moment(100 + MHZ_24 / 20, 9), MHZ_24), None);
        assert_eq!(slept(100, moment(100 + MHZ_24, 9), MHZ_24), Some(MHZ_24));
    }
}
