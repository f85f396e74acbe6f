//! A direct-mapped cache from virtual pages to the host's page frames: the level-1 TLB of a
//! software CPU, with the few instructions an access takes on a hit.
//!
//! The cache owns the [`Layout`] its frames belong to, and every change of either takes `&mut`,
//! so a reference into guest memory can never outlive its region.

// UNSAFETY: turns cached host addresses into references to guest memory.
#![expect(unsafe_code, reason = "the fast path of guest memory accesses")]

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use aarch64::{Gpa, PAGE_SIZE};
use portable_atomic::AtomicU128;

use crate::layout::Layout;
use crate::rights;

const OFFSET_MASK: u64 = PAGE_SIZE - 1;
/// Slots of one mode of one address space.
const SLOTS: usize = 512;
/// Modes, see [`Mode`].
const MODES: usize = 3;
/// Address spaces whose slots are kept. A kernel that isolates its page tables from its processes'
/// changes the address space at every system call and back, so there must be a few.
const SPACES: usize = 4;
/// No address space has this number.
const NO_SPACE: u32 = u32::MAX;
/// No masked address ever equals this: its low bits are set.
const NO_TAG: u64 = u64::MAX;

/// Under which permissions an address was translated. Each has its own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Mode {
    /// EL0, and the unprivileged accesses of EL1.
    User = 0,
    /// EL1.
    Kernel = 1,
    /// EL1 with `PSTATE.PAN`.
    KernelPan = 2,
}

/// One slot. The layout is fixed, for translated code that looks an address up by itself.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Entry {
    /// Page address if loads may use the frame, else a value no address equals.
    read: u64,
    /// Page address if stores may use the frame, else a value no address equals.
    write: u64,
    /// The frame in the host.
    host: *mut u8,
    /// [`GLOBAL`] and [`DEVICE`].
    flags: u64,
}

/// The translation does not depend on the ASID.
const GLOBAL: u64 = 1;
/// Device memory type: misaligned accesses are not allowed.
const DEVICE: u64 = 2;

/// What a translation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Loads.
    pub readable: bool,
    /// Stores.
    pub writable: bool,
    /// The translation holds for every ASID.
    pub global: bool,
    /// The memory type is Device.
    pub device: bool,
}

const EMPTY: Entry = Entry {
    read: NO_TAG,
    write: NO_TAG,
    host: std::ptr::null_mut(),
    flags: 0,
};

/// An integer that guest memory is accessed as.
pub trait Unit: Copy {
    /// Its atomic.
    type Atomic: fmt::Debug;
    /// Bytes.
    const BYTES: u64;
    /// Loads without ordering.
    fn load(from: &Self::Atomic, order: Ordering) -> Self;
    /// Stores without ordering.
    fn store(to: &Self::Atomic, value: Self, order: Ordering);
    /// Zero-extended.
    fn widen(self) -> u64;
    /// The low bits.
    fn narrow(value: u64) -> Self;
}

macro_rules! unit {
    ($($t:ty, $a:ty, $n:literal;)*) => {$(
        impl Unit for $t {
            type Atomic = $a;
            const BYTES: u64 = $n;
            #[inline(always)]
            fn load(from: &$a, order: Ordering) -> $t { from.load(order) }
            #[inline(always)]
            fn store(to: &$a, value: $t, order: Ordering) { to.store(value, order) }
            #[inline(always)]
            fn widen(self) -> u64 { u64::from(self) }
            #[inline(always)]
            fn narrow(value: u64) -> $t { value as $t }
        }
    )*};
}
unit! { u8, AtomicU8, 1; u16, AtomicU16, 2; u32, AtomicU32, 4; }

impl Unit for u64 {
    type Atomic = AtomicU64;
    const BYTES: u64 = 8;
    #[inline(always)]
    fn load(from: &AtomicU64, order: Ordering) -> u64 {
        from.load(order)
    }
    #[inline(always)]
    fn store(to: &AtomicU64, value: u64, order: Ordering) {
        to.store(value, order);
    }
    #[inline(always)]
    fn widen(self) -> u64 {
        self
    }
    #[inline(always)]
    fn narrow(value: u64) -> u64 {
        value
    }
}

