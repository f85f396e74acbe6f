//! Registers of the PL011, chapter 3 of its manual.

use bitflags::bitflags;

use crate::primecell::PeriphId;

/// Revision r1p5, the first with FIFOs of 32 entries.
pub(crate) const ID: PeriphId = PeriphId {
    part: 0x011,
    revision: 3,
};

/// Entries of the receive FIFO.
pub(crate) const FIFO_DEPTH: usize = 32;

/// Register offsets (table 3-1).
pub(crate) mod reg {
    pub(crate) const DR: u16 = 0x00;
    pub(crate) const RSR_ECR: u16 = 0x04;
    pub(crate) const FR: u16 = 0x18;
    pub(crate) const ILPR: u16 = 0x20;
    pub(crate) const IBRD: u16 = 0x24;
    pub(crate) const FBRD: u16 = 0x28;
    pub(crate) const LCR_H: u16 = 0x2c;
    pub(crate) const CR: u16 = 0x30;
    pub(crate) const IFLS: u16 = 0x34;
    pub(crate) const IMSC: u16 = 0x38;
    pub(crate) const RIS: u16 = 0x3c;
    pub(crate) const MIS: u16 = 0x40;
    pub(crate) const ICR: u16 = 0x44;
    pub(crate) const DMACR: u16 = 0x48;
}

/// Bits that registers keep; the others read as zero.
pub(crate) mod mask {
    pub(crate) const RSR: u32 = 0xf;
    pub(crate) const ILPR: u32 = 0xff;
    pub(crate) const IBRD: u32 = 0xffff;
    pub(crate) const FBRD: u32 = 0x3f;
    pub(crate) const LCR_H: u32 = 0xff;
    pub(crate) const CR: u32 = 0xff87;
    pub(crate) const IFLS: u32 = 0x3f;
    pub(crate) const DMACR: u32 = 0x7;
    /// A receive FIFO entry: 8 data bits, then framing, parity, break and overrun errors.
    pub(crate) const ENTRY: u16 = 0xfff;
}

/// `UARTCR` after reset: transmitter and receiver on, the UART itself off.
pub(crate) const CR_RESET: u32 = 0x300;
/// `UARTCR`: output is fed back into the input.
pub(crate) const CR_LBE: u32 = 1 << 7;
/// `UARTIFLS` after reset: both FIFOs at half.
pub(crate) const IFLS_RESET: u32 = 0x12;
/// `UARTLCR_H`: the FIFOs are on.
pub(crate) const LCR_FEN: u32 = 1 << 4;
/// A FIFO entry: a break was received.
pub(crate) const ENTRY_BREAK: u16 = 1 << 10;
/// A FIFO entry: what came before it was lost.
pub(crate) const ENTRY_OVERRUN: u16 = 1 << 11;

bitflags! {
    /// `UARTFR`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Flags: u32 {
        const CTS = 1 << 0;
        const DSR = 1 << 1;
        const DCD = 1 << 2;
        const RX_EMPTY = 1 << 4;
        const RX_FULL = 1 << 6;
        const TX_EMPTY = 1 << 7;
    }

    /// Interrupts, in `UARTIMSC`, `UARTRIS`, `UARTMIS` and `UARTICR`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Irqs: u32 {
        const RI = 1 << 0;
        const CTS = 1 << 1;
        const DCD = 1 << 2;
        const DSR = 1 << 3;
        const RX = 1 << 4;
        const TX = 1 << 5;
        const RX_TIMEOUT = 1 << 6;
        const FRAMING = 1 << 7;
        const PARITY = 1 << 8;
        const BREAK = 1 << 9;
        const OVERRUN = 1 << 10;
        /// That there is input.
        const RECEIVE = Self::RX.bits() | Self::RX_TIMEOUT.bits();
    }
}

/// How many entries raise the receive interrupt, for `UARTIFLS` bits 5:3. The values from 5 are
/// reserved and act as 4.
pub(crate) fn rx_trigger(ifls: u32) -> usize {
    const EIGHTHS: [usize; 8] = [1, 2, 4, 6, 7, 7, 7, 7];
    let field = ifls >> 3 & 7;
    FIFO_DEPTH / 8 * EIGHTHS[usize::try_from(field).unwrap_or(0)]
}
