//! Which of the host's pages can be given back, where they are larger than the balloon's: those of
//! which every part is in the balloon.

use std::ops::Range;

use aarch64::machine::Span;

use super::spec::PAGE;

/// The pages of a balloon, and what they come to in pages of the host.
#[derive(Debug)]
pub struct Granules {
    ram: Span,
    /// Balloon pages in a page of the host; a power of two.
    parts: u64,
    /// A bit for each page in the balloon, from the start of RAM on; empty if the host's pages are
    /// no larger.
    held: Vec<u64>,
}

impl Granules {
    /// No page, of this RAM, on a host that gives memory back in units of so many bytes.
    pub fn new(ram: Span, granule: u64) -> Self {
        let parts = (granule / PAGE).next_power_of_two().max(1);
        let words = match parts {
            1 => 0,
            _ => usize::try_from((ram.size / PAGE).div_ceil(64)).unwrap_or(0),
        };
        Self {
            ram,
            parts,
            held: vec![0; words],
        }
    }

    /// Forgets all pages.
    pub fn clear(&mut self) {
        self.held.fill(0);
    }

    /// Takes in pages of RAM, by number from its start. What can be given back for it, as
    /// numbers of pages too; it may have been given back before.
    pub fn add(&mut self, pages: Range<u64>) -> Vec<Range<u64>> {
        let pages = self.clip(&pages);
        if self.parts == 1 || pages.is_empty() {
            return Some(pages)
                .filter(|pages| !pages.is_empty())
                .into_iter()
                .collect();
        }
        pages.clone().for_each(|page| self.set(page, true));
        let mut whole: Vec<Range<u64>> = Vec::new();
        let first = pages.start / self.parts;
        let last = (pages.end - 1) / self.parts;
        for granule in first..=last {
            let range = granule * self.parts..(granule + 1) * self.parts;
            if range.end > self.ram.size / PAGE || !range.clone().all(|page| self.has(page)) {
                continue;
            }
            match whole.last_mut() {
                Some(before) if before.end == range.start => before.end = range.end,
                Some(_) | None => whole.push(range),
            }
        }
        whole
    }

    /// Lets pages go: the guest uses them again.
    pub fn remove(&mut self, pages: Range<u64>) {
        if self.parts > 1 {
            let pages = self.clip(&pages);
            pages.for_each(|page| self.set(page, false));
        }
    }

    /// The part of a range that is RAM.
    fn clip(&self, pages: &Range<u64>) -> Range<u64> {
        let end = self.ram.size / PAGE;
        pages.start.min(end)..pages.end.min(end)
    }

    fn has(&self, page: u64) -> bool {
        let word = self.held.get((page / 64) as usize);
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    fn set(&mut self, page: u64, held: bool) {
        if let Some(word) = self.held.get_mut((page / 64) as usize) {
            let bit = 1 << (page % 64);
            *word = if held { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "a list of one range is meant"
)]
mod tests {
    use std::collections::HashSet;

    use aarch64::Gpa;
    use proptest::prelude::*;

    use super::*;

    fn granules(pages: u64, granule: u64) -> Granules {
        let ram = Span {
            base: Gpa(0x4000_0000),
            size: pages * PAGE,
        };
        Granules::new(ram, granule)
    }

    #[test]
    fn pages_as_large_as_the_hosts_go_at_once_and_need_no_memory() {
        let mut same = granules(100, PAGE);
        assert_eq!(same.add(3..5), [3..5]);
        assert_eq!(same.add(3..5), [3..5]);
        assert_eq!(same.add(98..200), [98..100]);
        assert_eq!(same.add(100..u64::MAX), []);
        assert!(same.held.is_empty());
    }

    #[test]
    fn a_larger_page_goes_when_all_of_it_is_there() {
        let mut large = granules(66, 4 * PAGE);
        assert_eq!(large.add(4..7), []);
        assert_eq!(large.add(7..12), [4..12]);
        large.remove(5..6);
        assert_eq!(large.add(4..5), []);
        assert_eq!(large.add(5..6), [4..8]);
        // The end of RAM is in the middle of a page of the host.
        assert_eq!(large.add(60..66), [60..64]);
        large.clear();
        assert_eq!(large.add(7..8), []);
    }

    proptest! {
        #[test]
        fn what_goes_is_whole_and_in_the_balloon(
            steps in prop::collection::vec((any::<bool>(), 0_u64..80, 0_u64..20), 0..40),
            shift in 0_u32..4,
        ) {
            let (end, parts) = (70, 1_u64 << shift);
            let mut granules = granules(end, PAGE << shift);
            let mut held: HashSet<u64> = HashSet::new();
            for (inflate, start, count) in steps {
                let pages = start..start + count;
                if !inflate {
                    granules.remove(pages.clone());
                    pages.for_each(|page| _ = held.remove(&page));
                    continue;
                }
                held.extend(pages.clone().filter(|page| *page < end));
                let gone: HashSet<u64> = granules.add(pages.clone()).into_iter().flatten().collect();
                let whole = |page: u64| {
                    let first = page / parts * parts;
                    (first..first + parts).all(|part| held.contains(&part))
                };
                let touched = (pages.start / parts * parts..pages.end.next_multiple_of(parts))
                    .filter(|page| !pages.is_empty() && whole(*page));
                prop_assert_eq!(gone, touched.collect::<HashSet<u64>>());
            }
        }
    }
}
