//! Which region backs which guest physical addresses.

use std::fs::File;
use std::sync::Arc;

use aarch64::{Gpa, PAGE_SIZE};

use crate::region::Region;
use crate::rights::{self, Rights};

/// What a guest may do with mapped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prot {
    /// Loads and instruction fetches; stores leave the guest as MMIO.
    ReadOnly,
    /// Everything.
    ReadWrite,
}

/// One region at its place.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First guest address.
    pub gpa: Gpa,
    /// The memory.
    pub region: Arc<Region>,
    /// What the guest may do.
    pub prot: Prot,
    /// What it may do of that in each granule, if that differs or changes.
    pub rights: Option<Arc<Rights>>,
}

impl Mapping {
    fn offset(&self, gpa: Gpa) -> Option<u64> {
        let offset = gpa.0.wrapping_sub(self.gpa.0);
        (offset < self.region.size()).then_some(offset)
    }

    /// What the guest may do at an offset: bits of [`rights`].
    #[must_use]
    pub fn rights_at(&self, offset: u64) -> u8 {
        let most = match self.prot {
            Prot::ReadOnly => rights::READ | rights::EXECUTE,
            Prot::ReadWrite => rights::ALL,
        };
        match &self.rights {
            None => most,
            Some(rights) => most & rights.at(offset),
        }
    }
}

/// A guest's physical memory at one moment: immutable, cheap to share. Changes make a new one.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Sorted by address, disjoint.
    mappings: Vec<Mapping>,
}

/// A change that would break a [`Layout`], or an access outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The address is no multiple of the page size, or the end wraps.
    #[error("{0} is not page-aligned or too high")]
    Misplaced(Gpa),
    /// Something is mapped there already.
    #[error("memory is mapped at {0} already")]
    Overlap(Gpa),
    /// Nothing is mapped there.
    #[error("no memory is mapped at {0}")]
    Unmapped(Gpa),
}

