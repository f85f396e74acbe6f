//! Interrupt wires from devices to whatever interrupt controller the machine has.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aarch64::Intid;

/// The interrupt controller's end of the wires: the GIC model, or the host kernel's GIC.
///
/// Devices call it from any thread while they hold their own locks, so it must never call back
/// into a device.
pub trait IrqSink: Send + Sync {
    /// Holds the input of SPI `intid` high or low. Setting the level it has already changes
    /// nothing. What an edge-triggered input latches is the change from low to high.
    fn set_level(&self, intid: Intid, high: bool);

    /// One rising edge, at an input that nobody holds.
    fn pulse(&self, intid: Intid) {
        self.set_level(intid, true);
        self.set_level(intid, false);
    }
}

/// A device's end of one wire. Clones are the same wire.
#[derive(Clone)]
pub struct IrqLine(Arc<Wire>);

struct Wire {
    sink: Arc<dyn IrqSink>,
    intid: Intid,
    /// The level driven last. Devices report their level at every access; only changes travel.
    /// The lock is held while the sink is told, so that two threads cannot swap their order.
    level: Mutex<bool>,
}

impl IrqLine {
    /// A wire to input `intid` of `sink`, low.
    #[must_use]
    pub fn new(sink: Arc<dyn IrqSink>, intid: Intid) -> Self {
        Self(Arc::new(Wire {
            sink,
            intid,
            level: Mutex::new(false),
        }))
    }

    /// A wire that ends nowhere.
    #[must_use]
    pub fn unconnected() -> Self {
        struct Nowhere;
        impl IrqSink for Nowhere {
            fn set_level(&self, _: Intid, _: bool) {}
        }
        Self::new(Arc::new(Nowhere), Intid::spi(0))
    }

    /// Which input the wire ends at.
    #[must_use]
    pub fn intid(&self) -> Intid {
        self.0.intid
    }

    /// Drives the wire.
    pub fn set(&self, high: bool) {
        self.change(|was| was != high, high);
    }

    /// Drives the wire even if it has this level already: after the controller's state was
    /// replaced (reset, restore), it may remember another.
    pub fn refresh(&self, high: bool) {
        self.change(|_| true, high);
    }

    /// One rising edge; the wire is low afterwards.
    pub fn pulse(&self) {
        self.set(true);
        self.set(false);
    }

    fn change(&self, wanted: impl FnOnce(bool) -> bool, high: bool) {
        let wire = &*self.0;
        let mut level = wire.level.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted(*level) {
            *level = high;
            wire.sink.set_level(wire.intid, high);
        }
    }
}

impl fmt::Debug for IrqLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IrqLine({})", self.0.intid.0)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Remembers every change it was told.
    #[derive(Default)]
    pub(crate) struct Recorder(Mutex<Vec<(Intid, bool)>>);

    impl Recorder {
        pub(crate) fn wire() -> (Arc<Self>, IrqLine) {
            let sink = Arc::new(Self::default());
            (sink.clone(), IrqLine::new(sink, Intid::spi(1)))
        }

        /// The changes since the last call.
        pub(crate) fn take(&self) -> Vec<bool> {
            self.0
                .lock()
                .unwrap()
                .drain(..)
                .map(|(_, high)| high)
                .collect()
        }
    }

    impl IrqSink for Recorder {
        fn set_level(&self, intid: Intid, high: bool) {
            self.0.lock().unwrap().push((intid, high));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Recorder;

    #[test]
    fn only_changes_travel_and_clones_are_one_wire() {
        let (sink, line) = Recorder::wire();
        let other = line.clone();
        line.set(false);
        assert_eq!(sink.take(), []);
        line.set(true);
        other.set(true);
        other.set(false);
        assert_eq!(sink.take(), [true, false]);
    }

    #[test]
    fn two_threads_never_swap_the_order_of_their_changes() {
        let (sink, line) = Recorder::wire();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..5000).for_each(|_| line.pulse()));
            }
        });
        let changes = sink.take();
        // What the controller is told alternates, and ends with what the device said last.
        assert!(changes.chunks(2).all(|pair| pair == [true, false]));
    }

    #[test]
    fn a_pulse_is_one_rising_edge() {
        let (sink, line) = Recorder::wire();
        line.pulse();
        line.pulse();
        assert_eq!(sink.take(), [true, false, true, false]);
    }

    #[test]
    fn refresh_drives_an_unchanged_level() {
        let (sink, line) = Recorder::wire();
        line.refresh(false);
        line.set(true);
        line.refresh(true);
        assert_eq!(sink.take(), [false, true, true]);
    }
}
