//! Host memory that the simulator's user lends it with `hv_vm_map`.

// UNSAFETY: uses memory of others, by address.
#![expect(unsafe_code, reason = "hv_vm_map takes addresses")]

use std::ptr::NonNull;
use std::sync::Arc;

use memory::Region;

/// A range of lent memory. Who lends it keeps it mapped until it is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lent {
    base: NonNull<u8>,
    bytes: u64,
}

// SAFETY: an address of memory that any thread may use; the lender's promise is not a thread's.
unsafe impl Send for Lent {}

impl Lent {
    /// The range of `bytes` bytes from `base` on.
    ///
    /// # Safety
    /// It stays mapped, and is used by others as shared memory only, until all that was made of this
    /// is dropped: the promise of `hv_vm_map`, up to `hv_vm_unmap`.
    pub unsafe fn new(base: NonNull<u8>, bytes: u64) -> Self {
        Self { base, bytes }
    }

    /// Address of the first byte.
    pub fn address(self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// A part of the range, cut to fit.
    pub fn part(self, offset: u64, bytes: u64) -> Self {
        let offset = offset.min(self.bytes);
        let bytes = bytes.min(self.bytes - offset);
        // SAFETY: not beyond the end of the range.
        let base = unsafe { self.base.add(offset as usize) };
        Self { base, bytes }
    }

    /// The range as guest memory.
    pub fn region(self) -> std::io::Result<Arc<Region>> {
        // SAFETY: the promise of `new`.
        let region = unsafe { Region::borrowed(self.base, self.bytes) };
        region.map(Arc::new)
    }
}
