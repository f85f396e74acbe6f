//! Rounds of free page hints (Virtio 1.2, section 5.5.6.5): the host asks, the guest names pages that
//! are free, and says when it is through.
//!
//! | state      | what happens                   | next       |
//! |------------|--------------------------------|------------|
//! | none       | the host asks                  | `Asked`    |
//! | `Asked`    | the guest answers the number   | `Naming`   |
//! | `Naming`   | pages are named                | same, they are kept |
//! | `Naming`   | the guest says another number  | `Asked`    |
//! | `Naming`   | the guest says [`hint::STOP`]  | `Complete`, and who asked is told |
//! | any        | the host ends the round        | none; the guest reads [`hint::DONE`] |
//! | any        | the device is reset            | none, and who asked is told |
//!
//! Pages that are named at any other time are ignored. A hint is no gift: the guest may take the page
//! back before it is told [`hint::DONE`], and what it has written there since the round began must
//! stay. The device cannot know that, so it only collects.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::Sender;

use super::spec::hint;

/// The most runs of pages that are kept of a round. A guest names its largest blocks, a few MiB each;
/// of one whose memory is in pieces the rest is left out.
const MOST_RUNS: usize = 1 << 14;

/// A round of hints, of all that a device ever had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u32);

impl Round {
    /// Its number, by which the guest knows it.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

/// How a round of hints came to its end, but for the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintsEnd {
    /// The guest has named all that it will.
    Complete,
    /// The device was reset: the guest has its pages back.
    Reset,
}

/// Why there are no hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHints {
    /// The guest has no driver for the balloon, at least not now.
    NoDriver,
    /// Its driver does not know hints.
    NotKnown,
    /// They were asked for already.
    UnderWay,
}

/// The rounds of a device.
#[derive(Debug)]
pub struct Rounds {
    /// What the guest reads as the round it is asked for.
    shown: u32,
    /// The number of the last round, [`hint::STOP`] before the first.
    last: u32,
    now: Option<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    phase: Phase,
    named: Runs,
    told: Sender<HintsEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Naming,
    Complete,
}

impl Default for Rounds {
    fn default() -> Self {
        Self::after(hint::STOP)
    }
}

impl Rounds {
    /// Those of a device whose last round was that, and is over.
    pub fn after(last: u32) -> Self {
        let shown = if last == hint::STOP {
            hint::STOP
        } else {
            hint::DONE
        };
        Self {
            shown,
            last,
            now: None,
        }
    }

    /// What the guest reads as the round it is asked for.
    pub fn shown(&self) -> u32 {
        self.shown
    }

    /// The number of the last round, for [`Rounds::after`].
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Whether a round is under way.
    pub fn is_under_way(&self) -> bool {
        self.now.is_some()
    }

    /// Begins a round, in place of any other. Its number is not that of the one before, which is how
    /// a driver notices.
    pub fn ask(&mut self, told: Sender<HintsEnd>) -> Round {
        let next = self.last.max(hint::FIRST - 1).checked_add(1);
        self.last = next.unwrap_or(hint::FIRST);
        self.shown = self.last;
        self.now = Some(UnderWay {
            phase: Phase::Asked,
            named: Runs::default(),
            told,
        });
        Round(self.last)
    }

    /// The guest sent a number.
    pub fn said(&mut self, number: u32) {
        let Some(now) = &mut self.now else {
            return;
        };
        now.phase = match (now.phase, number) {
            (Phase::Complete, _) => Phase::Complete,
            (Phase::Naming, hint::STOP) => {
                // Who asked may have gone away.
                let _ = now.told.send(HintsEnd::Complete);
                Phase::Complete
            }
            (Phase::Asked | Phase::Naming, number) if number == self.last => Phase::Naming,
            (Phase::Asked | Phase::Naming, _) => Phase::Asked,
        };
    }

