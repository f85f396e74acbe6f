//! The second-level software TLB, between the frame cache and the table walk.
//!
//! It keeps the results of walks by virtual page and ASID, so that an address space that comes
//! back finds them again. It also remembers, as filters that may err on the safe side:
//! - from which pages code was run, so that invalidating a data page leaves decoded jumps alone;
//! - which pages came out of blocks larger than a page, because invalidating any address of a
//!   block has to invalidate all of it.

use crate::walk::Leaf;

const SETS: usize = 512;
const WAYS: usize = 4;
/// Sizes, as powers of two, of the blocks that walks can end in.
const BLOCK_SPANS: [u8; 3] = [21, 25, 30];

/// Tells ASIDs from page numbers in the filter of code.
const ASID_KEY: u64 = 1 << 63;

/// A page of some address space.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Virtual page number, of the address without its tag.
    page: u64,
    asid: u16,
    leaf: Leaf,
}

/// No page has this number.
const NO_PAGE: u64 = u64::MAX;
const EMPTY: Entry = Entry {
    page: NO_PAGE,
    asid: 0,
    leaf: Leaf::NONE,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Tlb {
    entries: Box<[[Entry; WAYS]; SETS]>,
    /// The way that is replaced next.
    victim: usize,
    code: Filter,
    blocks: Filter,
}

impl Default for Tlb {
    fn default() -> Self {
        Self {
            entries: Box::new([[EMPTY; WAYS]; SETS]),
            victim: 0,
            code: Filter::default(),
            blocks: Filter::default(),
        }
    }
}

fn set_of(page: u64) -> usize {
    ((page ^ page >> 9 ^ page >> 18) as usize) % SETS
}

impl Tlb {
    /// The leaf for a page of an address space.
    pub fn find(&self, page: u64, asid: u16) -> Option<Leaf> {
        self.entries[set_of(page)]
            .iter()
            .find(|e| e.page == page && (e.leaf.is_global() || e.asid == asid))
            .map(|e| e.leaf)
    }

    /// Keeps the result of a walk.
    pub fn insert(&mut self, page: u64, asid: u16, leaf: Leaf) {
        if leaf.span > 14 {
            self.blocks.insert(block_key(page, leaf.span));
        }
        let victim = self.victim;
        self.victim = (victim + 1) % WAYS;
        let set = &mut self.entries[set_of(page)];
        let same = set
            .iter()
            .position(|e| e.page == page && (e.asid == asid || e.leaf.is_global()));
        let way = same
            .or_else(|| set.iter().position(|e| e.page == NO_PAGE))
            .unwrap_or(victim);
        set[way] = Entry { page, asid, leaf };
    }

    /// Remembers that code of this page is run.
    pub fn note_code(&mut self, page: u64) {
        self.code.insert(page);
    }

    /// Remembers that code of this address space alone is run.
    pub fn note_code_of(&mut self, asid: u16) {
        self.code.insert(ASID_KEY | u64::from(asid));
    }

    /// Whether code of this page may have been run since [`Self::forget_code`].
    pub fn may_be_code(&self, page: u64) -> bool {
        self.code.contains(page)
    }

    /// Whether code of this address space may have been run since [`Self::forget_code`].
    pub fn may_be_code_of(&self, asid: u16) -> bool {
        self.code.contains(ASID_KEY | u64::from(asid))
    }

    /// Nothing refers to translations of code any more.
    pub fn forget_code(&mut self) {
        self.code = Filter::default();
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.fill([EMPTY; WAYS]);
        self.blocks = Filter::default();
    }

    /// Forgets what belongs to one ASID.
    pub fn clear_asid(&mut self, asid: u16) {
        for entry in self.entries.as_flattened_mut() {
            if entry.asid == asid && !entry.leaf.is_global() {
                *entry = EMPTY;
            }
        }
    }

    /// Forgets a page in one or all address spaces; global pages in any case.
    pub fn evict(&mut self, page: u64, asid: Option<u16>) {
        for entry in &mut self.entries[set_of(page)] {
            if entry.page == page
                && (entry.leaf.is_global() || asid.is_none_or(|asid| asid == entry.asid))
            {
                *entry = EMPTY;
            }
        }
    }

    /// If the page may have come out of a block, forgets all of that block, in every address
    /// space, and says so.
    pub fn evict_block(&mut self, page: u64) -> bool {
        let mut any = false;
        for span in BLOCK_SPANS {
            if !self.blocks.contains(block_key(page, span)) {
                continue;
            }
            any = true;
            let shift = span - 12;
            for entry in self.entries.as_flattened_mut() {
                if entry.page >> shift == page >> shift {
                    *entry = EMPTY;
                }
            }
        }
        any
    }
}

fn block_key(page: u64, span: u8) -> u64 {
    (page >> (span - 12)) << 5 | u64::from(span)
}

/// A set that may claim to contain more than was put into it.
#[derive(Debug)]
struct Filter([u64; 64]);

impl Default for Filter {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl Filter {
    fn place(key: u64) -> (usize, u64) {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        ((hash >> 6) as usize & 63, 1 << (hash & 63))
    }

    fn insert(&mut self, key: u64) {
        let (word, bit) = Self::place(key);
        self.0[word] |= bit;
    }

    fn contains(&self, key: u64) -> bool {
        let (word, bit) = Self::place(key);
        self.0[word] & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(frame: u64, global: bool, span: u8) -> Leaf {
        Leaf {
            frame,
            flags: if global { Leaf::GLOBAL } else { 0 },
            span,
            ..Leaf::NONE
        }
    }

    #[test]
    fn address_spaces_are_kept_apart_and_global_pages_are_not() {
        let mut tlb = Tlb::default();
        tlb.insert(5, 1, leaf(10, false, 12));
        tlb.insert(5, 2, leaf(20, false, 12));
        tlb.insert(6, 1, leaf(30, true, 12));
        assert_eq!(tlb.find(5, 1).map(|l| l.frame), Some(10));
        assert_eq!(tlb.find(5, 2).map(|l| l.frame), Some(20));
        assert_eq!(tlb.find(5, 3), None);
        assert_eq!(tlb.find(6, 3).map(|l| l.frame), Some(30));
        tlb.evict(5, Some(2));
        tlb.evict(6, Some(2));
        assert_eq!(tlb.find(5, 2), None);
        assert_eq!(tlb.find(6, 1), None, "global pages leave with any ASID");
        tlb.clear_asid(1);
        assert_eq!(tlb.find(5, 1), None);
    }

    #[test]
    fn one_address_of_a_block_takes_the_whole_block_away() {
        let mut tlb = Tlb::default();
        tlb.insert(0x200, 1, leaf(1, false, 21));
        tlb.insert(0x3ff, 1, leaf(2, false, 21));
        tlb.insert(0x400, 1, leaf(3, false, 21));
        assert!(tlb.evict_block(0x2aa));
        assert_eq!(tlb.find(0x200, 1), None);
        assert_eq!(tlb.find(0x3ff, 1), None);
        assert!(tlb.find(0x400, 1).is_some());
        tlb.clear();
        assert!(!tlb.evict_block(0x400));
    }

    #[test]
    fn a_full_set_replaces_an_old_entry() {
        let mut tlb = Tlb::default();
        for asid in 0..100 {
            tlb.insert(7, asid, leaf(u64::from(asid), false, 12));
            assert_eq!(tlb.find(7, asid).map(|l| l.frame), Some(u64::from(asid)));
        }
    }
}
