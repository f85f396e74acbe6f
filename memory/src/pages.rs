//! Sets of pages, and the log of those that somebody writes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst, fence};

use aarch64::PAGE_SIZE;

/// Pages of [`PAGE_SIZE`] of one region, by their number from its start. One bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSet {
    words: Vec<u64>,
    pages: u64,
}

impl PageSet {
    /// No page, of a region of so many bytes.
    #[must_use]
    pub fn empty(bytes: u64) -> Self {
        let pages = bytes / PAGE_SIZE;
        Self {
            words: vec![0; words(pages)],
            pages,
        }
    }

    /// What a host's bitmap says, lowest bit first, whose bits are pages of `unit` bytes.
    #[must_use]
    pub fn from_bitmap(bytes: u64, bitmap: &[u64], unit: u64) -> Self {
        let mut set = Self::empty(bytes);
        let each = (unit / PAGE_SIZE).max(1);
        for (at, word) in (0_u64..).step_by(64).zip(bitmap) {
            let mut rest = *word;
            while rest != 0 {
                let first = (at + u64::from(rest.trailing_zeros())).saturating_mul(each);
                for page in first..first.saturating_add(each).min(set.pages) {
                    set.insert(page);
                }
                rest &= rest - 1;
            }
        }
        set
    }

    /// How many pages the region has, in the set or not.
    #[must_use]
    pub fn universe(&self) -> u64 {
        self.pages
    }

    /// Adds a page. One that the region does not have is left out.
    pub fn insert(&mut self, page: u64) {
        if page < self.pages
            && let Some(word) = self.words.get_mut((page / 64) as usize)
        {
            *word |= 1 << (page % 64);
        }
    }

    /// Adds all pages of another set of the same region.
    pub fn insert_all(&mut self, other: &Self) {
        for page in other.iter() {
            self.insert(page);
        }
    }

    /// Whether a page is in the set.
    #[must_use]
    pub fn contains(&self, page: u64) -> bool {
        let word = self.words.get((page / 64) as usize);
        word.is_some_and(|word| word >> (page % 64) & 1 != 0)
    }

    /// How many pages are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Whether no page is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The pages in the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0_u64..).zip(&self.words).flat_map(|(n, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| u64::from(rest.trailing_zeros()))?;
                rest &= rest - 1;
                Some(64 * n + bit)
            })
        })
    }
}

fn words(pages: u64) -> usize {
    usize::try_from(pages.div_ceil(64)).unwrap_or(usize::MAX)
}

/// Which pages of a region were written since somebody looked. It costs nothing until it is first
/// started.
#[derive(Debug, Default)]
pub struct WriteLog {
    on: AtomicBool,
    words: OnceLock<Box<[AtomicU64]>>,
}

impl WriteLog {
    /// Begins with an empty log.
    pub fn start(&self, bytes: u64) {
        let empty = || (0..words(bytes / PAGE_SIZE)).map(|_| AtomicU64::new(0));
        self.words.get_or_init(|| empty().collect());
        self.take(bytes);
        self.on.store(true, SeqCst);
    }

    /// Logs no more.
    pub fn stop(&self) {
        self.on.store(false, SeqCst);
    }

    /// Whether writes are to be logged.
    pub fn is_on(&self) -> bool {
        self.on.load(SeqCst)
    }

    /// Logs a page.
    pub fn note(&self, page: u64) {
        let words = self.words.get();
        if let Some(word) = words.and_then(|words| words.get((page / 64) as usize)) {
            word.fetch_or(1 << (page % 64), SeqCst);
        }
    }

    /// Logs the pages of bytes that were just written, if it is on.
    pub fn note_written(&self, offset: u64, len: u64) {
        // Whoever starts the log and then reads the bytes finds either them or the page in the log.
        fence(SeqCst);
        if len == 0 || !self.is_on() {
            return;
        }
        let last = offset.saturating_add(len - 1) / PAGE_SIZE;
        for page in offset / PAGE_SIZE..=last {
            self.note(page);
        }
    }

    /// Takes the log; it is empty afterwards.
    pub fn take(&self, bytes: u64) -> PageSet {
        let words = self.words.get().into_iter().flatten();
        let words: Vec<u64> = words.map(|word| word.swap(0, SeqCst)).collect();
        PageSet::from_bitmap(bytes, &words, PAGE_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(set: &PageSet) -> Vec<u64> {
        set.iter().collect()
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = PageSet::empty(100 * PAGE_SIZE);
        assert!(set.is_empty());
        for page in [99, 0, 64, 63, 100, u64::MAX] {
            set.insert(page);
        }
        assert_eq!(list(&set), [0, 63, 64, 99]);
        assert_eq!((set.count(), set.universe()), (4, 100));
        assert!(set.contains(63) && !set.contains(62) && !set.contains(100));
        let mut other = PageSet::empty(100 * PAGE_SIZE);
        other.insert(62);
        set.insert_all(&other);
        assert_eq!(list(&set), [0, 62, 63, 64, 99]);
    }

    #[test]
    fn larger_pages_of_a_host_are_all_their_small_ones() {
        let bytes = 70 * PAGE_SIZE;
        let set = PageSet::from_bitmap(bytes, &[1 << 1 | 1 << 17], 4 * PAGE_SIZE);
        assert_eq!(list(&set), [4, 5, 6, 7, 68, 69]);
        let same = PageSet::from_bitmap(bytes, &[1 << 63, 1, 1], PAGE_SIZE);
        assert_eq!(list(&same), [63, 64]);
    }

    #[test]
    fn a_log_is_taken_once() {
        let log = WriteLog::default();
        let bytes = 100 * PAGE_SIZE;
        log.note(1);
        assert!(log.take(bytes).is_empty(), "it was not started");
        log.start(bytes);
        log.note(70);
        log.note(1000);
        assert_eq!(list(&log.take(bytes)), [70]);
        assert!(log.take(bytes).is_empty());
    }
}
