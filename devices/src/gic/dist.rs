//! The distributor's frame. What belongs to SGIs and PPIs is in the redistributors; here those
//! registers read zero and ignore writes, as does whatever is not there.

use aarch64::Size;
use aarch64::gic::gicd::{
    CTLR, CTLR_ENABLE, CTLR_FIXED, IIDR, IROUTER, IROUTER_END, PIDR0_VALUE, TYPER, TYPER_VALUE,
};
use aarch64::gic::{BANKS, BankAccess, BankReg, IIDR_VALUE, id_register};

use super::Gic;

/// A routing register, whole or in halves.
#[derive(Clone, Copy)]
struct RouterAccess {
    intid: u32,
    /// Bits to the left that the access starts in the register.
    shift: u32,
    /// Bits of the register that it covers.
    mask: u64,
}

impl RouterAccess {
    fn decode(offset: u64, size: Size) -> Option<Self> {
        if !(IROUTER..IROUTER_END).contains(&offset) || !offset.is_multiple_of(size.bytes()) {
            return None;
        }
        let intid = ((offset - IROUTER) / 8) as u32;
        let shift = (offset % 8) as u32 * 8;
        match size {
            Size::W | Size::D => Some(Self {
                intid,
                shift,
                mask: size.mask() << shift,
            }),
            Size::B | Size::H => None,
        }
    }
}

impl Gic {
    /// A guest's read at `offset` of the distributor's frame.
    #[must_use]
    pub fn dist_read(&self, offset: u64, size: Size) -> u64 {
        if let Some(at) = BankAccess::decode(offset, size) {
            let bank = at.bank.checked_sub(1).and_then(|slot| self.spis.get(slot));
            return bank.map_or(0, |bank| bank.read(at).into());
        }
        if let Some(at) = RouterAccess::decode(offset, size) {
            return (self.routes.router(at.intid) & at.mask) >> at.shift;
        }
        if size != Size::W {
            return 0;
        }
        let value = match offset {
            CTLR => self.ctlr() | CTLR_FIXED,
            TYPER => TYPER_VALUE,
            IIDR => IIDR_VALUE,
            _ => id_register(offset, PIDR0_VALUE).unwrap_or(0),
        };
        value.into()
    }

    /// A guest's write at `offset` of the distributor's frame.
    pub fn dist_write(&mut self, offset: u64, size: Size, value: u64) {
        if let Some(at) = BankAccess::decode(offset, size) {
            self.write_spi_bank(at, value as u32);
        } else if let Some(at) = RouterAccess::decode(offset, size) {
            self.write_router(at, value);
        } else if offset == CTLR && size == Size::W {
            self.forwards = value as u32 & CTLR_ENABLE != 0;
            self.derive();
        }
        self.settle();
    }

    /// The writable bit of `GICD_CTLR`.
    pub(super) fn ctlr(&self) -> u32 {
        if self.forwards { CTLR_ENABLE } else { 0 }
    }

    fn write_spi_bank(&mut self, at: BankAccess, value: u32) {
        let Some(bank) = at
            .bank
            .checked_sub(1)
            .and_then(|slot| self.spis.get_mut(slot))
        else {
            return;
        };
        bank.write(at, value);
        self.refresh_bank(at.bank);
        match at.reg {
            // These reorder interrupts that stay ready.
            BankReg::Group | BankReg::Priority => self.touch_targets(at.bank, self.ready[at.bank]),
            BankReg::SetEnable
            | BankReg::ClearEnable
            | BankReg::SetPending
            | BankReg::ClearPending
            | BankReg::SetActive
            | BankReg::ClearActive
            | BankReg::Config => (),
        }
    }

    fn write_router(&mut self, at: RouterAccess, value: u64) {
        let bank = (at.intid / 32) as usize % BANKS;
        let ready = self.ready[bank] & 1 << (at.intid % 32);
        let old = self.routes.router(at.intid);
        self.touch_targets(bank, ready);
        self.routes
            .set_router(at.intid, (old & !at.mask) | (value << at.shift & at.mask));
        self.touch_targets(bank, ready);
    }
}
