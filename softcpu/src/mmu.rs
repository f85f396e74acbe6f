//! Stage-1 translation: who may reach what, through the TLB or by a walk.
//!
//! Three caches lie in front of a walk: the frame cache (one for each [`Mode`], not tagged with
//! ASIDs), the TLB, and the interpreter's jump cache, which is keyed by [`Cpu::context`]. Every
//! change of a register they depend on comes by here.

use std::cell::Cell;

use aarch64::syndrome::Ec;
use aarch64::{Gpa, PAGE_SIZE, Saved, pstate};
use memory::{Grant, Mode};

use crate::cpu::{Cpu, Stop};
use crate::mem::{Direction, Translation};
use crate::walk::{Fault, Leaf, Regime};

/// `SCTLR_EL1.M`
const MMU_ON: u64 = 1 << 0;
/// `SCTLR_EL1.A`
const ALIGNMENT_CHECK: u64 = 1 << 1;
/// `SCTLR_EL1.WXN`
const WXN: u64 = 1 << 19;

impl Cpu {
    /// Where a virtual address leads for an access in the current mode.
    pub(crate) fn translate(&mut self, va: u64, direction: Direction) -> Result<Translation, Stop> {
        match self.look_up_address(va, direction) {
            Ok(translation) => Ok(translation),
            Err(fault) => Err(match self.stage2_fault_of_walk(va, direction) {
                Some(stop) => stop,
                None => self.translation_abort(va, direction, fault),
            }),
        }
    }

    /// Physical address of the instruction at the PC.
    pub(crate) fn fetch_address(&mut self) -> Result<Gpa, Stop> {
        // Branches drop the tag of their target; doing it here spares every branch the check.
        self.pc = Regime::untagged(self.sys[Saved::TcrEl1], self.pc);
        if self.pstate & pstate::IL != 0 {
            return Err(self.raise(Ec::IllegalState, 0, None));
        }
        if !self.pc.is_multiple_of(4) {
            return Err(self.raise(Ec::PcAlignment, 0, Some(self.pc)));
        }
        Ok(self.translate(self.pc, Direction::Execute)?.gpa)
    }

    /// The CPU is about to run guest code: it reads its mail first.
    pub(crate) fn enter_guest(&mut self) {
        if self.seat().announce_asid(self.asid()) {
            self.read_mail();
        }
    }

    /// The CPU runs no guest code for now.
    pub(crate) fn leave_guest(&mut self) {
        self.seat().announce_absence();
    }

    /// As [`Self::translate`], without raising the fault.
    pub(crate) fn look_up_address(
        &mut self,
        va: u64,
        direction: Direction,
    ) -> Result<Translation, Fault> {
        let tcr = self.sys[Saved::TcrEl1];
        let va = Regime::untagged(tcr, va);
        if self.sys[Saved::SctlrEl1] & MMU_ON == 0 {
            return flat(va, direction);
        }
        let page = va / PAGE_SIZE;
        let asid = self.asid();
        let cached = self.tlb.find(page, asid);
        let mut leaf = match cached {
            Some(leaf) => leaf,
            None => self.walk(va, asid)?,
        };
        if !self.allows(leaf, direction) {
            if cached.is_some() {
                // The tables may allow more by now; hardware would often have dropped the entry.
                leaf = self.walk(va, asid)?;
            }
            if !self.allows(leaf, direction) {
                return Err(Fault::permission(leaf.level.into()));
            }
        }
        if direction == Direction::Execute {
            self.tlb.note_code(page);
            if self.el() == 0 || !leaf.is_global() {
                self.tlb.note_code_of(asid);
            }
            if self.el() != 0 {
                self.note_kernel_code(leaf);
            }
        }
        Ok(Translation {
            gpa: Gpa(leaf.frame * PAGE_SIZE + va % PAGE_SIZE),
            grant: self.grant(leaf),
        })
    }

    /// Walks the tables and keeps the result.
    fn walk(&mut self, va: u64, asid: u16) -> Result<Leaf, Fault> {
        let regime = Regime {
            tcr: self.sys[Saved::TcrEl1],
            ttbr: [self.sys[Saved::Ttbr0El1], self.sys[Saved::Ttbr1El1]],
            mair: self.sys[Saved::MairEl1],
            write_implies_no_execute: self.sys[Saved::SctlrEl1] & WXN != 0,
        };
        let missing = Cell::new(None);
        let layout = self.frames.layout();
        let leaf = regime.walk(va, |gpa| {
            let descriptor = layout.load_u64(gpa);
            if descriptor.is_none() {
                missing.set(Some(gpa));
            }
            descriptor
        });
        self.hypervised.missing = missing.get();
        let leaf = leaf?;
        if leaf.is_global() && va >> 55 & 1 == 0 {
            self.seat().set_global_low(true);
        }
        self.tlb.insert(va / PAGE_SIZE, asid, leaf);
        Ok(leaf)
    }

    /// Code that EL1 runs may be shared by all address spaces or belong to this one.
    fn note_kernel_code(&mut self, leaf: Leaf) {
        if !leaf.is_global() && !self.runs_private_code {
            self.runs_private_code = true;
            self.refresh();
        }
    }

