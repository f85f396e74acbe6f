//! The PL031 real-time clock: the date, and an alarm at a given second.
//!
//! Models the *PrimeCell Real Time Clock (PL031) Technical Reference Manual* (Arm DDI 0224). The
//! counter follows the wall clock of its [`Clock`] plus what the guest loaded, also while the guest
//! does not run; it is set and running after reset, as if a battery had kept it.
//!
//! Deliberately left out: stopping the clock (`RTCCR` reads as started, as hardware that was
//! started once does) and the test registers from `0x80`.

mod registers;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Size;

use crate::bus::MmioDevice;
use crate::clock::{Alarm, Clock};
use crate::irq::IrqLine;
use crate::primecell;
use registers::Registers;
pub use state::Pl031State;

/// A PL031.
pub struct Pl031 {
    // Wiring.
    irq: IrqLine,
    clock: Arc<dyn Clock>,
    alarm: Arc<dyn Alarm>,
    // State.
    registers: Mutex<Registers>,
}

impl Pl031 {
    /// A clock that shows the time of `clock`. When `alarm` rings, [`Self::on_alarm`] is to be
    /// called.
    #[must_use]
    pub fn new(irq: IrqLine, clock: Arc<dyn Clock>, alarm: Arc<dyn Alarm>) -> Self {
        let registers = Mutex::new(Registers::new(clock.wall()));
        Self {
            irq,
            clock,
            alarm,
            registers,
        }
    }

    /// Looks at the clock, interrupts the guest if it is time to, and arms the alarm if not.
    pub fn on_alarm(&self) {
        let mut registers = self.lock();
        registers.advance(self.clock.wall());
        self.drive(&registers);
    }

    /// Back to the state after power-on, with the time of the host.
    pub fn reset(&self) {
        let mut registers = self.lock();
        *registers = Registers::new(self.clock.wall());
        self.irq.refresh(registers.irq());
        self.alarm.arm(None);
    }

    /// The state to save.
    #[must_use]
    pub fn save(&self) -> Pl031State {
        Pl031State::from(*self.lock())
    }

    /// Takes on a saved state exactly. Time goes on with [`Self::on_alarm`], to be called when the
    /// guest does: an alarm that was due in between rings then.
    pub fn restore(&self, saved: Pl031State) {
        let mut registers = self.lock();
        *registers = Registers::from(saved);
        self.irq.refresh(registers.irq());
    }

    fn lock(&self) -> MutexGuard<'_, Registers> {
        self.registers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, registers: &Registers) {
        self.irq.set(registers.irq());
        self.alarm.arm(registers.alarm(self.clock.wall()));
    }
}

impl MmioDevice for Pl031 {
    fn read(&self, offset: u64, size: Size) -> u64 {
        let mut registers = self.lock();
        let wall = self.clock.wall();
        registers.advance(wall);
        self.irq.set(registers.irq());
        primecell::read(offset, size, |at| registers.read(at, wall))
    }

    fn write(&self, offset: u64, _: Size, value: u64) {
        let mut registers = self.lock();
        let wall = self.clock.wall();
        registers.advance(wall);
        primecell::write(offset, value, |at, word| registers.write(at, word, wall));
        self.drive(&registers);
    }
}

impl fmt::Debug for Pl031 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pl031")
            .field("registers", &*self.lock())
            .finish_non_exhaustive()
    }
}