/// The cache: [`SLOTS`] slots for each [`Mode`] of each of [`SPACES`] address spaces, and the
/// layout they point into.
pub struct FrameCache {
    entries: Box<[Entry; SLOTS * MODES * SPACES]>,
    /// First slot of the current space and mode.
    base: usize,
    mode: Mode,
    space: usize,
    /// Which address space each space's slots belong to.
    spaces: [u32; SPACES],
    layout: Arc<Layout>,
}

// SAFETY: the pointers in the entries reach only memory of regions in `layout`, which the cache
// owns a share of and which may be used from any thread.
unsafe impl Send for FrameCache {}

impl fmt::Debug for FrameCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameCache")
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

impl FrameCache {
    /// An empty cache over `layout`, in [`Mode::Kernel`] of address space 0.
    #[must_use]
    pub fn new(layout: Arc<Layout>) -> Self {
        let mut spaces = [NO_SPACE; SPACES];
        spaces[0] = 0;
        let mut cache = Self {
            entries: Box::new([EMPTY; SLOTS * MODES * SPACES]),
            base: 0,
            mode: Mode::Kernel,
            space: 0,
            spaces,
            layout,
        };
        cache.rebase();
        cache
    }

    /// The layout the frames belong to.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Moves to another layout; the cache is empty afterwards.
    pub fn set_layout(&mut self, layout: Arc<Layout>) {
        self.clear();
        self.layout = layout;
    }

