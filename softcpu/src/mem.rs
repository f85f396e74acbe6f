//! Memory accesses that the frame cache does not answer: first touch of a page, devices,
//! misaligned and page-crossing accesses.

use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use aarch64::{Gpa, PAGE_SIZE, Size};
use memory::{Grant, Mode, Unit};

use crate::cpu::{Cpu, Event, Stop};

/// What an access does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Atomically loads and stores: needs both rights, faults as a store.
    Update,
    /// Fetches an instruction.
    Execute,
    /// Maintains a cache line, and neither loads nor stores.
    Maintain,
}

/// Where an address leads, with the rights of the mode it was translated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Translation {
    pub gpa: Gpa,
    /// What accesses may do there.
    pub grant: Grant,
}

/// How a plain value is stored and loaded.
pub(crate) trait Plain: Unit {
    const SIZE: Size;
}
macro_rules! plain {
    ($($t:ty, $s:ident;)*) => {$(
        impl Plain for $t {
            const SIZE: Size = Size::$s;
        }
    )*};
}
plain! { u8, B; u16, H; u32, W; u64, D; }

impl Cpu {
    /// Loads one unit.
    #[inline(always)]
    pub(crate) fn read<T: Plain>(&mut self, va: u64) -> Result<u64, Stop> {
        match self.frames.atomic::<T, false>(va) {
            Some(at) => Ok(T::load(at, Relaxed).widen()),
            None => self.read_slowly::<T>(va),
        }
    }

    /// Stores one unit.
    #[inline(always)]
    pub(crate) fn write<T: Plain>(&mut self, va: u64, value: u64) -> Result<(), Stop> {
        match self.frames.atomic::<T, true>(va) {
            Some(at) => {
                T::store(at, T::narrow(value), Relaxed);
                Ok(())
            }
            None => self.write_slowly::<T>(va, value),
        }
    }

    /// Load-acquire; `pc` for the weaker order of FEAT_LRCPC.
    #[inline(always)]
    pub(crate) fn read_acquire<T: Plain>(&mut self, va: u64, pc: bool) -> Result<u64, Stop> {
        self.check_aligned::<T>(va, Direction::Read)?;
        match self.frames.atomic::<T, false>(va) {
            Some(at) => Ok(T::load(at, if pc { Acquire } else { SeqCst }).widen()),
            None => {
                let value = self.read_slowly::<T>(va)?;
                std::sync::atomic::fence(SeqCst);
                Ok(value)
            }
        }
    }

    /// Store-release.
    #[inline(always)]
    pub(crate) fn write_release<T: Plain>(&mut self, va: u64, value: u64) -> Result<(), Stop> {
        self.check_aligned::<T>(va, Direction::Write)?;
        match self.frames.atomic::<T, true>(va) {
            Some(at) => {
                T::store(at, T::narrow(value), SeqCst);
                Ok(())
            }
            None => {
                std::sync::atomic::fence(SeqCst);
                self.write_slowly::<T>(va, value)?;
                std::sync::atomic::fence(SeqCst);
                Ok(())
            }
        }
    }

    #[inline(always)]
    fn check_aligned<T: Plain>(&mut self, va: u64, direction: Direction) -> Result<(), Stop> {
        if va.is_multiple_of(T::BYTES) {
            return Ok(());
        }
        Err(self.alignment_fault(va, direction))
    }

    /// Runs an access with the rights of EL0.
    pub(crate) fn unprivileged<R>(&mut self, access: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.access_mode;
        self.set_access_mode(Mode::User);
        let result = access(self);
        self.set_access_mode(before);
        result
    }

