//! What a guest may do with each granule of a mapping, changed while it runs: the permissions of
//! a second translation stage.
//!
//! A granule's rights are looked at when a page is cached, not at every access. Who takes rights
//! away has the CPUs forget what they cached; who adds some need not.

use std::sync::atomic::{AtomicU8, Ordering};

/// Loads.
pub const READ: u8 = 1 << 0;
/// Stores.
pub const WRITE: u8 = 1 << 1;
/// Instruction fetches.
pub const EXECUTE: u8 = 1 << 2;
/// All of them.
pub const ALL: u8 = READ | WRITE | EXECUTE;

/// The rights of a mapping, granule by granule.
#[derive(Debug)]
pub struct Rights {
    granule: u64,
    cells: Box<[AtomicU8]>,
}

impl Rights {
    /// The same rights for every granule of `bytes` bytes. `granule` is a power of two.
    #[must_use]
    pub fn new(bytes: u64, granule: u64, rights: u8) -> Self {
        let count = bytes.div_ceil(granule);
        let cells = (0..count).map(|_| AtomicU8::new(rights & ALL)).collect();
        Self { granule, cells }
    }

    /// The rights of some of the granules, for a part of the mapping.
    #[must_use]
    pub fn part(&self, offset: u64, bytes: u64) -> Self {
        let count = bytes.div_ceil(self.granule);
        let rights = |index| self.at(offset + index * self.granule);
        let cells = (0..count).map(|i| AtomicU8::new(rights(i))).collect();
        Self {
            granule: self.granule,
            cells,
        }
    }

    /// The rights at an offset; none beyond the end.
    #[must_use]
    pub fn at(&self, offset: u64) -> u8 {
        self.cell(offset)
            .map_or(0, |cell| cell.load(Ordering::Acquire))
    }

    /// Changes the rights of every granule that the range touches. Whether any lost a right.
    pub fn set(&self, offset: u64, bytes: u64, rights: u8) -> bool {
        let mut lost = false;
        let mut at = offset;
        while at < offset.saturating_add(bytes) {
            if let Some(cell) = self.cell(at) {
                lost |= cell.swap(rights & ALL, Ordering::AcqRel) & !rights != 0;
            }
            at += self.granule;
        }
        lost
    }

    fn cell(&self, offset: u64) -> Option<&AtomicU8> {
        self.cells.get(usize::try_from(offset / self.granule).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules_change_alone_and_say_what_was_lost() {
        let rights = Rights::new(0x1_0000, 0x4000, ALL);
        assert!(rights.set(0x4000, 0x4000, READ | EXECUTE));
        assert_eq!(rights.at(0x3fff), ALL);
        assert_eq!(rights.at(0x4000), READ | EXECUTE);
        assert_eq!(rights.at(0x8000), ALL);
        assert!(!rights.set(0, 0x8000, ALL), "nobody lost anything");
        assert_eq!(rights.at(0x1_0000), 0);
        rights.set(0x8000, 0x4000, 0);
        let part = rights.part(0x8000, 0x8000);
        assert_eq!((part.at(0), part.at(0x4000)), (0, ALL));
    }
}