    /// Makes lookups use the slots of `mode`.
    #[inline]
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.rebase();
    }

    /// Makes lookups use the slots of address space `asid`.
    #[inline]
    pub fn set_space(&mut self, asid: u16) {
        if self.spaces[self.space] != u32::from(asid) {
            self.change_space(u32::from(asid));
        }
    }

    fn change_space(&mut self, key: u32) {
        let kept = self.spaces.iter().position(|&space| space == key);
        self.space = kept.unwrap_or_else(|| {
            let oldest = (self.space + 1) % SPACES;
            self.empty_space(oldest);
            self.spaces[oldest] = key;
            oldest
        });
        self.rebase();
    }

    fn rebase(&mut self) {
        self.base = (self.space * MODES + self.mode as usize) * SLOTS;
    }

    fn empty_space(&mut self, space: usize) {
        if self.spaces[space] != NO_SPACE {
            let first = space * MODES * SLOTS;
            self.entries[first..first + MODES * SLOTS].fill(EMPTY);
            self.spaces[space] = NO_SPACE;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        let current = self.spaces[self.space];
        for space in 0..SPACES {
            self.empty_space(space);
        }
        self.spaces[self.space] = current;
    }

    /// Forgets what belongs to address space `asid` and does not hold for all.
    pub fn clear_space(&mut self, asid: u16) {
        let Some(space) = self
            .spaces
            .iter()
            .position(|&space| space == u32::from(asid))
        else {
            return;
        };
        let first = space * MODES * SLOTS;
        let entries = &mut self.entries[first..first + MODES * SLOTS];
        for entry in entries.iter_mut().filter(|e| e.flags & GLOBAL == 0) {
            *entry = EMPTY;
        }
    }

    /// Forgets the slots that `va` may be in, in every mode of every address space.
    pub fn evict(&mut self, va: u64) {
        for slots in self.entries.as_chunks_mut::<SLOTS>().0 {
            slots[slot(va)] = EMPTY;
        }
    }

    /// Caches that the page of `va` is the frame at `gpa` in the current mode, with the rights of
    /// `grant` as far as the frame's mapping gives them to the guest. False when there is no
    /// memory at `gpa`.
    ///
    /// `store` says that a store asks. While the region logs which pages are written, only such a
    /// page is cached for stores.
    pub fn fill(&mut self, va: u64, gpa: Gpa, grant: Grant, store: bool) -> bool {
        let Grant {
            readable,
            writable,
            global,
            device,
        } = grant;
        let Some((mapping, offset)) = self.layout.find(gpa.align_down(PAGE_SIZE)) else {
            return false;
        };
        let allowed = mapping.rights_at(offset);
        let Some(host) = mapping.region.frame(offset) else {
            return false;
        };
        let page = va & !OFFSET_MASK;
        let readable = readable && allowed & rights::READ != 0;
        let mut writable = writable && allowed & rights::WRITE != 0;
        if writable && mapping.region.is_logged() {
            writable = store;
            if store {
                mapping.region.log_write(offset);
            }
        }
        self.entries[self.base + slot(va)] = Entry {
            read: if readable { page } else { NO_TAG },
            write: if writable { page } else { NO_TAG },
            host: host.as_ptr(),
            flags: if global { GLOBAL } else { 0 } | if device { DEVICE } else { 0 },
        };
        true
    }

    /// The naturally aligned unit of memory at `va`, if the page is cached for loads (for stores
    /// if `WRITE`).
    #[inline(always)]
    pub fn atomic<T: Unit, const WRITE: bool>(&self, va: u64) -> Option<&T::Atomic> {
        let host = self.hit::<WRITE>(va, T::BYTES - 1)?;
        // SAFETY: a hit is the address of a unit inside a mapped frame, aligned since its offset
        // is, and shared with others only as atomics.
        Some(unsafe { host.cast::<T::Atomic>().as_ref() })
    }

    /// As [`Self::atomic`] for 16 bytes.
    #[inline(always)]
    pub fn atomic128<const WRITE: bool>(&self, va: u64) -> Option<&AtomicU128> {
        let host = self.hit::<WRITE>(va, 15)?;
        // SAFETY: as in `atomic`.
        Some(unsafe { host.cast::<AtomicU128>().as_ref() })
    }

    /// Loads a unit that may be misaligned but lies in one page that is cached for loads and is
    /// not Device memory.
    #[inline]
    pub fn load_misaligned<T: Unit>(&self, va: u64) -> Option<T> {
        if !self.may_misalign(va, T::BYTES) {
            return None;
        }
        let host = self.hit::<false>(va, 0)?.cast::<Packed<T>>();
        // SAFETY: all bytes lie in the mapped frame; the type has alignment 1.
        Some(unsafe { host.read_volatile() }.0)
    }

    /// Stores a unit that may be misaligned but lies in one page that is cached for stores and is
    /// not Device memory.
    #[inline]
    pub fn store_misaligned<T: Unit>(&self, va: u64, value: T) -> bool {
        if !self.may_misalign(va, T::BYTES) {
            return false;
        }
        let Some(host) = self.hit::<true>(va, 0) else {
            return false;
        };
        // SAFETY: all bytes lie in the mapped frame; the type has alignment 1.
        unsafe { host.cast::<Packed<T>>().write_volatile(Packed(value)) };
        true
    }

    #[inline]
    fn may_misalign(&self, va: u64, bytes: u64) -> bool {
        (va & OFFSET_MASK) + bytes <= PAGE_SIZE
            && self.entries[self.base + slot(va)].flags & DEVICE == 0
    }

    #[inline(always)]
    fn hit<const WRITE: bool>(&self, va: u64, align_mask: u64) -> Option<NonNull<u8>> {
        // SAFETY: rebase() makes base the first of SLOTS slots inside, and slot() is below SLOTS.
        let entry = unsafe { self.entries.get_unchecked(self.base + slot(va)) };
        let tag = if WRITE { entry.write } else { entry.read };
        if tag != va & (!OFFSET_MASK | align_mask) {
            return None;
        }
        let offset = (va & OFFSET_MASK) as usize;
        // SAFETY: an entry whose tag matches holds a frame of PAGE_SIZE bytes.
        let at = unsafe { entry.host.add(offset) };
        // SAFETY: frames come from NonNull.
        Some(unsafe { NonNull::new_unchecked(at) })
    }
}

#[inline(always)]
fn slot(va: u64) -> usize {
    (va / PAGE_SIZE) as usize % SLOTS
}

