//! What a snapshot holds of a PL011.

use super::registers::Registers;
use super::spec::{self, Irqs, mask};

/// The registers as a guest could read them, and the input it has not read yet. The names are the
/// manual's. From a file it is untrusted: only [`Pl011::restore`](super::Pl011::restore) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pl011State {
    /// Receive FIFO, oldest first: 8 data bits, then framing, parity, break and overrun errors.
    pub rx_fifo: Vec<u16>,
    /// `UARTRSR`.
    pub rsr: u32,
    /// `UARTILPR`.
    pub ilpr: u32,
    /// `UARTIBRD`.
    pub ibrd: u32,
    /// `UARTFBRD`.
    pub fbrd: u32,
    /// `UARTLCR_H`.
    pub lcr_h: u32,
    /// `UARTCR`.
    pub cr: u32,
    /// `UARTIFLS`.
    pub ifls: u32,
    /// `UARTIMSC`.
    pub imsc: u32,
    /// `UARTRIS`.
    pub ris: u32,
    /// `UARTDMACR`.
    pub dmacr: u32,
    /// How often in a row the guest asked for the flags and did nothing else, up to 16: whether it
    /// polls for input.
    pub polls: u8,
    /// The guest is opening the port: it gets no input before it has looked at the flags.
    pub opening: bool,
}

/// A saved PL011 that no PL011 can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved PL011 has an impossible {0}")]
pub struct BadPl011State(&'static str);

impl From<&Registers> for Pl011State {
    fn from(live: &Registers) -> Self {
        let Registers {
            rx_fifo,
            rsr,
            ilpr,
            ibrd,
            fbrd,
            lcr_h,
            cr,
            ifls,
            imsc,
            ris,
            dmacr,
            polls,
            opening,
        } = live;
        Self {
            rx_fifo: rx_fifo.iter().copied().collect(),
            rsr: *rsr,
            ilpr: *ilpr,
            ibrd: *ibrd,
            fbrd: *fbrd,
            lcr_h: *lcr_h,
            cr: *cr,
            ifls: *ifls,
            imsc: imsc.bits(),
            ris: ris.bits(),
            dmacr: *dmacr,
            polls: *polls,
            opening: *opening,
        }
    }
}

impl TryFrom<&Pl011State> for Registers {
    type Error = BadPl011State;

    fn try_from(saved: &Pl011State) -> Result<Self, BadPl011State> {
        let Pl011State {
            rx_fifo,
            rsr,
            ilpr,
            ibrd,
            fbrd,
            lcr_h,
            cr,
            ifls,
            imsc,
            ris,
            dmacr,
            polls,
            opening,
        } = saved;
        if rx_fifo.len() > spec::FIFO_DEPTH || rx_fifo.iter().any(|e| e & !mask::ENTRY != 0) {
            return Err(BadPl011State("receive FIFO"));
        }
        let within = |value: u32, mask: u32, name| {
            if value & !mask == 0 {
                Ok(value)
            } else {
                Err(BadPl011State(name))
            }
        };
        Ok(Self {
            rx_fifo: rx_fifo.iter().copied().collect(),
            rsr: within(*rsr, mask::RSR, "UARTRSR")?,
            ilpr: within(*ilpr, mask::ILPR, "UARTILPR")?,
            ibrd: within(*ibrd, mask::IBRD, "UARTIBRD")?,
            fbrd: within(*fbrd, mask::FBRD, "UARTFBRD")?,
            lcr_h: within(*lcr_h, mask::LCR_H, "UARTLCR_H")?,
            cr: within(*cr, mask::CR, "UARTCR")?,
            ifls: within(*ifls, mask::IFLS, "UARTIFLS")?,
            imsc: Irqs::from_bits(*imsc).ok_or(BadPl011State("UARTIMSC"))?,
            ris: Irqs::from_bits(*ris).ok_or(BadPl011State("UARTRIS"))?,
            dmacr: within(*dmacr, mask::DMACR, "UARTDMACR")?,
            polls: (*polls).min(super::registers::POLLS),
            opening: *opening,
        })
    }
}
