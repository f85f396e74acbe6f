//! The PL011 UART: the guest's serial console.
//!
//! Models the *PrimeCell UART (PL011) Technical Reference Manual* (Arm DDI 0183), revision r1p5:
//! a receive FIFO of 32 entries, every interrupt and mask, loopback, and the identification
//! registers. Drivers of Linux, EDK2 and FreeBSD are what it is held against.
//!
//! Deliberately left out:
//! - Time. Baud rates are kept but change nothing; bytes travel at once, and so the transmit FIFO
//!   is always empty. `UARTCR`'s enable bits are kept but do not stop bytes, as on other virtual
//!   machines: small programs never set them.
//! - DMA (its register is kept), IrDA, the test registers from `0x80`, and changes of the modem
//!   lines: a terminal is connected and ready.
//!
//! Input is never lost on the way in: [`Pl011::receive`] takes what fits and says how much, and
//! the callback given to [`Pl011::on_room`] says when it is worth another try.

mod registers;
mod spec;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aarch64::Size;

use crate::bus::MmioDevice;
use crate::irq::IrqLine;
use crate::primecell;
use crate::serial::SerialSink;
use registers::Registers;
pub use state::{BadPl011State, Pl011State};

/// A PL011.
pub struct Pl011 {
    // Wiring.
    irq: IrqLine,
    on_room: Mutex<Option<Box<dyn Fn() + Send>>>,
    // State.
    inner: Mutex<Inner>,
}

struct Inner {
    registers: Registers,
    /// Under the same lock, so that the guest's bytes keep their order.
    output: Box<dyn SerialSink>,
    /// Input was refused; its source waits to be called.
    refused: bool,
    /// No input is taken: the machine stands still.
    held: bool,
}

impl Inner {
    fn room(&self) -> usize {
        if self.held { 0 } else { self.registers.room() }
    }
}

impl Pl011 {
    /// A UART after reset.
    #[must_use]
    pub fn new(irq: IrqLine, output: Box<dyn SerialSink>) -> Self {
        let inner = Inner {
            registers: Registers::default(),
            output,
            refused: false,
            held: false,
        };
        Self {
            irq,
            on_room: Mutex::new(None),
            inner: Mutex::new(inner),
        }
    }

    /// Sets what to call, on a vCPU's thread and with nothing of the UART locked, when the guest
    /// takes input again after [`Self::receive`] had refused some.
    pub fn on_room(&self, call: Box<dyn Fn() + Send>) {
        *self.on_room.lock().unwrap_or_else(PoisonError::into_inner) = Some(call);
    }

    /// How many bytes [`Self::receive`] would take now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.lock().room()
    }

    /// Takes no input, or takes it again.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
        self.call_if_room();
    }

    /// Hands input to the guest: takes as many bytes as fit and returns how many that were. If
    /// some did not fit, the callback of [`Self::on_room`] follows.
    pub fn receive(&self, input: &[u8]) -> usize {
        let mut inner = self.lock();
        let taken = input.len().min(inner.room());
        for &byte in input.iter().take(taken) {
            inner.registers.receive(u16::from(byte));
        }
        inner.refused |= taken < input.len();
        self.drive(&inner);
        taken
    }

    /// Hands a break condition to the guest (for Linux, the start of a magic `SysRq`). False, and
    /// nothing, if there is no room.
    pub fn receive_break(&self) -> bool {
        let mut inner = self.lock();
        let fits = inner.room() > 0;
        if fits {
            inner.registers.receive(spec::ENTRY_BREAK);
        }
        inner.refused |= !fits;
        self.drive(&inner);
        fits
    }

    /// Back to the state after power-on. Input that the guest did not read is gone.
    pub fn reset(&self) {
        let mut inner = self.lock();
        inner.registers = Registers::default();
        self.irq.refresh(false);
    }

    /// The state to save.
    #[must_use]
    pub fn save(&self) -> Pl011State {
        Pl011State::from(&self.lock().registers)
    }

    /// Takes on a saved state.
    ///
    /// # Errors
    /// When no PL011 can be in that state; nothing has changed then.
    pub fn restore(&self, saved: &Pl011State) -> Result<(), BadPl011State> {
        let registers = Registers::try_from(saved)?;
        let mut inner = self.lock();
        inner.registers = registers;
        self.irq.refresh(inner.registers.irq());
        drop(inner);
        self.call_if_room();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive(&self, inner: &Inner) {
        self.irq.set(inner.registers.irq());
    }

    /// Tells a source of input that waits for room that there is some.
    fn call_if_room(&self) {
        let mut inner = self.lock();
        let call = inner.refused && inner.room() > 0;
        inner.refused &= !call;
        drop(inner);
        if call && let Some(call) = &*self.on_room.lock().unwrap_or_else(PoisonError::into_inner) {
            call();
        }
    }
}

impl MmioDevice for Pl011 {
    fn read(&self, offset: u64, size: Size) -> u64 {
        let mut inner = self.lock();
        let value = primecell::read(offset, size, |at| inner.registers.read(at));
        self.drive(&inner);
        let waiting = inner.refused;
        drop(inner);
        if waiting {
            self.call_if_room();
        }
        value
    }

    fn write(&self, offset: u64, _: Size, value: u64) {
        let mut inner = self.lock();
        primecell::write(offset, value, |at, word| {
            let inner = &mut *inner;
            if let Some(byte) = inner.registers.write(at, word) {
                inner.output.put(byte);
            }
        });
        self.drive(&inner);
        let waiting = inner.refused;
        drop(inner);
        if waiting {
            self.call_if_room();
        }
    }
}

impl fmt::Debug for Pl011 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pl011")
            .field("registers", &self.lock().registers)
            .finish_non_exhaustive()
    }
}