    /// The guest named pages, by number from the start of RAM.
    pub fn named(&mut self, pages: Range<u64>) {
        if let Some(now) = &mut self.now
            && now.phase == Phase::Naming
        {
            now.named.insert(pages);
        }
    }

    /// What was named in a round, if the guest is through with it and it is not over.
    pub fn complete(&self, round: Round) -> Option<Vec<Range<u64>>> {
        let now = self.now.as_ref().filter(|_| round.0 == self.last)?;
        (now.phase == Phase::Complete).then(|| now.named.to_vec())
    }

    /// Ends a round; whether it was not over yet.
    pub fn end(&mut self, round: Round) -> bool {
        let ends = round.0 == self.last && self.now.take().is_some();
        if ends {
            self.shown = hint::DONE;
        }
        ends
    }

    /// The device is reset.
    pub fn reset(&mut self) {
        self.shown = hint::STOP;
        if let Some(UnderWay { told, .. }) = self.now.take() {
            // As above.
            let _ = told.send(HintsEnd::Reset);
        }
    }
}

/// A set of pages, as runs of which no two touch. It is bounded: what is too much is left out.
#[derive(Debug, Default)]
struct Runs(BTreeMap<u64, u64>);

impl Runs {
    fn insert(&mut self, Range { mut start, mut end }: Range<u64>) {
        if start >= end {
            return;
        }
        let before = self.0.range(..start).next_back();
        if let Some((first, last)) = before.map(|(first, last)| (*first, *last))
            && last >= start
        {
            self.0.remove(&first);
            (start, end) = (first, end.max(last));
        }
        while let Some((first, last)) = self.0.range(start..=end).next() {
            let (first, last) = (*first, *last);
            self.0.remove(&first);
            end = end.max(last);
        }
        if self.0.len() < MOST_RUNS {
            self.0.insert(start, end);
        }
    }

    /// The runs, lowest first.
    fn to_vec(&self) -> Vec<Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_numbers_of_rounds_differ_and_wrap_to_the_first() {
        let mut rounds = Rounds::default();
        let (told, _) = channel();
        assert_eq!(rounds.shown(), hint::STOP);
        let first = rounds.ask(told.clone());
        assert_eq!((first, rounds.shown()), (Round(hint::FIRST), hint::FIRST));
        assert!(rounds.end(first) && !rounds.end(first));
        assert_eq!(rounds.shown(), hint::DONE);
        assert_eq!(rounds.ask(told.clone()), Round(hint::FIRST + 1));
        assert!(!rounds.end(first), "that is another");
        rounds.reset();
        assert_eq!(rounds.shown(), hint::STOP);
        assert_eq!(rounds.ask(told.clone()), Round(hint::FIRST + 2));
        let mut last = Rounds::after(u32::MAX);
        assert_eq!(last.shown(), hint::DONE);
        assert_eq!(last.ask(told), Round(hint::FIRST));
    }

    #[test]
    fn a_guest_whose_memory_is_in_pieces_costs_no_more_than_the_bound() {
        let mut runs = Runs::default();
        (0..MOST_RUNS as u64 + 100).for_each(|n| runs.insert(2 * n..2 * n + 1));
        assert_eq!(runs.to_vec().len(), MOST_RUNS);
        runs.insert(1..2);
        assert_eq!(runs.to_vec()[0], 0..3, "what joins others has room");
    }

    proptest! {
        #[test]
        fn runs_are_the_pages_that_were_put_in_and_do_not_touch(
            ranges in prop::collection::vec((0_u64..100, 0_u64..12), 0..40),
        ) {
            let (mut runs, mut pages) = (Runs::default(), BTreeSet::new());
            for (start, count) in ranges {
                runs.insert(start..start + count);
                pages.extend(start..start + count);
            }
            let runs = runs.to_vec();
            prop_assert!(runs.iter().all(|run| run.start < run.end));
            prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(runs.into_iter().flatten().eq(pages));
        }
    }
}
