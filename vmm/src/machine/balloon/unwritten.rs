//! Which of the pages that a guest named as free go back to the host. Pure.

use std::ops::Range;

use memory::PageSet;

/// The pages of a region that were named and not written since, in runs that the host can give back:
/// of its pages, `each` of ours, those that were named whole and of which nothing was written.
///
/// `named` are runs of pages of the region, lowest first, of which no two touch.
#[must_use]
pub fn unwritten(named: &[Range<u64>], written: &PageSet, each: u64) -> Vec<Range<u64>> {
    let mut marks = written.iter().map(|page| page / each).peekable();
    let mut free: Vec<Range<u64>> = Vec::new();
    for run in named {
        let mut at = run.start.div_ceil(each);
        let end = run.end.min(written.universe()) / each;
        while at < end {
            while marks.next_if(|mark| *mark < at).is_some() {}
            let stop = marks.peek().map_or(end, |mark| end.min(*mark));
            if at < stop {
                free.push(at * each..stop * each);
            }
            at = stop + 1;
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aarch64::PAGE_SIZE;
    use proptest::prelude::*;

    use super::*;

    const PAGES: u64 = 200;

    fn set(pages: impl IntoIterator<Item = u64>) -> PageSet {
        let mut set = PageSet::empty(PAGES * PAGE_SIZE);
        pages.into_iter().for_each(|page| set.insert(page));
        set
    }

    #[test]
    fn what_was_written_stays_and_the_rest_goes_back() {
        let named = [10..20, 30..31, 40..50];
        let free = unwritten(&named, &set([5, 12, 13, 30, 45, 60]), 1);
        assert_eq!(free, [10..12, 14..20, 40..45, 46..50]);
    }

    #[test]
    fn larger_pages_of_the_host_go_back_only_whole() {
        let named = [5..20, 21..40];
        let free = unwritten(&named, &set([14, 31]), 4);
        assert_eq!(free, [8..12, 16..20, 24..28, 32..40]);
    }

    #[test]
    fn beyond_the_regions_end_there_is_nothing() {
        let named = [PAGES - 3..PAGES + 90, u64::MAX - 5..u64::MAX];
        assert_eq!(
            unwritten(&named, &set([]), 1).last(),
            Some(&(PAGES - 3..PAGES))
        );
    }

    proptest! {
        #[test]
        fn a_page_goes_back_if_and_only_if_its_host_page_is_named_and_unwritten(
            named in prop::collection::btree_set(0..PAGES, 0..150),
            written in prop::collection::btree_set(0..PAGES, 0..20),
            shift in 0_u32..5,
        ) {
            let each = 1_u64 << shift;
            let mut runs: Vec<Range<u64>> = Vec::new();
            for page in &named {
                match runs.last_mut() {
                    Some(run) if run.end == *page => run.end += 1,
                    Some(_) | None => runs.push(*page..page + 1),
                }
            }
            let free = unwritten(&runs, &set(written.iter().copied()), each);
            prop_assert!(free.iter().all(|run| run.start < run.end));
            let goes = |page: &u64| {
                let first = page / each * each;
                let mut parts = first..first + each;
                parts.all(|part| named.contains(&part) && !written.contains(&part))
            };
            let wanted: BTreeSet<u64> = (0..PAGES).filter(goes).collect();
            prop_assert!(free.into_iter().flatten().eq(wanted));
        }
    }
}