impl Layout {
    /// This layout with one more mapping.
    ///
    /// # Errors
    /// When it is misaligned or overlaps another.
    pub fn with(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<Self, LayoutError> {
        self.with_mapping(Mapping {
            gpa,
            region,
            prot,
            rights: None,
        })
    }

    /// As [`Layout::with`], where the guest's rights differ from granule to granule.
    ///
    /// # Errors
    /// When it is misaligned or overlaps another.
    pub fn with_mapping(&self, mapping: Mapping) -> Result<Self, LayoutError> {
        let gpa = mapping.gpa;
        let end = gpa
            .checked_add(mapping.region.size())
            .ok_or(LayoutError::Misplaced(gpa))?;
        if !gpa.0.is_multiple_of(PAGE_SIZE) {
            return Err(LayoutError::Misplaced(gpa));
        }
        let at = self.mappings.partition_point(|m| m.gpa < gpa);
        let before = at.checked_sub(1).and_then(|i| self.mappings.get(i));
        if before.is_some_and(|m| m.offset(gpa).is_some())
            || self.mappings.get(at).is_some_and(|m| m.gpa < end)
        {
            return Err(LayoutError::Overlap(gpa));
        }
        let mut mappings = self.mappings.clone();
        mappings.insert(at, mapping);
        Ok(Self { mappings })
    }

    /// This layout without the mapping at exactly `gpa`, and that mapping's region.
    ///
    /// # Errors
    /// When there is none.
    pub fn without(&self, gpa: Gpa) -> Result<(Self, Arc<Region>), LayoutError> {
        let at = self
            .mappings
            .iter()
            .position(|m| m.gpa == gpa)
            .ok_or(LayoutError::Unmapped(gpa))?;
        let mut mappings = self.mappings.clone();
        let gone = mappings.remove(at);
        Ok((Self { mappings }, gone.region))
    }

    /// The mappings, lowest address first.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// The mapping that holds `gpa`, and the offset in its region.
    #[must_use]
    pub fn find(&self, gpa: Gpa) -> Option<(&Mapping, u64)> {
        let (_, mapping, offset) = self.find_index(gpa)?;
        Some((mapping, offset))
    }

    /// As [`Layout::find`], with the mapping's place among [`Layout::mappings`].
    pub(crate) fn find_index(&self, gpa: Gpa) -> Option<(usize, &Mapping, u64)> {
        let above = self.mappings.partition_point(|m| m.gpa <= gpa);
        let index = above.checked_sub(1)?;
        let mapping = self.mappings.get(index)?;
        mapping.offset(gpa).map(|offset| (index, mapping, offset))
    }

    /// Gives memory back to the host; see [`Region::discard`]. The range may span adjacent mappings.
    ///
    /// # Errors
    /// When a byte of it is not mapped, or the host refuses; what lies before is gone then.
    pub fn discard(&self, gpa: Gpa, bytes: u64) -> std::io::Result<()> {
        let (mut at, mut left) = (gpa, bytes);
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX);
            let (mapping, offset, len) = self.run(at, want).map_err(std::io::Error::other)?;
            mapping.region.discard(offset, len as u64)?;
            left -= len as u64;
            at = Gpa(at.0.wrapping_add(len as u64));
        }
        Ok(())
    }

    /// Copies guest memory out; the range may span adjacent mappings.
    ///
    /// # Errors
    /// When a byte of it is not mapped.
    pub fn read(&self, gpa: Gpa, into: &mut [u8]) -> Result<(), LayoutError> {
        let mut rest = into;
        let mut at = gpa;
        while !rest.is_empty() {
            let (mapping, offset, len) = self.run(at, rest.len())?;
            let (now, later) = rest.split_at_mut(len);
            mapping
                .region
                .read(offset, now)
                .map_err(|_| LayoutError::Unmapped(at))?;
            rest = later;
            at = Gpa(at.0.wrapping_add(len as u64));
        }
        Ok(())
    }

    /// Copies bytes into guest memory, whatever the guest itself may do there.
    ///
    /// # Errors
    /// When a byte of the range is not mapped; what lies before it is written.
    pub fn write(&self, gpa: Gpa, from: &[u8]) -> Result<(), LayoutError> {
        let mut rest = from;
        let mut at = gpa;
        while !rest.is_empty() {
            let (mapping, offset, len) = self.run(at, rest.len())?;
            let (now, later) = rest.split_at(len);
            mapping
                .region
                .write(offset, now)
                .map_err(|_| LayoutError::Unmapped(at))?;
            rest = later;
            at = Gpa(at.0.wrapping_add(len as u64));
        }
        Ok(())
    }

    /// What the guest may do at an address: bits of [`rights`], none where no memory is.
    #[must_use]
    pub fn rights_at(&self, gpa: Gpa) -> u8 {
        self.find(gpa)
            .map_or(0, |(mapping, offset)| mapping.rights_at(offset))
    }

    /// Reads `file` from `at` on to guest memory from `gpa` on, at most `len` bytes; see
    /// [`Region::read_from`].
    ///
    /// # Errors
    /// When the file cannot be read, or `gpa` is not mapped.
    pub fn read_from(&self, file: &File, at: u64, gpa: Gpa, len: usize) -> std::io::Result<usize> {
        let found = self.run(gpa, len).map_err(std::io::Error::other)?;
        let (mapping, offset, len) = found;
        mapping.region.read_from(file, at, offset, len)
    }

    /// Reads an aligned u64 in one access, as the guest's own table walk does; `None` outside of
    /// memory that the guest may read, or if misaligned.
    #[must_use]
    pub fn load_u64(&self, gpa: Gpa) -> Option<u64> {
        let (mapping, offset) = self.find(gpa)?;
        if mapping.rights_at(offset) & rights::READ == 0 {
            return None;
        }
        mapping.region.load_u64(offset)
    }

    /// Replaces an aligned u64 if it still is `old` and the guest may write there.
    #[must_use]
    pub fn compare_exchange_u64(&self, gpa: Gpa, old: u64, new: u64) -> bool {
        self.find(gpa).is_some_and(|(mapping, offset)| {
            mapping.rights_at(offset) & rights::WRITE != 0
                && mapping.region.compare_exchange_u64(offset, old, new)
        })
    }

    pub(crate) fn run(&self, at: Gpa, want: usize) -> Result<(&Mapping, u64, usize), LayoutError> {
        let (mapping, offset) = self.find(at).ok_or(LayoutError::Unmapped(at))?;
        let left = usize::try_from(mapping.region.size() - offset).unwrap_or(usize::MAX);
        Ok((mapping, offset, want.min(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(pages: u64) -> Arc<Region> {
        Arc::new(Region::new(pages * PAGE_SIZE).unwrap())
    }

    #[test]
    fn overlaps_are_refused_and_neighbours_are_not() {
        let layout = Layout::default()
            .with(Gpa(0x4000), region(4), Prot::ReadWrite)
            .unwrap();
        for (gpa, pages) in [(0x4000, 1), (0x3000, 2), (0x7000, 1), (0x5000, 9), (0, 16)] {
            let refused = layout.with(Gpa(gpa), region(pages), Prot::ReadWrite);
            assert_eq!(refused.unwrap_err(), LayoutError::Overlap(Gpa(gpa)));
        }
        assert!(layout.with(Gpa(0x8000), region(1), Prot::ReadOnly).is_ok());
        assert!(layout.with(Gpa(0x3000), region(1), Prot::ReadOnly).is_ok());
        assert!(layout.with(Gpa(0x9008), region(1), Prot::ReadOnly).is_err());
        assert!(
            layout
                .with(Gpa(u64::MAX - 0xfff), region(1), Prot::ReadOnly)
                .is_err()
        );
    }

    #[test]
    fn files_are_read_up_to_the_end_of_a_mapping() {
        let path = std::env::temp_dir().join(format!("armlet-layout-{}", std::process::id()));
        std::fs::write(&path, [7; 6]).unwrap();
        let file = File::open(&path).unwrap();
        let layout = Layout::default()
            .with(Gpa(0x1000), region(1), Prot::ReadWrite)
            .unwrap();
        assert_eq!(layout.read_from(&file, 0, Gpa(0x1ffc), 100).unwrap(), 4);
        assert_eq!(layout.load_u64(Gpa(0x1ff8)), Some(0x0707_0707_0000_0000));
        assert_eq!(layout.read_from(&file, 4, Gpa(0x1000), 100).unwrap(), 2);
        assert_eq!(layout.read_from(&file, 6, Gpa(0x1000), 100).unwrap(), 0);
        assert!(layout.read_from(&file, 0, Gpa(0x2000), 1).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn copies_span_adjacent_mappings_and_stop_at_holes() {
        let layout = Layout::default()
            .with(Gpa(0x1000), region(1), Prot::ReadWrite)
            .and_then(|l| l.with(Gpa(0x2000), region(1), Prot::ReadOnly))
            .unwrap();
        layout.write(Gpa(0x1ffe), &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 4];
        layout.read(Gpa(0x1ffe), &mut back).unwrap();
        assert_eq!(back, [1, 2, 3, 4]);
        let hole = layout.read(Gpa(0x2ffe), &mut back);
        assert_eq!(hole, Err(LayoutError::Unmapped(Gpa(0x3000))));
        assert_eq!(layout.load_u64(Gpa(0x2ff8)), Some(0));
        assert_eq!(layout.load_u64(Gpa(0x2ffc)), None);
        assert!(!layout.compare_exchange_u64(Gpa(0x2000), 0x0403, 1));
        assert!(layout.compare_exchange_u64(Gpa(0x1000), 0, 1));
    }

    #[test]
    fn rights_bound_what_the_guest_does_and_not_its_owner() {
        let granules = Arc::new(Rights::new(2 * PAGE_SIZE, PAGE_SIZE, rights::ALL));
        let mapping = Mapping {
            gpa: Gpa(0x4000),
            region: region(2),
            prot: Prot::ReadWrite,
            rights: Some(Arc::clone(&granules)),
        };
        let layout = Layout::default().with_mapping(mapping).unwrap();
        granules.set(0, PAGE_SIZE, 0);
        granules.set(PAGE_SIZE, PAGE_SIZE, rights::READ);
        assert_eq!(layout.load_u64(Gpa(0x4000)), None);
        assert_eq!(layout.load_u64(Gpa(0x5000)), Some(0));
        assert!(!layout.compare_exchange_u64(Gpa(0x5000), 0, 1));
        assert_eq!(layout.rights_at(Gpa(0x5000)), rights::READ);
        assert_eq!(layout.rights_at(Gpa(0x6000)), 0);
        layout.write(Gpa(0x4ffc), &[1; 8]).unwrap();
        assert_eq!(layout.load_u64(Gpa(0x5000)), Some(0x0101_0101));
    }
}
