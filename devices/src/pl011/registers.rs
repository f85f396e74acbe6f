//! The behaviour of a PL011, without locks, wires or a host.

use std::collections::VecDeque;

use super::spec::{self, Flags, Irqs, mask, reg};

/// So many reads of `UARTFR` in a row, with no data read or written in between, are a guest that
/// polls for input. One that waits to send writes data after two at most.
pub(super) const POLLS: u8 = 16;

/// The registers and the receive FIFO. There is no transmit FIFO: what is sent is gone at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub rx_fifo: VecDeque<u16>,
    pub rsr: u32,
    pub ilpr: u32,
    pub ibrd: u32,
    pub fbrd: u32,
    pub lcr_h: u32,
    pub cr: u32,
    pub ifls: u32,
    pub imsc: Irqs,
    pub ris: Irqs,
    pub dmacr: u32,
    pub polls: u8,
    /// The guest is opening the port, and may yet throw away what the FIFO holds.
    pub opening: bool,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            rx_fifo: VecDeque::with_capacity(spec::FIFO_DEPTH),
            rsr: 0,
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            cr: spec::CR_RESET,
            ifls: spec::IFLS_RESET,
            imsc: Irqs::empty(),
            ris: Irqs::empty(),
            dmacr: 0,
            polls: 0,
            opening: false,
        }
    }
}

impl Registers {
    /// Level of the combined interrupt output.
    pub fn irq(&self) -> bool {
        self.ris.intersects(self.imsc)
    }

    /// How many bytes of input the guest is ready to take.
    ///
    /// A real sender cannot know; this one can, and holds back while nobody listens, as with
    /// hardware flow control. Drivers empty the FIFO when they open the port (Linux reads it dry),
    /// and input that a person or a pipe sent earlier would be lost. A guest listens when it has
    /// unmasked a receive interrupt or polls. Linux unmasks twice, though: it clears and unmasks the
    /// receive interrupts, masks them for a while, clears them again, empties the FIFO and unmasks
    /// for good. So who clears them while they are masked is opening the port, until it looks at
    /// the flags (Linux does to empty the FIFO) or sends something.
    pub fn room(&self) -> usize {
        let unmasked = self.receive_unmasked() && !self.opening;
        let listens = unmasked || self.polls >= POLLS;
        if listens {
            self.depth().saturating_sub(self.rx_fifo.len())
        } else {
            0
        }
    }

    fn receive_unmasked(&self) -> bool {
        self.imsc.intersects(Irqs::RECEIVE)
    }

    /// Takes one received entry. One that finds the FIFO full is lost and marks the next.
    pub fn receive(&mut self, entry: u16) {
        if self.rx_fifo.len() >= self.depth() {
            self.ris |= Irqs::OVERRUN;
            self.rsr |= u32::from(spec::ENTRY_OVERRUN >> 8);
            return;
        }
        self.rx_fifo.push_back(entry & mask::ENTRY);
        if entry & spec::ENTRY_BREAK != 0 {
            self.ris |= Irqs::BREAK;
        }
        if self.rx_fifo.len() >= self.rx_trigger() {
            self.ris |= Irqs::RX;
        }
        self.silence();
    }

    pub fn read(&mut self, offset: u16) -> u32 {
        match offset {
            reg::DR => return self.pop(),
            reg::FR => return self.flags(),
            _ => {}
        }
        match offset {
            reg::RSR_ECR => self.rsr,
            reg::ILPR => self.ilpr,
            reg::IBRD => self.ibrd,
            reg::FBRD => self.fbrd,
            reg::LCR_H => self.lcr_h,
            reg::CR => self.cr,
            reg::IFLS => self.ifls,
            reg::IMSC => self.imsc.bits(),
            reg::RIS => self.ris.bits(),
            reg::MIS => (self.ris & self.imsc).bits(),
            reg::DMACR => self.dmacr,
            _ => spec::ID.register(offset).unwrap_or(0),
        }
    }

    /// A store. The byte it sends, if it sends one.
    pub fn write(&mut self, offset: u16, value: u32) -> Option<u8> {
        match offset {
            reg::DR => return self.send(value.to_le_bytes()[0]),
            reg::RSR_ECR => self.rsr = 0,
            reg::ILPR => self.ilpr = value & mask::ILPR,
            reg::IBRD => self.ibrd = value & mask::IBRD,
            reg::FBRD => self.fbrd = value & mask::FBRD,
            reg::LCR_H => self.lcr_h = value & mask::LCR_H,
            reg::CR => self.cr = value & mask::CR,
            reg::IFLS => self.ifls = value & mask::IFLS,
            reg::IMSC => {
                self.imsc = Irqs::from_bits_truncate(value);
                self.polls = 0;
            }
            reg::ICR => self.clear(Irqs::from_bits_truncate(value)),
            reg::DMACR => self.dmacr = value & mask::DMACR,
            _ => {}
        }
        None
    }

    fn clear(&mut self, irqs: Irqs) {
        self.ris -= irqs;
        self.opening |= irqs.intersects(Irqs::RECEIVE) && !self.receive_unmasked();
    }

    fn depth(&self) -> usize {
        if self.fifos_on() { spec::FIFO_DEPTH } else { 1 }
    }

    fn fifos_on(&self) -> bool {
        self.lcr_h & spec::LCR_FEN != 0
    }

    fn rx_trigger(&self) -> usize {
        if self.fifos_on() {
            spec::rx_trigger(self.ifls)
        } else {
            1
        }
    }

    /// The transmitter is always done: it feeds the host or, in loopback, the receiver.
    fn send(&mut self, byte: u8) -> Option<u8> {
        self.opening = false;
        if self.polls < POLLS {
            self.polls = 0;
        }
        self.ris |= Irqs::TX;
        if self.cr & spec::CR_LBE == 0 {
            return Some(byte);
        }
        self.receive(u16::from(byte));
        None
    }

    fn pop(&mut self) -> u32 {
        if self.polls < POLLS {
            self.polls = 0;
        }
        let entry = self.rx_fifo.pop_front().unwrap_or(0);
        // Only framing, parity and break belong to the entry; an overrun stays until cleared.
        self.rsr = (self.rsr & u32::from(spec::ENTRY_OVERRUN >> 8)) | u32::from(entry >> 8);
        if self.rx_fifo.len() < self.rx_trigger() {
            self.ris -= Irqs::RX;
        }
        self.silence();
        u32::from(entry) | (self.rsr << 8)
    }

    fn flags(&mut self) -> u32 {
        self.opening = false;
        // A terminal is connected and ready, and all output has left.
        let mut flags = Flags::CTS | Flags::DSR | Flags::DCD | Flags::TX_EMPTY;
        flags.set(Flags::RX_EMPTY, self.rx_fifo.is_empty());
        flags.set(Flags::RX_FULL, self.rx_fifo.len() >= self.depth());
        self.polls = (self.polls + 1).min(POLLS);
        flags.bits()
    }

    /// The receive timeout: input waits, and for 32 bit times no more came. Host input comes in
    /// bursts without a bit clock, so that time is over as soon as it starts.
    fn silence(&mut self) {
        self.ris.set(Irqs::RX_TIMEOUT, !self.rx_fifo.is_empty());
    }
}