#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Packed<T>(T);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Prot, Region};

    const READ: Grant = Grant {
        readable: true,
        writable: false,
        global: false,
        device: false,
    };
    const FULL: Grant = Grant {
        writable: true,
        ..READ
    };

    fn cache() -> FrameCache {
        let region = Arc::new(Region::new(2 * PAGE_SIZE).unwrap());
        let rom = Arc::new(Region::new(PAGE_SIZE).unwrap());
        let layout = Layout::default()
            .with(Gpa(0x4000), region, Prot::ReadWrite)
            .and_then(|l| l.with(Gpa(0x8000), rom, Prot::ReadOnly))
            .unwrap();
        FrameCache::new(Arc::new(layout))
    }

    #[test]
    fn hits_need_the_page_the_right_and_the_alignment() {
        let mut c = cache();
        let va = 0xffff_8000_0000_1008;
        assert!(c.atomic::<u64, false>(va).is_none());
        assert!(c.fill(va, Gpa(0x5008), FULL, true));
        c.atomic::<u64, true>(va)
            .unwrap()
            .store(0x1122_3344_5566_7788, Ordering::Relaxed);
        assert_eq!(
            c.layout().load_u64(Gpa(0x5008)),
            Some(0x1122_3344_5566_7788)
        );
        assert!(c.atomic::<u64, false>(va + 4).is_none());
        assert!(c.atomic::<u32, false>(va + 4).is_some());
        assert!(c.atomic128::<false>(va).is_none());
        assert_eq!(c.load_misaligned::<u16>(va + 1), Some(0x6677));
        assert_eq!(c.load_misaligned::<u64>((va | 0xfff) - 3), None);
        assert!(c.atomic::<u64, false>(va ^ 1 << 40).is_none());
        c.fill(
            va,
            Gpa(0x5008),
            Grant {
                device: true,
                ..FULL
            },
            false,
        );
        assert!(c.atomic::<u64, false>(va).is_some());
        assert_eq!(c.load_misaligned::<u16>(va + 1), None);
        assert!(!c.store_misaligned::<u16>(va + 1, 0));
    }

    #[test]
    fn read_only_memory_never_hits_for_stores() {
        let mut c = cache();
        assert!(c.fill(0x1000, Gpa(0x8000), FULL, true));
        assert!(c.atomic::<u8, false>(0x1000).is_some());
        assert!(c.atomic::<u8, true>(0x1000).is_none());
        assert!(!c.store_misaligned::<u16>(0x1001, 1));
        assert!(!c.fill(0x1000, Gpa(0x9000), FULL, true));
    }

    #[test]
    fn a_logged_page_is_cached_for_stores_only_by_a_store() {
        let mut c = cache();
        let region = Arc::clone(&c.layout().mappings()[0].region);
        region.start_log();
        c.fill(0x1000, Gpa(0x4000), FULL, false);
        assert!(c.atomic::<u8, false>(0x1000).is_some());
        assert!(c.atomic::<u8, true>(0x1000).is_none());
        assert!(region.take_log().is_empty());
        c.fill(0x1000, Gpa(0x5000), FULL, true);
        assert!(c.atomic::<u8, true>(0x1000).is_some());
        assert_eq!(region.take_log().iter().collect::<Vec<_>>(), [1]);
        region.stop_log();
        c.fill(0x1000, Gpa(0x4000), FULL, false);
        assert!(c.atomic::<u8, true>(0x1000).is_some());
        assert!(region.take_log().is_empty());
    }

    #[test]
    fn modes_and_address_spaces_are_kept_apart() {
        let mut c = cache();
        let global = Grant {
            global: true,
            ..READ
        };
        c.set_space(7);
        c.fill(0x1000, Gpa(0x4000), global, false);
        c.fill(0x2000, Gpa(0x5000), READ, false);
        c.set_mode(Mode::User);
        assert!(c.atomic::<u8, false>(0x1000).is_none());
        c.set_mode(Mode::Kernel);
        c.set_space(8);
        assert!(c.atomic::<u8, false>(0x2000).is_none());
        c.set_space(7);
        assert!(c.atomic::<u8, false>(0x2000).is_some());
        c.clear_space(7);
        assert!(c.atomic::<u8, false>(0x1000).is_some());
        assert!(c.atomic::<u8, false>(0x2000).is_none());
        c.set_space(9);
        c.evict(0x1000);
        c.set_space(7);
        assert!(c.atomic::<u8, false>(0x1000).is_none());
    }

    #[test]
    fn a_reused_space_starts_empty() {
        let mut c = cache();
        for asid in 0..20 {
            c.set_space(asid);
            assert!(c.atomic::<u8, false>(0x1000).is_none());
            c.fill(0x1000, Gpa(0x4000), READ, false);
        }
        c.clear();
        for asid in (0..20).rev() {
            c.set_space(asid);
            assert!(c.atomic::<u8, false>(0x1000).is_none());
        }
    }
}
