//! The PL061 GPIO: eight lines, one of which is the power button.
//!
//! Models the *PrimeCell General Purpose Input/Output (PL061) Technical Reference Manual* (Arm DDI
//! 0190): directions, the data register with its mask in the address, and interrupts by level or
//! edge.
//!
//! Deliberately left out: what the alternate functions of `GPIOAFSEL` would do (it is kept), and
//! the outside of the lines the guest drives: nothing is connected to them.

mod registers;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aarch64::Size;

use crate::bus::MmioDevice;
use crate::clock::Alarm;
use crate::irq::IrqLine;
use crate::primecell;
use registers::Registers;
pub use state::Pl061State;

/// How long [`Pl061::press`] holds a key. Guests wait some milliseconds for it to stop bouncing
/// and then look whether it is still down.
const KEY_PRESS: Duration = Duration::from_millis(100);

/// A PL061.
pub struct Pl061 {
    // Wiring.
    irq: IrqLine,
    alarm: Arc<dyn Alarm>,
    // State.
    inner: Mutex<Inner>,
}

struct Inner {
    registers: Registers,
    /// Lines that [`Pl061::press`] holds high until the alarm rings.
    pressed: u8,
}

impl Pl061 {
    /// A GPIO with every line an input, and low. When `alarm` rings, [`Self::on_alarm`] is to be
    /// called.
    #[must_use]
    pub fn new(irq: IrqLine, alarm: Arc<dyn Alarm>) -> Self {
        let inner = Inner {
            registers: Registers::default(),
            pressed: 0,
        };
        Self {
            irq,
            alarm,
            inner: Mutex::new(inner),
        }
    }

    /// Drives a line from outside. Lines from 8 do not exist.
    pub fn set_input(&self, line: u32, high: bool) {
        let mut inner = self.lock();
        let input = inner.registers.input;
        inner.registers.set_input(if high {
            input | bit(line)
        } else {
            input & !bit(line)
        });
        self.irq.set(inner.registers.irq());
    }

    /// Presses the key on a line, and lets it go when the alarm rings.
    pub fn press(&self, line: u32) {
        let mut inner = self.lock();
        let input = inner.registers.input | bit(line);
        inner.pressed |= bit(line);
        inner.registers.set_input(input);
        self.irq.set(inner.registers.irq());
        self.alarm.arm(Some(KEY_PRESS));
    }

    /// Lets go of what was pressed.
    pub fn on_alarm(&self) {
        let mut inner = self.lock();
        let pressed = std::mem::take(&mut inner.pressed);
        let input = inner.registers.input & !pressed;
        inner.registers.set_input(input);
        self.irq.set(inner.registers.irq());
    }

    /// Back to the state after power-on. What drives the lines from outside stays.
    pub fn reset(&self) {
        let mut inner = self.lock();
        let input = inner.registers.input;
        inner.registers = Registers {
            input,
            ..Registers::default()
        };
        self.irq.refresh(inner.registers.irq());
    }

    /// The state to save. Keys that are down count as let go.
    #[must_use]
    pub fn save(&self) -> Pl061State {
        let inner = self.lock();
        let mut registers = inner.registers;
        registers.set_input(registers.input & !inner.pressed);
        Pl061State::from(registers)
    }

    /// Takes on a saved state.
    pub fn restore(&self, saved: Pl061State) {
        let mut inner = self.lock();
        inner.registers = Registers::from(saved);
        inner.pressed = 0;
        self.irq.refresh(inner.registers.irq());
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit of a line, 0 for one that does not exist.
fn bit(line: u32) -> u8 {
    if line < u32::from(spec::LINES) {
        1 << line
    } else {
        0
    }
}

impl MmioDevice for Pl061 {
    fn read(&self, offset: u64, size: Size) -> u64 {
        primecell::read(offset, size, |at| self.lock().registers.read(at))
    }

    fn write(&self, offset: u64, _: Size, value: u64) {
        let mut inner = self.lock();
        primecell::write(offset, value, |at, word| inner.registers.write(at, word));
        self.irq.set(inner.registers.irq());
    }
}

impl fmt::Debug for Pl061 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pl061")
            .field("registers", &self.lock().registers)
            .finish_non_exhaustive()
    }
}
