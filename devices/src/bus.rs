//! The MMIO bus: which device answers at which guest physical address.
//!
//! The bus is built once, then shared by all vCPU threads without a lock. Devices whose place
//! changes while the guest runs (PCI functions) sit behind one device that owns the whole window
//! and routes inside it.

use std::fmt;
use std::sync::Arc;

use aarch64::machine::Span;
use aarch64::{Gpa, Size};

/// A device that answers loads and stores.
///
/// Several vCPU threads call it at once, so it locks what it needs, at the grain that suits it.
/// The contract:
/// - `offset` counts from the start of the device's span, and the whole access lies inside it. It
///   need not be aligned to `size`.
/// - No access panics, or blocks without bound (a UART gives the reader of its output a moment).
///   What hardware leaves unpredictable reads as zero and is ignored when written.
/// - `value` has no bits set above `size`; a returned value is cut to `size` by the bus.
pub trait MmioDevice: Send + Sync {
    /// A load.
    fn read(&self, offset: u64, size: Size) -> u64;
    /// A store.
    fn write(&self, offset: u64, size: Size, value: u64);
}

/// One device at its place.
struct Slot {
    name: &'static str,
    span: Span,
    device: Arc<dyn MmioDevice>,
}

/// Devices by address.
#[derive(Default)]
pub struct Bus {
    /// Sorted by address, disjoint.
    slots: Vec<Slot>,
}

/// A device that cannot be put on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The span is empty or wraps around.
    #[error("device {0} has an impossible address range")]
    BadSpan(&'static str),
    /// Another device is there.
    #[error("devices {0} and {1} overlap")]
    Overlap(&'static str, &'static str),
}

impl Bus {
    /// A bus without devices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `device` at `span`. The name is for messages.
    ///
    /// # Errors
    /// When the span is empty, wraps, or overlaps another device's.
    pub fn insert(
        &mut self,
        name: &'static str,
        span: Span,
        device: Arc<dyn MmioDevice>,
    ) -> Result<(), BusError> {
        let last = span
            .size
            .checked_sub(1)
            .and_then(|n| span.base.checked_add(n));
        let last = last.ok_or(BusError::BadSpan(name))?;
        let at = self.slots.partition_point(|s| s.span.base < span.base);
        let before = at.checked_sub(1).and_then(|i| self.slots.get(i));
        if let Some(other) = before.filter(|s| s.span.contains(span.base)) {
            return Err(BusError::Overlap(other.name, name));
        }
        if let Some(other) = self.slots.get(at).filter(|s| s.span.base <= last) {
            return Err(BusError::Overlap(other.name, name));
        }
        self.slots.insert(at, Slot { name, span, device });
        Ok(())
    }

    /// Loads from the device at `gpa`; `None` when no device covers the whole access.
    #[must_use]
    pub fn read(&self, gpa: Gpa, size: Size) -> Option<u64> {
        let (device, offset) = self.find(gpa, size)?;
        Some(device.read(offset, size) & size.mask())
    }

    /// Stores to the device at `gpa`; `None` when no device covers the whole access.
    #[must_use]
    pub fn write(&self, gpa: Gpa, size: Size, value: u64) -> Option<()> {
        let (device, offset) = self.find(gpa, size)?;
        device.write(offset, size, value & size.mask());
        Some(())
    }

    fn find(&self, gpa: Gpa, size: Size) -> Option<(&dyn MmioDevice, u64)> {
        let at = self.slots.partition_point(|s| s.span.base <= gpa);
        let slot = self.slots.get(at.checked_sub(1)?)?;
        let offset = gpa.0 - slot.span.base.0;
        let room = slot.span.size.checked_sub(offset)?;
        (room >= size.bytes()).then_some((&*slot.device, offset))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.slots.iter().map(|s| (s.span.base.0, s.name)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// Reads as its own offset; remembers the last write.
    #[derive(Default)]
    struct Probe(Mutex<Option<(u64, Size, u64)>>);

    impl MmioDevice for Probe {
        fn read(&self, offset: u64, _: Size) -> u64 {
            0xffff_ffff_ffff_0000 | offset
        }
        fn write(&self, offset: u64, size: Size, value: u64) {
            *self.0.lock().unwrap() = Some((offset, size, value));
        }
    }

    fn span(base: u64, size: u64) -> Span {
        Span {
            base: Gpa(base),
            size,
        }
    }

    #[test]
    fn accesses_reach_the_device_with_offset_and_cut_value() {
        let (a, b) = (Arc::new(Probe::default()), Arc::new(Probe::default()));
        let mut bus = Bus::new();
        bus.insert("b", span(0x3000, 0x1000), b.clone()).unwrap();
        bus.insert("a", span(0x1000, 0x1000), a.clone()).unwrap();
        assert_eq!(bus.read(Gpa(0x1004), Size::H), Some(0x0004));
        assert_eq!(bus.write(Gpa(0x3ffc), Size::W, u64::MAX), Some(()));
        assert_eq!(*b.0.lock().unwrap(), Some((0xffc, Size::W, 0xffff_ffff)));
        assert_eq!(*a.0.lock().unwrap(), None);
    }

    #[test]
    fn accesses_outside_or_across_the_end_reach_nothing() {
        let mut bus = Bus::new();
        bus.insert("a", span(0x1000, 0x1000), Arc::new(Probe::default()))
            .unwrap();
        assert_eq!(bus.read(Gpa(0xfff), Size::W), None);
        assert_eq!(bus.read(Gpa(0x2000), Size::B), None);
        assert_eq!(bus.read(Gpa(0x1ffd), Size::W), None);
        assert_eq!(bus.write(Gpa(u64::MAX), Size::D, 0), None);
        assert_eq!(Bus::new().read(Gpa(0), Size::B), None);
    }

    #[test]
    fn overlaps_and_impossible_spans_are_refused_by_name() {
        let mut bus = Bus::new();
        let dev = || Arc::new(Probe::default());
        bus.insert("a", span(0x1000, 0x1000), dev()).unwrap();
        for s in [
            span(0x1000, 1),
            span(0x1fff, 2),
            span(0, 0x1001),
            span(0x800, 0x4000),
        ] {
            assert_eq!(bus.insert("b", s, dev()), Err(BusError::Overlap("a", "b")));
        }
        for s in [span(0, 0), span(u64::MAX, 2)] {
            assert_eq!(bus.insert("c", s, dev()), Err(BusError::BadSpan("c")));
        }
        bus.insert("d", span(0x2000, 1), dev()).unwrap();
        bus.insert("top", span(u64::MAX, 1), dev()).unwrap();
        assert_eq!(bus.read(Gpa(u64::MAX), Size::B), Some(0));
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_search(
            spans in prop::collection::vec((0_u64..512, 1_u64..40), 0..20),
            gpa in 0_u64..600,
        ) {
            let mut bus = Bus::new();
            let mut kept: Vec<Span> = Vec::new();
            for (base, size) in spans {
                let new = span(base, size);
                let free = kept.iter().all(|s| {
                    s.base.0 + s.size <= base || base + size <= s.base.0
                });
                let done = bus.insert("x", new, Arc::new(Probe::default()));
                prop_assert_eq!(done.is_ok(), free);
                if free { kept.push(new); }
            }
            for size in Size::ALL {
                let want = kept.iter().find(|s| {
                    s.base.0 <= gpa && gpa + size.bytes() <= s.base.0 + s.size
                });
                let want = want.map(|s| (0xffff_ffff_ffff_0000 | (gpa - s.base.0)) & size.mask());
                prop_assert_eq!(bus.read(Gpa(gpa), size), want);
            }
        }
    }
}
