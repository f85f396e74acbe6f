//! Maintenance of TLBs, caches and decoded code, and address translation instructions.
//!
//! There are no data caches to maintain: `DC` instructions only check their address. Decoded code
//! takes the place of the instruction cache, so `IC` drops it. What other CPUs have to forget goes
//! into an outbox and is posted at the next `DSB`, which is when the architecture wants it done.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use aarch64::cpu_model::ZVA_BYTES;
use aarch64::{Gpa, PAGE_SIZE, Saved};
use memory::Mode;

use crate::cluster::{Mail, Request};
use crate::cpu::{Cpu, Stop};
use crate::mem::Direction;
use crate::system::{DZE, UCI};
use crate::walk::Regime;

/// Requests that are collected before they are posted without waiting for a `DSB`.
const MOST_POSTS: usize = 32;

/// Decoded code that has to go.
#[derive(Debug, Default)]
pub(crate) struct StaleCode {
    /// All of it.
    pub all: bool,
    /// Pages, by an address in each.
    pub pages: Vec<Gpa>,
}

impl StaleCode {
    pub fn is_empty(&self) -> bool {
        !self.all && self.pages.is_empty()
    }

    fn push(&mut self, gpa: Gpa) {
        let page = gpa.align_down(PAGE_SIZE);
        if self.pages.last() == Some(&page) {
            return;
        }
        if self.pages.len() < MOST_POSTS {
            self.pages.push(page);
        } else {
            self.all = true;
        }
    }
}

/// Which TLB entries a `TLBI` concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of them.
    Everything,
    /// Those of an ASID.
    Asid,
    /// Those of an address and an ASID.
    Address,
    /// Those of an address, whatever the ASID.
    AddressAllAsids,
}

/// Virtual page number in the operand of a `TLBI` by address: bits 55:12 of the address.
fn operand_page(operand: u64) -> u64 {
    (((operand << 20) as i64 >> 8) as u64) >> 12
}

impl Cpu {
    /// `TLBI`, on this CPU only or on all.
    pub(crate) fn invalidate_tlb(
        &mut self,
        scope: Scope,
        broadcast: bool,
        operand: u64,
    ) -> Result<(), Stop> {
        self.check_el1()?;
        let asid = (operand >> 48) as u16;
        let page = operand_page(operand);
        let request = match scope {
            Scope::Everything => Request::Everything,
            Scope::Asid => Request::Asid(asid),
            Scope::Address => Request::Page {
                page,
                asid: Some(asid),
            },
            Scope::AddressAllAsids => Request::Page { page, asid: None },
        };
        self.forget(request);
        if broadcast {
            self.post(request);
        }
        Ok(())
    }

    /// `IC IALLU` and `IC IALLUIS`
    pub(crate) fn invalidate_all_code(&mut self, broadcast: bool) -> Result<(), Stop> {
        self.check_el1()?;
        self.forget(Request::AllCode);
        if broadcast {
            self.post(Request::AllCode);
        }
        Ok(())
    }

    /// `IC IVAU`
    pub(crate) fn invalidate_code(&mut self, va: u64) -> Result<(), Stop> {
        self.check_el0(UCI)?;
        let gpa = self.maintain(va)?;
        self.forget(Request::Code(gpa));
        self.post(Request::Code(gpa.align_down(PAGE_SIZE)));
        Ok(())
    }

    /// `DC` by address, other than `DC ZVA`.
    pub(crate) fn maintain_data(&mut self, va: u64) -> Result<(), Stop> {
        self.check_el0(UCI)?;
        self.maintain(va).map(|_| ())
    }

    /// Translates for maintenance, which PAN does not concern.
    fn maintain(&mut self, va: u64) -> Result<Gpa, Stop> {
        let mode = if self.el() == 0 {
            Mode::User
        } else {
            Mode::Kernel
        };
        let gpa = self
            .with_mode(mode, |cpu| cpu.translate(va, Direction::Maintain))?
            .gpa;
        match self.stage2_fault_of_maintenance(va, gpa) {
            Some(stop) => Err(stop),
            None => Ok(gpa),
        }
    }

    /// `DC ZVA`
    pub(crate) fn zero_block(&mut self, va: u64) -> Result<(), Stop> {
        self.check_el0(DZE)?;
        let start = va & !(ZVA_BYTES - 1);
        if self.frames.atomic::<u64, true>(start).is_none() {
            let t = self.reach(va, 1, Direction::Write)?;
            if t.grant.device {
                return Err(self.alignment_fault(va, Direction::Write));
            }
        }
        for i in 0..ZVA_BYTES / 8 {
            self.write::<u64>(start.wrapping_add(8 * i), 0)?;
        }
        Ok(())
    }

