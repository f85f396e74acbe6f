//! The one interrupt of a slot: a level that is high while a cause is not acknowledged. Device
//! trees call it edge-triggered, as QEMU's do, so it falls at each acknowledgement.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::host::Interrupt;
use super::spec::{CONFIG_CHANGED, USED};
use crate::irq::IrqLine;

/// `InterruptStatus` and its wire.
#[derive(Debug)]
pub(super) struct SlotInterrupt {
    line: IrqLine,
    causes: Mutex<u32>,
}

impl SlotInterrupt {
    pub fn new(line: IrqLine) -> Self {
        let causes = Mutex::new(0);
        Self { line, causes }
    }

    pub fn causes(&self) -> u32 {
        *self.lock()
    }

    pub fn acknowledge(&self, causes: u32) {
        let mut now = self.lock();
        *now &= !causes;
        self.line.set(false);
        // The input may be edge-triggered: what came meanwhile and was not acknowledged is an edge.
        self.line.set(*now != 0);
    }

    /// Replaces the causes, and drives the wire whatever it was.
    pub fn set(&self, causes: u32) {
        let mut now = self.lock();
        *now = causes & (USED | CONFIG_CHANGED);
        self.line.refresh(*now != 0);
    }

    fn raise(&self, cause: u32) {
        let mut now = self.lock();
        *now |= cause;
        // The lock is held while the wire is driven, so that two threads cannot swap their order.
        self.line.set(true);
    }

    fn lock(&self) -> MutexGuard<'_, u32> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Interrupt for SlotInterrupt {
    fn used(&self, _: u16) {
        self.raise(USED);
    }

    fn config_changed(&self) {
        self.raise(CONFIG_CHANGED);
    }
}
