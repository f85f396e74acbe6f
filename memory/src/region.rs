//! A run of host memory that backs guest RAM.

// UNSAFETY: reads and writes memory that a guest changes at the same time, by pointer.
#![expect(unsafe_code, reason = "guest RAM is shared with running vCPUs")]

use std::fmt;
use std::fs::File;
use std::ptr::NonNull;

use aarch64::PAGE_SIZE;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Bytes, MmapRegion, VolatileMemory, VolatileSlice};

use crate::device::LogSlice;
use crate::host::{self, MOST, Run, Way};
use crate::pages::{PageSet, WriteLog};

/// Anonymous host memory, zero-filled and paid for only where it is touched.
pub struct Region {
    mmap: MmapRegion,
    /// What `mmap` is a part of and does not own, if it is one.
    _whole: Option<MmapRegion>,
    /// What software CPUs write.
    log: WriteLog,
    /// What devices write.
    device_log: WriteLog,
}

/// Every region begins at a multiple of this in the host: the largest unit in which an accelerator
/// maps memory, whatever the host's pages are.
const ALIGNMENT: usize = 16 << 10;

/// An access reached past the end of a [`Region`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an access of {len} bytes at offset {offset:#x} leaves its memory region")]
pub struct OutOfRegion {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: usize,
}

