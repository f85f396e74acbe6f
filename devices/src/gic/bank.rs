//! 32 interrupts and their registers: the same for a vCPU's SGIs and PPIs as for any 32 SPIs.
//!
//! An interrupt is pending when its latch is set, or when it is level-sensitive and its wire is
//! high. The latch is set by a rising edge of an edge-triggered interrupt, by an SGI and by a write
//! to `ISPENDR`; acknowledging the interrupt or writing `ICPENDR` clears it.

use aarch64::Size;
use aarch64::gic::{BankAccess, BankReg, PRIORITY_MASK, from_icfgr, to_icfgr};
use aarch64::gic_state::{BankKind, GicBank};

/// A bank of interrupts.
#[derive(Clone, Debug)]
pub(super) struct Bank {
    kind: BankKind,
    regs: GicBank,
}

impl Bank {
    /// A bank at reset.
    pub(super) fn new(kind: BankKind) -> Self {
        Self::from_state(kind, kind.at_reset())
    }

    /// A bank with these registers, which hold what they can.
    pub(super) fn from_state(kind: BankKind, regs: GicBank) -> Self {
        Self { kind, regs }
    }

    /// The registers.
    pub(super) fn state(&self) -> GicBank {
        self.regs
    }

    /// Back to reset, but for the wires, which belong to the devices.
    pub(super) fn reset(&mut self) {
        let level = self.regs.level;
        *self = Self::new(self.kind);
        self.regs.level = level;
    }

    /// The group of each interrupt: set for group 1.
    pub(super) fn group(&self) -> u32 {
        self.regs.group
    }

    /// Interrupts that are pending, whether or not enabled or active.
    fn pending(&self) -> u32 {
        self.regs.latch | self.regs.level & !self.regs.edge
    }

    /// Interrupts that can be signalled while the distributor forwards them.
    pub(super) fn ready(&self) -> u32 {
        self.pending() & self.regs.enabled & !self.regs.active
    }

    /// Priority of interrupt `bit`.
    pub(super) fn priority(&self, bit: u32) -> u8 {
        self.regs.priority[(bit % 32) as usize]
    }

    /// Moves the wire of interrupt `bit`.
    pub(super) fn set_level(&mut self, bit: u32, high: bool) {
        let mask = (1 << (bit % 32)) & !self.kind.sgis();
        if high {
            self.regs.latch |= mask & self.regs.edge & !self.regs.level;
            self.regs.level |= mask;
        } else {
            self.regs.level &= !mask;
        }
    }

    /// Latches interrupt `bit`, as an SGI does.
    pub(super) fn latch(&mut self, bit: u32) {
        self.regs.latch |= 1 << (bit % 32);
    }

    /// A pulse on the wire of interrupt `bit`: an edge. A level-sensitive interrupt sees nothing
    /// of it once it is over.
    pub(super) fn pulse(&mut self, bit: u32) {
        self.regs.latch |= (1 << (bit % 32)) & self.regs.edge;
    }

    /// Interrupt `bit` is acknowledged: active, and pending only as far as its wire is high.
    pub(super) fn acknowledge(&mut self, bit: u32) {
        let mask = 1 << (bit % 32);
        self.regs.active |= mask;
        self.regs.latch &= !mask;
    }

    /// Interrupt `bit` is no longer active.
    pub(super) fn deactivate(&mut self, bit: u32) {
        self.regs.active &= !(1 << (bit % 32));
    }

    /// What a guest reads.
    pub(super) fn read(&self, at: BankAccess) -> u32 {
        match at.reg {
            BankReg::Group => self.regs.group,
            BankReg::SetEnable | BankReg::ClearEnable => self.regs.enabled,
            BankReg::SetPending | BankReg::ClearPending => self.pending(),
            BankReg::SetActive | BankReg::ClearActive => self.regs.active,
            BankReg::Priority => {
                let bytes = self.regs.priority.iter().skip(at.byte).take(width(at.size));
                bytes
                    .rev()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte))
            }
            BankReg::Config => to_icfgr(self.regs.edge >> config_shift(at)),
        }
    }

    /// What a guest writes.
    pub(super) fn write(&mut self, at: BankAccess, value: u32) {
        let regs = &mut self.regs;
        match at.reg {
            BankReg::Group => regs.group = value,
            BankReg::SetEnable => regs.enabled |= value,
            BankReg::ClearEnable => regs.enabled &= !value,
            BankReg::SetPending => regs.latch |= value,
            BankReg::ClearPending => regs.latch &= !value,
            BankReg::SetActive => regs.active |= value,
            BankReg::ClearActive => regs.active &= !value,
            BankReg::Priority => {
                let bytes = regs.priority.iter_mut().skip(at.byte);
                for (byte, new) in bytes.zip(value.to_le_bytes()).take(width(at.size)) {
                    *byte = new & PRIORITY_MASK;
                }
            }
            BankReg::Config => {
                let half = (0xffff << config_shift(at)) & self.kind.configurable();
                let edge = from_icfgr(value) << config_shift(at);
                regs.edge = (regs.edge & !half) | (edge & half);
            }
        }
    }
}

