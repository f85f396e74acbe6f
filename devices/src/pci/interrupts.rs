//! A function's interrupts: its pin, which shares a wire with those of other functions, and the
//! messages that replace it when the guest enables MSI-X.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::machine::PCIE_INTX_INTID;
use aarch64::{Intid, Size};

use super::config::Enables;
use super::msix::Msix;
use super::{MsiSink, MsixState};
use crate::irq::IrqLine;

/// Wires of the bus.
pub(super) const WIRES: u8 = 4;

/// The interrupt of a pin (0 is INTA) of a device: pins take the wires in turn, and each device
/// begins one further than the last, so that devices with one pin share evenly.
#[must_use]
pub const fn intx(device: u8, pin: u8) -> Intid {
    let wire = (device % WIRES + pin % WIRES) % WIRES;
    Intid(PCIE_INTX_INTID.0 + wire as u32)
}

/// A wire that several pins hold high.
pub(super) struct SharedWire {
    line: IrqLine,
    /// Devices that hold it, by their bits. The lock is held while the line is driven.
    holders: Mutex<u32>,
}

impl SharedWire {
    pub fn new(line: IrqLine) -> Self {
        Self {
            line,
            holders: Mutex::new(0),
        }
    }

    fn set(&self, device: u8, high: bool) {
        let mut holders = lock(&self.holders);
        let bit = 1_u32.checked_shl(device.into()).unwrap_or(0);
        *holders = if high {
            *holders | bit
        } else {
            *holders & !bit
        };
        self.line.set(*holders != 0);
    }

    /// Drives the line once more: the controller may have forgotten its level.
    pub fn refresh(&self) {
        let holders = lock(&self.holders);
        self.line.refresh(*holders != 0);
    }
}

/// The interrupts of one function.
pub struct Interrupts {
    // Configuration.
    device: u8,
    vectors: u16,
    // Wiring.
    wire: Arc<SharedWire>,
    sink: Arc<dyn MsiSink>,
    // State.
    inner: Mutex<Inner>,
}

struct Inner {
    enables: Enables,
    /// Whether the function wants its pin high.
    pin: bool,
    msix: Msix,
}

impl Interrupts {
    pub(super) fn new(
        device: u8,
        vectors: u16,
        wire: Arc<SharedWire>,
        sink: Arc<dyn MsiSink>,
    ) -> Self {
        let inner = Inner {
            enables: Enables::INITIAL,
            pin: false,
            msix: Msix::new(vectors),
        };
        Self {
            device,
            vectors,
            wire,
            sink,
            inner: Mutex::new(inner),
        }
    }

    /// How many vectors there are.
    #[must_use]
    pub fn vectors(&self) -> u16 {
        self.vectors
    }

    /// Whether the guest has enabled messages.
    #[must_use]
    pub fn messages(&self) -> bool {
        self.lock().enables.msix
    }

    /// Signals a vector, if messages are enabled. If its message must not be sent now, it is sent
    /// when it may be.
    pub fn signal(&self, vector: u16) {
        let mut inner = self.lock();
        if inner.enables.msix {
            inner.msix.raise(vector);
            self.send(&mut inner);
        }
    }

    /// Holds the pin high or low. It does not show while messages are enabled.
    pub fn set_pin(&self, high: bool) {
        let mut inner = self.lock();
        inner.pin = high;
        self.drive(&inner);
    }

    /// Whether the function wants its pin high.
    pub(super) fn pin(&self) -> bool {
        self.lock().pin
    }

    /// The guest has written configuration space.
    pub(super) fn enable(&self, enables: Enables) {
        let mut inner = self.lock();
        if inner.enables.msix && !enables.msix {
            inner.msix.forget();
        }
        inner.enables = enables;
        self.drive(&inner);
        self.send(&mut inner);
    }

    /// A read of the BAR of the table.
    pub(super) fn read(&self, offset: u64, size: Size) -> u64 {
        self.lock().msix.read(offset, size)
    }

    /// A write to the BAR of the table.
    pub(super) fn write(&self, offset: u64, size: Size, value: u64) {
        let mut inner = self.lock();
        inner.msix.write(offset, size, value);
        self.send(&mut inner);
    }

    /// Back to the state at power-on.
    pub(super) fn reset(&self) {
        let mut inner = self.lock();
        inner.enables = Enables::INITIAL;
        inner.pin = false;
        inner.msix.reset();
        self.drive(&inner);
    }

    /// The pin and the vectors, to save.
    pub(super) fn save(&self) -> (bool, MsixState) {
        let inner = self.lock();
        (inner.pin, inner.msix.save())
    }

    /// The vectors as they were saved, if these can be.
    pub(super) fn check(&self, saved: &MsixState) -> Option<Msix> {
        Msix::restore(self.vectors, saved)
    }

    /// Takes on a saved state.
    pub(super) fn restore(&self, enables: Enables, pin: bool, msix: Msix) {
        let mut inner = self.lock();
        *inner = Inner { enables, pin, msix };
        self.drive(&inner);
        self.send(&mut inner);
    }

    fn drive(&self, inner: &Inner) {
        let shows = inner.pin && inner.enables.intx && !inner.enables.msix;
        self.wire.set(self.device, shows);
    }

    fn send(&self, inner: &mut Inner) {
        // Under the lock: once a guest has masked a vector, no message of it comes any more.
        while let Some(message) = inner.msix.take_ready(inner.enables) {
            self.sink.signal(message.address, message.data);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

/// A panic elsewhere leaves state no worse than a guest could make it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("device", &self.device)
            .field("vectors", &self.vectors)
            .finish_non_exhaustive()
    }
}
