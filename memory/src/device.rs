//! Guest memory as devices reach it: what a rings library needs of it, and the log of the pages
//! they write.
//!
//! A device reads what is mapped and writes what is mapped for reading and writing; the rights of
//! single granules bind vCPUs only, as a second translation stage does without an SMMU.

use std::iter::FusedIterator;

use aarch64::Gpa;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{
    GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Permissions, VolatileSlice,
};

use crate::layout::{Layout, Prot};
use crate::pages::WriteLog;

/// What a device does with a piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It writes, and may read.
    Write,
}

impl Access {
    /// Whether memory that is mapped so can be accessed so.
    #[must_use]
    pub(crate) fn is_allowed(self, prot: Prot) -> bool {
        match (self, prot) {
            (Self::Read, Prot::ReadOnly | Prot::ReadWrite) | (Self::Write, Prot::ReadWrite) => true,
            (Self::Write, Prot::ReadOnly) => false,
        }
    }
}

impl From<Permissions> for Access {
    fn from(permissions: Permissions) -> Self {
        match permissions.has_write() {
            true => Self::Write,
            false => Self::Read,
        }
    }
}

impl GuestMemory for Layout {
    type PhysicalMemory = GuestMemoryMmap;
    type Bitmap = WriteLog;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        let mut slices = Slices::new(self, addr, count, access.into());
        slices.all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, LogSlice<'a>>, GuestMemoryError> {
        Ok(Slices::new(self, addr, count, access.into()))
    }
}

/// The parts of a range of guest memory, one of each mapping that it touches.
struct Slices<'a> {
    layout: &'a Layout,
    at: u64,
    left: usize,
    access: Access,
}

impl<'a> Slices<'a> {
    fn new(layout: &'a Layout, at: GuestAddress, left: usize, access: Access) -> Self {
        let at = at.0;
        Self {
            layout,
            at,
            left,
            access,
        }
    }

    fn part(&mut self) -> Option<VolatileSlice<'a, LogSlice<'a>>> {
        let run = self.layout.run(Gpa(self.at), self.left).ok()?;
        let (mapping, offset, len) = run;
        if !self.access.is_allowed(mapping.prot) {
            return None;
        }
        self.left -= len;
        if self.left > 0 {
            self.at = self.at.checked_add(len as u64)?;
        }
        mapping.region.device_slice(offset, len)
    }
}

impl<'a> Iterator for Slices<'a> {
    type Item = Result<VolatileSlice<'a, LogSlice<'a>>, GuestMemoryError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let part = self.part();
        if part.is_none() {
            self.left = 0;
        }
        let at = GuestAddress(self.at);
        Some(part.ok_or(GuestMemoryError::InvalidGuestAddress(at)))
    }
}

impl FusedIterator for Slices<'_> {}
impl<'a> GuestMemorySliceIterator<'a, LogSlice<'a>> for Slices<'a> {}

/// The log of a region's pages, from an offset of the region on.
#[derive(Clone, Copy, Debug)]
pub struct LogSlice<'a> {
    log: &'a WriteLog,
    base: usize,
}

impl<'a> WithBitmapSlice<'a> for WriteLog {
    type S = LogSlice<'a>;
}

impl Bitmap for WriteLog {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.note_written(offset as u64, len as u64);
    }

    fn dirty_at(&self, _: usize) -> bool {
        // Nobody asks: the log is taken, not looked into.
        false
    }

    fn slice_at(&self, base: usize) -> LogSlice<'_> {
        LogSlice { log: self, base }
    }
}

impl<'a> WithBitmapSlice<'a> for LogSlice<'_> {
    type S = Self;
}

impl BitmapSlice for LogSlice<'_> {}

impl Bitmap for LogSlice<'_> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.log.mark_dirty(self.base.saturating_add(offset), len);
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.log.dirty_at(self.base.saturating_add(offset))
    }

    fn slice_at(&self, offset: usize) -> Self {
        Self {
            log: self.log,
            base: self.base.saturating_add(offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    use aarch64::PAGE_SIZE;
    use vm_memory::Bytes;

    use super::*;
    use crate::Region;

    fn layout() -> Layout {
        let region = |pages| Arc::new(Region::new(pages * PAGE_SIZE).unwrap());
        Layout::default()
            .with(Gpa(0x4000), region(2), Prot::ReadWrite)
            .and_then(|l| l.with(Gpa(0x6000), region(1), Prot::ReadOnly))
            .and_then(|l| l.with(Gpa(0x8000), region(1), Prot::ReadWrite))
            .unwrap()
    }

    #[test]
    fn devices_write_only_what_is_mapped_for_it() {
        let l = layout();
        let may = |at, count, access| l.check_range(GuestAddress(at), count, access);
        assert!(may(0x4000, 0x3000, Permissions::Read));
        assert!(!may(0x4000, 0x3000, Permissions::Write));
        assert!(may(0x5ff8, 8, Permissions::Write));
        assert!(!may(0x6ff8, 9, Permissions::Read), "a hole follows");
        assert!(!may(u64::MAX - 3, 8, Permissions::Read), "it wraps");
        assert!(!may(0x8000, usize::MAX, Permissions::Read));
        assert!(l.write_obj(7_u64, GuestAddress(0x6000)).is_err());
        assert!(
            l.load::<u16>(GuestAddress(0x7000), Ordering::SeqCst)
                .is_err()
        );
        assert!(
            l.load::<u16>(GuestAddress(0x4001), Ordering::SeqCst)
                .is_err()
        );
        assert!(
            l.load::<u32>(GuestAddress(0x5ffe), Ordering::SeqCst)
                .is_err()
        );
    }

    #[test]
    fn what_devices_write_is_in_their_own_log() {
        let l = layout();
        let region = &l.mappings()[0].region;
        let at = GuestAddress(0x4ffc);
        l.write_obj(7_u64, at).unwrap();
        region.start_device_log();
        region.start_log();
        assert!(region.take_device_log().is_empty());
        l.write_obj(7_u64, at).unwrap();
        assert_eq!(region.take_device_log().count(), 2);
        l.store(1_u16, GuestAddress(0x5002), Ordering::Release)
            .unwrap();
        let pages: Vec<u64> = region.take_device_log().iter().collect();
        assert_eq!(pages, [1]);
        l.read_obj::<u64>(at).unwrap();
        region.stop_device_log();
        l.write_obj(7_u64, at).unwrap();
        assert!(region.take_device_log().is_empty());
        assert!(region.take_log().is_empty(), "that is software CPUs'");
    }
}