/// Bytes of an access, as far as a 32-bit register goes.
fn width(size: Size) -> usize {
    match size {
        Size::B => 1,
        Size::H => 2,
        Size::W | Size::D => 4,
    }
}

/// The first interrupt of the 16 that an `ICFGR` access covers.
fn config_shift(at: BankAccess) -> u32 {
    if at.byte < 4 { 0 } else { 16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(reg: BankReg, byte: usize, size: Size) -> BankAccess {
        BankAccess {
            reg,
            bank: 0,
            byte,
            size,
        }
    }

    fn word(reg: BankReg) -> BankAccess {
        at(reg, 0, Size::W)
    }

    #[test]
    fn level_interrupt_follows_its_wire() {
        let mut bank = Bank::new(BankKind::Spi);
        bank.write(word(BankReg::SetEnable), 1 << 3);
        bank.set_level(3, true);
        assert_eq!(bank.ready(), 1 << 3);
        bank.acknowledge(3);
        assert_eq!(bank.ready(), 0);
        assert_eq!(
            bank.read(word(BankReg::SetPending)),
            1 << 3,
            "active and pending"
        );
        bank.deactivate(3);
        assert_eq!(bank.ready(), 1 << 3, "still high: pending again");
        bank.set_level(3, false);
        assert_eq!(bank.ready(), 0);
    }

    #[test]
    fn edge_interrupt_is_latched_once_per_rising_edge() {
        let mut bank = Bank::new(BankKind::Spi);
        bank.write(word(BankReg::SetEnable), 1 << 17);
        bank.write(at(BankReg::Config, 4, Size::W), 2 << 2);
        assert_eq!(bank.read(at(BankReg::Config, 4, Size::W)), 2 << 2);
        bank.set_level(17, true);
        bank.acknowledge(17);
        bank.set_level(17, true);
        bank.deactivate(17);
        assert_eq!(bank.ready(), 0, "no new edge");
        bank.set_level(17, false);
        bank.set_level(17, true);
        assert_eq!(bank.ready(), 1 << 17);
        bank.write(word(BankReg::ClearPending), 1 << 17);
        assert_eq!(bank.ready(), 0);
    }

    #[test]
    fn software_pending_of_a_level_interrupt_ends_with_its_acknowledge() {
        let mut bank = Bank::new(BankKind::Spi);
        bank.write(word(BankReg::SetPending), 1);
        assert_eq!(bank.read(word(BankReg::ClearPending)), 1);
        bank.acknowledge(0);
        assert_eq!(bank.read(word(BankReg::ClearPending)), 0);
    }

    #[test]
    fn clearing_pending_does_not_lower_the_wire() {
        let mut bank = Bank::new(BankKind::Spi);
        bank.set_level(0, true);
        bank.write(word(BankReg::ClearPending), 1);
        assert_eq!(bank.read(word(BankReg::SetPending)), 1);
    }

    #[test]
    fn private_interrupts_keep_their_trigger_and_sgis_have_no_wire() {
        let mut bank = Bank::new(BankKind::Private);
        bank.write(word(BankReg::Config), 0);
        assert_eq!(bank.read(word(BankReg::Config)), 0xaaaa_aaaa);
        bank.write(at(BankReg::Config, 4, Size::W), 0xffff_ffff);
        assert_eq!(bank.read(at(BankReg::Config, 4, Size::W)), 0);
        bank.set_level(5, true);
        assert_eq!(bank.read(word(BankReg::SetPending)), 0);
    }

    #[test]
    fn priorities_keep_five_bits_and_take_bytes_and_words() {
        let mut bank = Bank::new(BankKind::Spi);
        bank.write(at(BankReg::Priority, 4, Size::W), 0x1234_56ff);
        assert_eq!(bank.read(at(BankReg::Priority, 4, Size::W)), 0x1030_50f8);
        bank.write(at(BankReg::Priority, 6, Size::B), 0xaaff);
        assert_eq!(bank.read(at(BankReg::Priority, 6, Size::B)), 0xf8);
        assert_eq!(bank.read(at(BankReg::Priority, 4, Size::W)), 0x10f8_50f8);
        assert_eq!(bank.priority(6), 0xf8);
    }
}