    /// `AT S1E1R` and the like: the result goes to `PAR_EL1`.
    pub(crate) fn translate_to_par(
        &mut self,
        va: u64,
        mode: Mode,
        direction: Direction,
    ) -> Result<(), Stop> {
        self.check_el1()?;
        let result = self.with_mode(mode, |cpu| cpu.look_up_address(va, direction));
        self.hypervised.missing = None;
        // Bit 11 is RES1.
        self.sys[Saved::ParEl1] = match result {
            Ok(t) => {
                let (attributes, shareability) = if t.grant.device { (0, 2) } else { (0xff, 3) };
                attributes << 56 | t.gpa.0 & !0xfff | 1 << 11 | shareability << 7
            }
            Err(fault) => 1 << 11 | u64::from(fault.0) << 1 | 1,
        };
        Ok(())
    }

    /// `DSB`: what was posted is done everywhere afterwards.
    pub(crate) fn synchronize(&mut self) {
        fence(Ordering::SeqCst);
        if !self.outbox.is_empty() {
            self.flush_outbox();
        }
    }

    /// Has the other CPUs forget what is in the outbox.
    #[cold]
    fn flush_outbox(&mut self) {
        let mut requests = std::mem::take(&mut self.outbox);
        let cluster = Arc::clone(&self.cluster);
        let from = self.index;
        cluster.broadcast(from, &requests, || {
            if self.seat().has_mail() {
                self.read_mail();
            }
        });
        requests.clear();
        self.outbox = requests;
    }

    fn post(&mut self, request: Request) {
        if self.cluster.count() < 2 || self.outbox.last() == Some(&request) {
            return;
        }
        if self.outbox.len() >= MOST_POSTS {
            self.flush_outbox();
        }
        self.outbox.push(request);
    }

    /// Does what other CPUs asked for.
    #[cold]
    pub(crate) fn read_mail(&mut self) {
        let empty: Mail = std::mem::take(&mut self.spare_mail);
        let mail = self.seat().take_mail(empty);
        if mail.overflow {
            self.forget(Request::Everything);
            self.forget(Request::AllCode);
        } else {
            for request in &mail.requests {
                self.forget(*request);
            }
        }
        self.seat().finish(&mail);
        self.spare_mail = mail;
    }

    /// Forgets translations or code on this CPU.
    fn forget(&mut self, request: Request) {
        match request {
            Request::Everything => self.flush_translations(),
            Request::Asid(asid) => {
                self.tlb.clear_asid(asid);
                self.frames.clear_space(asid);
                if self.tlb.may_be_code_of(asid) {
                    self.outdate_code();
                }
            }
            Request::Page { page, asid } => self.forget_page(page, asid),
            Request::Code(gpa) => {
                self.stale_code.push(gpa);
                self.look_up_soon();
            }
            Request::AllCode => {
                self.stale_code.all = true;
                self.look_up_soon();
            }
        }
    }

    fn forget_page(&mut self, page: u64, asid: Option<u16>) {
        if self.tlb.evict_block(page) {
            self.frames.clear();
            self.outdate_code();
        }
        let high = page >> 43 & 1 == 1;
        let pages = 1 << (Regime::granule(self.sys[Saved::TcrEl1], high) - 12);
        let first = page & !(pages - 1);
        let mut code = false;
        for page in first..first.saturating_add(pages) {
            self.tlb.evict(page, asid);
            self.frames.evict(page.wrapping_mul(PAGE_SIZE));
            code |= self.tlb.may_be_code(page);
        }
        if code {
            self.outdate_code();
        }
    }

    /// Runs something with other access rights.
    fn with_mode<R>(&mut self, mode: Mode, f: impl FnOnce(&mut Self) -> R) -> R {
        let before = self.access_mode;
        self.set_access_mode(mode);
        let result = f(self);
        self.set_access_mode(before);
        result
    }

    /// Moves to another layout of guest memory.
    pub fn set_layout(&mut self, layout: Arc<memory::Layout>) {
        self.frames.set_layout(layout);
        self.flush_all();
    }

    /// Forgets all translations and all decoded code: the owner changed guest memory.
    pub fn flush_all(&mut self) {
        self.forget(Request::Everything);
        self.forget(Request::AllCode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_name_pages_of_both_halves() {
        assert_eq!(operand_page(0x0007_0000_0001_2345), 0x1_2345);
        let high = 0xffff_8000_1234_5678_u64;
        assert_eq!(
            operand_page(high >> 12 & 0xfff_ffff_ffff | 7 << 48),
            high >> 12
        );
    }
}
