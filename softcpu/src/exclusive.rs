//! Exclusive accesses.
//!
//! The monitor remembers the value that was loaded, and a store-exclusive is a compare and swap
//! against it. A location that changed and changed back in between is not noticed; guests that
//! would mind (lock-free lists whose nodes are freed) use tags against that anyway, since the
//! architecture lets them fail but compilers of portable code cannot rely on it.

use std::sync::atomic::Ordering::SeqCst;

use aarch64::Size;
use memory::Unit;

use crate::cpu::{Cpu, Stop};
use crate::emitter::Rmw;
use crate::mem::Direction;

/// An armed local monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Monitor {
    va: u64,
    bytes: u64,
    value: u128,
}

/// Runs a generic expression for the unit type of a size.
macro_rules! by_size {
    ($size:expr, $t:ident => $e:expr) => {
        match $size {
            Size::B => {
                type $t = u8;
                $e
            }
            Size::H => {
                type $t = u16;
                $e
            }
            Size::W => {
                type $t = u32;
                $e
            }
            Size::D => {
                type $t = u64;
                $e
            }
        }
    };
}
pub(crate) use by_size;

/// Atomics of the sizes FEAT_LSE has.
pub(crate) trait Atomic: Unit {
    fn update(at: &Self::Atomic, op: Rmw, value: Self) -> Self;
    fn swap_if(at: &Self::Atomic, expected: Self, new: Self) -> Self;
}

macro_rules! atomic {
    ($($t:ty, $s:ty;)*) => {$(
        impl Atomic for $t {
            #[inline(always)]
            fn update(at: &Self::Atomic, op: Rmw, value: Self) -> Self {
                match op {
                    Rmw::Add => at.fetch_add(value, SeqCst),
                    Rmw::Clr => at.fetch_and(!value, SeqCst),
                    Rmw::Eor => at.fetch_xor(value, SeqCst),
                    Rmw::Set => at.fetch_or(value, SeqCst),
                    Rmw::Umax => at.fetch_max(value, SeqCst),
                    Rmw::Umin => at.fetch_min(value, SeqCst),
                    Rmw::Swp => at.swap(value, SeqCst),
                    Rmw::Smax => change(at, |old| (old as $s).max(value as $s) as $t),
                    Rmw::Smin => change(at, |old| (old as $s).min(value as $s) as $t),
                }
            }
            #[inline(always)]
            fn swap_if(at: &Self::Atomic, expected: Self, new: Self) -> Self {
                match at.compare_exchange(expected, new, SeqCst, SeqCst) {
                    Ok(old) | Err(old) => old,
                }
            }
        }
    )*};
}
atomic! { u8, i8; u16, i16; u32, i32; u64, i64; }

fn change<T: Atomic + PartialEq>(at: &T::Atomic, f: impl Fn(T) -> T) -> T {
    let mut old = T::load(at, SeqCst);
    loop {
        let seen = T::swap_if(at, old, f(old));
        if seen == old {
            return old;
        }
        old = seen;
    }
}

impl Cpu {
    /// Atomic read-modify-write.
    #[inline(always)]
    pub(crate) fn atomic_rmw<T: Atomic>(&mut self, op: Rmw, va: u64, v: u64) -> Result<u64, Stop> {
        if self.frames.atomic::<T, true>(va).is_none() {
            self.reach(va, T::BYTES, Direction::Update)?;
        }
        match self.frames.atomic::<T, true>(va) {
            Some(at) => Ok(T::update(at, op, T::narrow(v)).widen()),
            None => Err(self.unsupported_atomic(va)),
        }
    }

    /// Atomic compare and swap.
    #[inline(always)]
    pub(crate) fn atomic_cas<T: Atomic>(
        &mut self,
        va: u64,
        expected: u64,
        new: u64,
    ) -> Result<u64, Stop> {
        if self.frames.atomic::<T, true>(va).is_none() {
            self.reach(va, T::BYTES, Direction::Update)?;
        }
        match self.frames.atomic::<T, true>(va) {
            Some(at) => Ok(T::swap_if(at, T::narrow(expected), T::narrow(new)).widen()),
            None => Err(self.unsupported_atomic(va)),
        }
    }

    /// Atomic compare and swap of 16 bytes.
    pub(crate) fn atomic_cas128(
        &mut self,
        va: u64,
        expected: u128,
        new: u128,
    ) -> Result<u128, Stop> {
        if self.frames.atomic128::<true>(va).is_none() {
            self.reach(va, 16, Direction::Update)?;
        }
        match self.frames.atomic128::<true>(va) {
            Some(at) => Ok(match at.compare_exchange(expected, new, SeqCst, SeqCst) {
                Ok(old) | Err(old) => old,
            }),
            None => Err(self.unsupported_atomic(va)),
        }
    }

    /// Loads `bytes` (1 to 16) and arms the monitor.
    pub(crate) fn exclusive_load(&mut self, bytes: u64, va: u64) -> Result<u128, Stop> {
        if !va.is_multiple_of(bytes) {
            return Err(self.alignment_fault(va, Direction::Read));
        }
        self.monitor = None;
        let value = if bytes == 16 {
            if self.frames.atomic128::<false>(va).is_none() {
                self.reach(va, 16, Direction::Read)?;
            }
            match self.frames.atomic128::<false>(va) {
                Some(at) => at.load(SeqCst),
                None => return Err(self.unsupported_atomic(va)),
            }
        } else {
            let size = Size::from_bytes(bytes).unwrap_or(Size::D);
            let value = by_size!(size, T => {
                if self.frames.atomic::<T, false>(va).is_none() {
                    self.reach(va, bytes, Direction::Read)?;
                }
                self.frames.atomic::<T, false>(va).map(|at| T::load(at, SeqCst).widen())
            });
            match value {
                Some(value) => u128::from(value),
                None => return Err(self.unsupported_atomic(va)),
            }
        };
        self.monitor = Some(Monitor { va, bytes, value });
        Ok(value)
    }

    /// Stores `bytes` if the monitor is armed for them and memory still holds what was loaded.
    /// Returns 0 if it stored, 1 if not.
    pub(crate) fn exclusive_store(&mut self, bytes: u64, va: u64, new: u128) -> Result<u64, Stop> {
        if !va.is_multiple_of(bytes) {
            return Err(self.alignment_fault(va, Direction::Write));
        }
        let Some(monitor) = self.monitor.take() else {
            return Ok(1);
        };
        if monitor.va != va || monitor.bytes != bytes {
            return Ok(1);
        }
        let old = monitor.value;
        let seen = if bytes == 16 {
            self.atomic_cas128(va, old, new)
        } else {
            let size = Size::from_bytes(bytes).unwrap_or(Size::D);
            by_size!(size, T => self.atomic_cas::<T>(va, old as u64, new as u64)).map(u128::from)
        };
        match seen {
            Ok(seen) => Ok(u64::from(seen != old)),
            Err(stop) => {
                // The instruction will be run again once its fault is mended.
                self.monitor = Some(monitor);
                Err(stop)
            }
        }
    }
}