    fn allows(&self, leaf: Leaf, direction: Direction) -> bool {
        let user = self.access_mode == Mode::User;
        match direction {
            Direction::Execute if self.el() == 0 => leaf.has(Leaf::EL0_EXEC),
            Direction::Execute => leaf.has(Leaf::EL1_EXEC),
            Direction::Maintain => !user || leaf.has(Leaf::EL0_READ),
            Direction::Read => self.grant(leaf).readable,
            Direction::Write | Direction::Update => self.grant(leaf).writable,
        }
    }

    /// What the current mode may do with a leaf.
    fn grant(&self, leaf: Leaf) -> Grant {
        let user = leaf.has(Leaf::EL0_READ);
        let (readable, writable) = match self.access_mode {
            Mode::User => (user, leaf.has(Leaf::EL0_WRITE)),
            Mode::Kernel => (true, leaf.has(Leaf::EL1_WRITE)),
            Mode::KernelPan => (!user, !user && leaf.has(Leaf::EL1_WRITE)),
        };
        Grant {
            readable,
            writable,
            global: leaf.is_global(),
            device: leaf.has(Leaf::DEVICE),
        }
    }

    /// The ASID in use (`TCR_EL1.A1`, `TCR_EL1.AS`).
    pub(crate) fn asid(&self) -> u16 {
        let tcr = self.sys[Saved::TcrEl1];
        let ttbr = if tcr >> 22 & 1 == 0 {
            Saved::Ttbr0El1
        } else {
            Saved::Ttbr1El1
        };
        let asid = (self.sys[ttbr] >> 48) as u16;
        if tcr >> 36 & 1 == 0 {
            asid & 0xff
        } else {
            asid
        }
    }

    /// Whose rights accesses are made with.
    pub(crate) fn mode(&self) -> Mode {
        match (self.el(), self.pstate & pstate::PAN) {
            (0, _) => Mode::User,
            (_, 0) => Mode::Kernel,
            _ => Mode::KernelPan,
        }
    }

    /// Makes accesses with the rights of `mode` from here on.
    #[inline(always)]
    pub(crate) fn set_access_mode(&mut self, mode: Mode) {
        self.access_mode = mode;
        self.frames.set_mode(mode);
    }

    /// Whether misaligned accesses to normal memory are allowed (`SCTLR_EL1.A`).
    pub(crate) fn may_misalign(&self) -> bool {
        self.sys[Saved::SctlrEl1] & ALIGNMENT_CHECK == 0
    }

    /// Recomputes what depends on the mode and the translation registers. To be called after any
    /// change of PSTATE's mode, PAN, IL or SS, of the ASID and of `CPACR_EL1`.
    pub(crate) fn refresh(&mut self) {
        self.set_access_mode(self.mode());
        let asid = self.asid();
        self.frames.set_space(asid);
        // Kernel code is mostly shared by all address spaces, and so are jumps to it then.
        let private = self.el() == 0 || self.runs_private_code;
        let asid = if private { asid } else { 0 };
        let illegal = self.pstate & pstate::IL != 0;
        self.context = u64::from(self.epoch) << 32
            | u64::from(asid) << 8
            | u64::from(illegal) << 2
            | self.el() << 1
            | u64::from(self.fp_enabled());
    }

    /// Outdates every cached instruction address.
    pub(crate) fn outdate_code(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Numbers come around: what the jump cache holds could pass for current.
            self.stale_code.all = true;
            self.look_up_soon();
        }
        self.tlb.forget_code();
        self.runs_private_code = false;
        self.refresh();
    }

    /// Forgets every translation.
    pub(crate) fn flush_translations(&mut self) {
        self.tlb.clear();
        self.frames.clear();
        self.seat().set_global_low(false);
        self.outdate_code();
    }

    /// To be called after a change of `TTBRn_EL1`, with the ASID there was before.
    pub(crate) fn address_space_changed(&mut self, before: u16) {
        let asid = self.asid();
        if asid == before {
            return;
        }
        self.refresh();
        // Others no longer wait for us to forget what belongs to the ASID we left, and we must
        // not use what we remember of the new one before we have read our mail.
        if self.seat().is_running() && self.seat().announce_asid(asid) {
            self.read_mail();
        }
    }

    /// Whether `CPACR_EL1.FPEN` allows FP at the current exception level.
    pub(crate) fn fp_enabled(&self) -> bool {
        match self.sys[Saved::CpacrEl1] >> 20 & 3 {
            3 => true,
            1 => self.el() != 0,
            _ => false,
        }
    }
}

/// Translation with the MMU off: addresses are physical, data is Device memory.
fn flat(va: u64, direction: Direction) -> Result<Translation, Fault> {
    if va >> aarch64::cpu_model::PA_BITS != 0 {
        return Err(Fault::address_size(0));
    }
    let grant = Grant {
        readable: true,
        writable: true,
        global: true,
        device: direction != Direction::Execute,
    };
    Ok(Translation {
        gpa: Gpa(va),
        grant,
    })
}