impl Region {
    /// A region of `bytes` bytes, a multiple of [`PAGE_SIZE`] and not 0.
    ///
    /// # Errors
    /// When the size is no such multiple, or the host has no address space for it.
    pub fn new(bytes: u64) -> std::io::Result<Self> {
        let refuse = |why| std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
        if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) {
            return Err(refuse(
                "the size of a memory region must be a multiple of 4 KiB",
            ));
        }
        let bytes = usize::try_from(bytes).map_err(|_| refuse("larger than the host's memory"))?;
        let mmap = MmapRegion::new(bytes).map_err(std::io::Error::other)?;
        if mmap.as_ptr().align_offset(ALIGNMENT) == 0 {
            return Ok(Self::over(mmap, None));
        }
        drop(mmap);
        Self::inside_of_more(bytes)
    }

    /// The aligned part of a larger mapping, whose rest nobody touches.
    fn inside_of_more(bytes: usize) -> std::io::Result<Self> {
        let more = bytes.checked_add(ALIGNMENT);
        let more = more.ok_or(std::io::ErrorKind::OutOfMemory)?;
        let whole = MmapRegion::new(more).map_err(std::io::Error::other)?;
        let aligned = whole.as_ptr().align_offset(ALIGNMENT);
        let base = whole.as_ptr().wrapping_add(aligned);
        let (prot, flags) = (whole.prot(), whole.flags());
        // SAFETY: from `base` on there are `bytes` bytes of `whole`, which stays as long.
        let mmap = unsafe { MmapRegion::build_raw(base, bytes, prot, flags) };
        let mmap = mmap.map_err(std::io::Error::other)?;
        Ok(Self::over(mmap, Some(whole)))
    }

    fn over(mmap: MmapRegion, whole: Option<MmapRegion>) -> Self {
        Self {
            mmap,
            _whole: whole,
            log: WriteLog::default(),
            device_log: WriteLog::default(),
        }
    }

    /// A region over memory that somebody else mapped, owns and unmaps: what an accelerator's
    /// interface that takes raw addresses is given.
    ///
    /// # Errors
    /// When the address or the size is no multiple of the host's pages.
    ///
    /// # Safety
    /// `bytes` bytes from `base` on stay mapped, readable and (where a guest is allowed to write)
    /// writable for as long as the region or anything made of it is used, and are only ever
    /// touched as shared memory: through atomics, volatile copies or raw pointers.
    pub unsafe fn borrowed(base: NonNull<u8>, bytes: u64) -> std::io::Result<Self> {
        let size = usize::try_from(bytes).map_err(std::io::Error::other)?;
        // SAFETY: the caller's promise; the mapping is not taken over and never unmapped here.
        let mmap = unsafe { MmapRegion::build_raw(base.as_ptr(), size, 0, 0) };
        let mmap = mmap.map_err(std::io::Error::other)?;
        Ok(Self::over(mmap, None))
    }

    /// Bytes in the region.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.mmap.size() as u64
    }

    /// Address of the first byte in the host. It stays valid as long as the region.
    #[must_use]
    pub fn host_base(&self) -> NonNull<u8> {
        NonNull::new(self.mmap.as_ptr()).unwrap_or(NonNull::dangling())
    }

    /// The page frame at `offset`, if it is page-aligned and inside.
    #[must_use]
    pub(crate) fn frame(&self, offset: u64) -> Option<NonNull<u8>> {
        if !offset.is_multiple_of(PAGE_SIZE) || offset >= self.size() {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: offset is below the size of the mapping that host_base() starts.
        Some(unsafe { self.host_base().add(offset) })
    }

    /// Begins to log which pages software CPUs write, with an empty log. Those that have a page at
    /// hand already are to forget it ([`crate::FrameCache::clear`]) before the log is complete.
    pub fn start_log(&self) {
        self.log.start(self.size());
    }

    /// Ends what [`Region::start_log`] began.
    pub fn stop_log(&self) {
        self.log.stop();
    }

    /// Takes the pages that software CPUs wrote since the log was started or last taken. They are to
    /// forget what they have at hand, as after the start, before anybody looks at the pages.
    #[must_use]
    pub fn take_log(&self) -> PageSet {
        self.log.take(self.size())
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.log.is_on()
    }

    /// A software CPU is about to write the page at `offset`.
    pub(crate) fn log_write(&self, offset: u64) {
        self.log.note(offset / PAGE_SIZE);
    }

    /// Begins to log which pages devices write, with an empty log.
    pub fn start_device_log(&self) {
        self.device_log.start(self.size());
    }

    /// Ends what [`Region::start_device_log`] began.
    pub fn stop_device_log(&self) {
        self.device_log.stop();
    }

    /// Takes the pages that devices wrote since the log was started or last taken. A page that is
    /// written while somebody takes the log and then copies it is in the next log.
    #[must_use]
    pub fn take_device_log(&self) -> PageSet {
        self.device_log.take(self.size())
    }

    /// A device has written here.
    pub(crate) fn note_device_write(&self, offset: u64, len: u64) {
        self.device_log.note_written(offset, len);
    }

    /// What a device may read, and write if the mapping allows it.
    pub(crate) fn device_slice(
        &self,
        offset: u64,
        len: usize,
    ) -> Option<VolatileSlice<'_, LogSlice<'_>>> {
        let at = self.check(offset, len).ok()?;
        let log = self.device_log.slice_at(at);
        // SAFETY: `at` is at most the size of the mapping that host_base() starts.
        let base = unsafe { self.host_base().add(at) };
        // SAFETY: the bytes lie in the mapping (checked above), which stays as long as `self`, and
        // are shared as atomics and volatile copies only.
        Some(unsafe { VolatileSlice::with_bitmap(base.as_ptr(), len, log, None) })
    }

    /// Copies bytes out for a device. What is not inside is left as it is.
    pub(crate) fn device_read(&self, offset: u64, into: &mut [u8]) {
        if let Some(slice) = self.device_slice(offset, into.len()) {
            slice.copy_to(into);
        }
    }

    /// Copies bytes in for a device, and logs it. What is not inside is left out.
    pub(crate) fn device_write(&self, offset: u64, from: &[u8]) {
        if let Some(slice) = self.device_slice(offset, from.len()) {
            slice.copy_from(from);
            self.note_device_write(offset, from.len() as u64);
        }
    }

    /// Where a range lies in the host, if it is all inside.
    pub(crate) fn run(&self, offset: u64, len: u64) -> Option<Run> {
        let len = usize::try_from(len).ok()?;
        let at = self.check(offset, len).ok()?;
        // SAFETY: `at` is at most the size of the mapping that host_base() starts.
        let base = unsafe { self.host_base().add(at) };
        Some(Run { base, len })
    }

    /// Gives memory back to the host, as far as the host's pages lie inside of the range: they read
    /// as zeros then, and take no room until they are touched again. Zero-filled pages count as
    /// written by a device.
    ///
    /// An accelerator may have to be told where a host cannot do that to the pages it has mapped.
    ///
    /// # Errors
    /// When the range is not all inside, or the host refuses.
    pub fn discard(&self, offset: u64, bytes: u64) -> std::io::Result<()> {
        let run = self.run(offset, bytes);
        let run = run.ok_or(std::io::ErrorKind::InvalidInput)?;
        let skip = run.base.align_offset(host::page_size()).min(run.len);
        let len = (run.len - skip) / host::page_size() * host::page_size();
        if len == 0 {
            return Ok(());
        }
        // SAFETY: at most the length of the run.
        let base = unsafe { run.base.add(skip) };
        // SAFETY: whole pages of the mapping, which is private, anonymous and stays as long as
        // `self`; its bytes are shared as atomics and volatile copies only.
        unsafe { host::discard(Run { base, len }) }?;
        self.note_device_write(offset + skip as u64, len as u64);
        Ok(())
    }

    /// Copies bytes out of the region.
    ///
    /// # Errors
    /// When they are not all inside.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), OutOfRegion> {
        let len = into.len();
        let at = self.check(offset, len)?;
        self.mmap
            .as_volatile_slice()
            .read_slice(into, at)
            .map_err(|_| OutOfRegion { offset, len })
    }

    /// Copies bytes into the region.
    ///
    /// # Errors
    /// When they do not all fit; nothing is written then.
    pub fn write(&self, offset: u64, from: &[u8]) -> Result<(), OutOfRegion> {
        let len = from.len();
        let at = self.check(offset, len)?;
        self.mmap
            .as_volatile_slice()
            .write_slice(from, at)
            .map_err(|_| OutOfRegion { offset, len })
    }

    /// Reads `file` from `at` on into the region, at most `len` bytes and in one call of the host,
    /// which writes them here itself. How many; 0 at the file's end.
    ///
    /// # Errors
    /// When the file cannot be read, or they would not all fit.
    pub fn read_from(
        &self,
        file: &File,
        at: u64,
        offset: u64,
        len: usize,
    ) -> std::io::Result<usize> {
        self.check(offset, len).map_err(std::io::Error::other)?;
        let run = self.run(offset, len.min(MOST) as u64);
        let run = run.ok_or(std::io::ErrorKind::InvalidInput)?;
        // SAFETY: memory of the mapping, which stays as long as `self`; it is only ever shared as
        // atomics, volatile copies and raw pointers.
        unsafe { host::transfer(Way::In, file, at, &[run]) }
    }

    /// Reads a naturally aligned little-endian u64 in one access, as a table walk does.
    #[must_use]
    pub fn load_u64(&self, offset: u64) -> Option<u64> {
        self.word(offset)
            .map(|w| w.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Replaces a naturally aligned u64 if it still is `old`; false if it was not or lies outside.
    pub fn compare_exchange_u64(&self, offset: u64, old: u64, new: u64) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        self.word(offset)
            .is_some_and(|w| w.compare_exchange(old, new, SeqCst, SeqCst).is_ok())
    }

    fn word(&self, offset: u64) -> Option<&std::sync::atomic::AtomicU64> {
        if !offset.is_multiple_of(8) || offset.checked_add(8)? > self.size() {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: eight bytes from offset lie in the mapping (checked above).
        let at = unsafe { self.host_base().add(offset) }.cast();
        // SAFETY: mapped for as long as self, aligned (offset and mapping are), shared as atomic.
        Some(unsafe { at.as_ref() })
    }

    fn check(&self, offset: u64, len: usize) -> Result<usize, OutOfRegion> {
        let end = offset.checked_add(len as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(OutOfRegion { offset, len });
        }
        usize::try_from(offset).map_err(|_| OutOfRegion { offset, len })
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_begin_where_every_accelerator_can_map_them() {
        let regions: Vec<_> = (1..20)
            .map(|pages| Region::new(pages * PAGE_SIZE).unwrap())
            .collect();
        for (region, pages) in regions.iter().zip(1..) {
            assert_eq!(region.size(), pages * PAGE_SIZE);
            assert_eq!(region.host_base().as_ptr() as usize % ALIGNMENT, 0);
            region.write(region.size() - 8, &[7; 8]).unwrap();
            assert!(region.write(region.size(), &[7]).is_err());
        }
    }

    #[test]
    fn discarded_pages_are_zeros_and_their_neighbours_stay() {
        let host = host::page_size() as u64;
        let region = Region::new(8 * host).unwrap();
        let fill = vec![7; region.size() as usize];
        region.write(0, &fill).unwrap();
        region.discard(host / 2, 3 * host).unwrap();
        let mut back = fill;
        region.read(0, &mut back).unwrap();
        for (at, byte) in (0..).zip(&back) {
            let gone = (host..3 * host).contains(&at);
            assert_eq!(*byte == 0, gone, "at {at:#x}");
        }
        region.discard(1, host - 1).unwrap();
        assert_eq!(region.load_u64(0), Some(0x0707_0707_0707_0707));
        assert!(region.discard(7 * host, host + 1).is_err());
        assert!(region.discard(u64::MAX, 2).is_err());
        region.write(host, &[1; 8]).unwrap();
        assert_eq!(region.load_u64(host), Some(0x0101_0101_0101_0101));
    }

    #[test]
    fn a_borrowed_region_is_the_same_memory_and_leaves_it_be() {
        let owner = Region::new(4 * PAGE_SIZE).unwrap();
        // SAFETY: the second half of `owner`, which outlives the borrower.
        let half = unsafe { owner.host_base().add(2 * PAGE_SIZE as usize) };
        // SAFETY: as above.
        let borrowed = unsafe { Region::borrowed(half, 2 * PAGE_SIZE) }.unwrap();
        borrowed.write(8, &[7; 8]).unwrap();
        assert!(borrowed.write(2 * PAGE_SIZE - 4, &[7; 8]).is_err());
        drop(borrowed);
        assert_eq!(
            owner.load_u64(2 * PAGE_SIZE + 8),
            Some(0x0707_0707_0707_0707)
        );
        // SAFETY: as above.
        let odd = unsafe { half.add(8) };
        // SAFETY: as above; refused, since it is not aligned.
        let odd = unsafe { Region::borrowed(odd, PAGE_SIZE) };
        assert!(odd.is_err());
    }
}