    /// Translates for an access that must end in memory, and caches the frame. After it, the frame
    /// cache answers unless the address belongs to a device.
    #[cold]
    #[inline(never)]
    pub(crate) fn reach(
        &mut self,
        va: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<Translation, Stop> {
        if !va.is_multiple_of(bytes) {
            return Err(self.alignment_fault(va, direction));
        }
        self.touch(va, bytes, direction)
    }

    /// Translates and caches, for an access of so many bytes that is made next.
    fn touch(&mut self, va: u64, bytes: u64, direction: Direction) -> Result<Translation, Stop> {
        let t = self.translate(va, direction)?;
        if self.debug.is_watching() {
            self.check_watchpoints(va, bytes, direction)?;
            self.debug.watched.push(va);
        }
        let store = match direction {
            Direction::Write | Direction::Update => true,
            Direction::Read | Direction::Execute | Direction::Maintain => false,
        };
        self.frames.fill(va, t.gpa, t.grant, store);
        Ok(t)
    }

    #[cold]
    #[inline(never)]
    fn read_slowly<T: Plain>(&mut self, va: u64) -> Result<u64, Stop> {
        let value = if va.is_multiple_of(T::BYTES) {
            self.read_aligned::<T>(va)
        } else {
            self.read_misaligned::<T>(va)
        };
        if self.debug.is_watching() {
            self.uncache_watched();
        }
        value
    }

    #[cold]
    #[inline(never)]
    fn write_slowly<T: Plain>(&mut self, va: u64, value: u64) -> Result<(), Stop> {
        let result = if va.is_multiple_of(T::BYTES) {
            self.write_aligned::<T>(va, value)
        } else {
            self.write_misaligned::<T>(va, value)
        };
        if self.debug.is_watching() {
            self.uncache_watched();
        }
        result
    }

    fn read_aligned<T: Plain>(&mut self, va: u64) -> Result<u64, Stop> {
        let t = self.touch(va, T::BYTES, Direction::Read)?;
        match self.frames.atomic::<T, false>(va) {
            Some(at) => Ok(T::load(at, Relaxed).widen()),
            None => {
                self.check_stage2(va, t.gpa)?;
                let event = Event::MmioRead {
                    gpa: t.gpa,
                    size: T::SIZE,
                };
                self.ask_mmio(event, va, false).map(|v| v & T::SIZE.mask())
            }
        }
    }

    fn write_aligned<T: Plain>(&mut self, va: u64, value: u64) -> Result<(), Stop> {
        let t = self.touch(va, T::BYTES, Direction::Write)?;
        match self.frames.atomic::<T, true>(va) {
            Some(at) => {
                T::store(at, T::narrow(value), Relaxed);
                Ok(())
            }
            None => {
                self.check_stage2(va, t.gpa)?;
                let data = value & T::SIZE.mask();
                let event = Event::MmioWrite {
                    gpa: t.gpa,
                    size: T::SIZE,
                    data,
                };
                self.ask_mmio(event, va, true).map(|_| ())
            }
        }
    }

    fn read_misaligned<T: Plain>(&mut self, va: u64) -> Result<u64, Stop> {
        if self.may_misalign()
            && let Some(value) = self.frames.load_misaligned::<T>(va)
        {
            return Ok(value.widen());
        }
        self.check_span(va, T::BYTES, Direction::Read)?;
        if let Some(value) = self.frames.load_misaligned::<T>(va) {
            return Ok(value.widen());
        }
        let mut value = 0;
        for i in 0..T::BYTES {
            value |= self.read::<u8>(va.wrapping_add(i))? << (8 * i);
        }
        Ok(value)
    }

    fn write_misaligned<T: Plain>(&mut self, va: u64, value: u64) -> Result<(), Stop> {
        if self.may_misalign() && self.frames.store_misaligned(va, T::narrow(value)) {
            return Ok(());
        }
        self.check_span(va, T::BYTES, Direction::Write)?;
        if self.frames.store_misaligned(va, T::narrow(value)) {
            return Ok(());
        }
        for i in 0..T::BYTES {
            self.write::<u8>(va.wrapping_add(i), value >> (8 * i))?;
        }
        Ok(())
    }

    /// Checks a misaligned access on each page it touches before any byte of it is done.
    fn check_span(&mut self, va: u64, bytes: u64, direction: Direction) -> Result<(), Stop> {
        if !self.may_misalign() {
            return Err(self.alignment_fault(va, direction));
        }
        let next_page = va.wrapping_add(bytes - 1) & !(PAGE_SIZE - 1);
        let mut parts = [Some((va, bytes)), None];
        if next_page != va & !(PAGE_SIZE - 1) {
            parts[1] = Some((next_page, 1));
        }
        for (at, bytes) in parts.into_iter().flatten() {
            let t = self.touch(at, bytes, direction)?;
            if t.grant.device {
                return Err(self.alignment_fault(va, direction));
            }
        }
        Ok(())
    }
}
