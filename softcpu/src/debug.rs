//! Debugging: the guest's own (software step, breakpoints and watchpoints, D2) and its owner's.
//!
//! While anything is armed, instructions are run one by one ([`Debug::is_careful`]), each between
//! [`Cpu::before_instruction`] and [`Cpu::instruction_done`]. Watchpoints are checked on the slow
//! path of accesses; while there are any, the frame cache forgets each page after the access, so
//! that the next one comes by there too.
//!
//! Not modelled: halting debug, address mismatch breakpoints, the secure states of SSC.

use aarch64::cpu_model::{BREAKPOINTS, FIRST_CONTEXT_BREAKPOINT, WATCHPOINTS};
use aarch64::syndrome::Ec;
use aarch64::{Saved, pstate};
use memory::Mode;

use crate::cpu::{Cpu, Event, Stop};
use crate::mem::Direction;
use crate::replay::Awaiting;
use crate::walk::Regime;

/// Fault status of every debug exception.
const DEBUG_STATUS: u32 = 0x22;
/// ISS of a software step: its other fields are valid.
const STEP_VALID: u32 = 1 << 24;
/// ISS of a watchpoint: the access was a write.
const WNR: u32 = 1 << 6;

/// `MDSCR_EL1.SS`: software step.
const SS: u64 = 1 << 0;
/// `MDSCR_EL1.KDE`: debug exceptions at EL1.
const KDE: u64 = 1 << 13;
/// `MDSCR_EL1.MDE`: breakpoints and watchpoints.
const MDE: u64 = 1 << 15;
/// `OSLSR_EL1.OSLK`: the OS lock is locked.
const OSLK: u64 = 1 << 1;

/// What stops the CPU for its owner's debugger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugControl {
    /// After each instruction: [`Event::Step`].
    pub single_step: bool,
    /// Before the instruction at these addresses: [`Event::Breakpoint`].
    pub breakpoints: Vec<u64>,
    /// Before accesses to these ranges: [`Event::Watchpoint`].
    pub watchpoints: Vec<Watchpoint>,
    /// At `BRK`: [`Event::Brk`].
    pub trap_brk: bool,
}

/// A range of virtual addresses to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// First address.
    pub va: u64,
    /// Bytes.
    pub bytes: u64,
    /// Whether loads count.
    pub reads: bool,
    /// Whether stores count.
    pub writes: bool,
}

/// The state of debugging.
#[derive(Clone, Debug, Default)]
pub(crate) struct Debug {
    control: DebugControl,
    /// The guest's debug registers may stop it.
    armed: bool,
    /// There are watchpoints, whoever set them.
    watching: bool,
    /// The instruction being run is one of a software step.
    stepping: bool,
    /// The owner's debugger waits to hear that an instruction was run.
    step_done: bool,
    /// The owner was told about the instruction at this address, which then runs.
    told: Option<u64>,
    /// Addresses whose pages the frame cache got to know while there are watchpoints.
    pub watched: Vec<u64>,
}

impl Debug {
    /// Whether `BRK` goes to the owner's debugger.
    pub fn traps_brk(&self) -> bool {
        self.control.trap_brk
    }

    /// Whether instructions are run one by one.
    pub fn is_careful(&self) -> bool {
        self.armed
            || self.watching
            || self.control.single_step
            || !self.control.breakpoints.is_empty()
    }

    /// Whether accesses have to be compared with watchpoints.
    pub fn is_watching(&self) -> bool {
        self.watching
    }
}

/// The value and control registers of breakpoint `n`.
fn breakpoint(n: usize) -> (Saved, Saved) {
    const PAIRS: [(Saved, Saved); BREAKPOINTS] = [
        (Saved::Dbgbvr0El1, Saved::Dbgbcr0El1),
        (Saved::Dbgbvr1El1, Saved::Dbgbcr1El1),
        (Saved::Dbgbvr2El1, Saved::Dbgbcr2El1),
        (Saved::Dbgbvr3El1, Saved::Dbgbcr3El1),
        (Saved::Dbgbvr4El1, Saved::Dbgbcr4El1),
        (Saved::Dbgbvr5El1, Saved::Dbgbcr5El1),
    ];
    PAIRS[n % BREAKPOINTS]
}

/// The value and control registers of watchpoint `n`.
fn watchpoint(n: usize) -> (Saved, Saved) {
    const PAIRS: [(Saved, Saved); WATCHPOINTS] = [
        (Saved::Dbgwvr0El1, Saved::Dbgwcr0El1),
        (Saved::Dbgwvr1El1, Saved::Dbgwcr1El1),
        (Saved::Dbgwvr2El1, Saved::Dbgwcr2El1),
        (Saved::Dbgwvr3El1, Saved::Dbgwcr3El1),
    ];
    PAIRS[n % WATCHPOINTS]
}

/// Whether a control register's privilege field (PMC or PAC) and state field (SSC) select an
/// exception level in the non-secure state.
fn selects(control: u64, el: u64) -> bool {
    let privilege = control >> 1 & 3;
    let secure_only = control >> 14 & 3 == 2;
    let bit = if el == 0 { 2 } else { 1 };
    privilege & bit != 0 && !secure_only
}

impl Cpu {
    /// Sets what stops the CPU for its owner's debugger.
    pub fn set_debug(&mut self, control: DebugControl) {
        self.debug.control = control;
        self.debug.step_done = false;
        self.debug.told = None;
        self.debug_changed();
    }

    /// A debug register or the owner's control changed.
    pub(crate) fn debug_changed(&mut self) {
        let mdscr = self.sys[Saved::MdscrEl1];
        let unlocked = self.debug_unlocked();
        let monitor = unlocked && mdscr & MDE != 0;
        let enabled = |cpu: &Self, reg| cpu.sys[reg] & 1 != 0;
        let breaks = monitor && (0..BREAKPOINTS).any(|n| enabled(self, breakpoint(n).1));
        let watches = monitor && (0..WATCHPOINTS).any(|n| enabled(self, watchpoint(n).1));
        self.debug.armed = unlocked && mdscr & SS != 0 || breaks;
        self.debug.watching = watches || !self.debug.control.watchpoints.is_empty();
        if self.debug.watching {
            self.frames.clear();
        }
        self.look_up_soon();
    }

    fn debug_unlocked(&self) -> bool {
        self.sys[Saved::OslsrEl1] & OSLK == 0 && self.sys[Saved::OsdlrEl1] & 1 == 0
    }

    /// Whether debug exceptions other than `BRK` are enabled in a mode (D2.3).
    fn debug_enabled_in(&self, mode: u64) -> bool {
        let el0 = mode >> 2 & 3 == 0;
        let at_el1 = self.sys[Saved::MdscrEl1] & KDE != 0 && mode & pstate::D == 0;
        // Those that go to EL2 are enabled everywhere below it.
        self.debug_unlocked() && (el0 || at_el1 || self.hypervised.takes_debug())
    }

    /// Whether `PSTATE.SS` of an exception return to `new` holds (D2.12.5).
    pub(crate) fn step_survives_return(&self, new: u64) -> bool {
        self.sys[Saved::MdscrEl1] & SS != 0
            && !self.debug_enabled_in(self.pstate)
            && self.debug_enabled_in(new)
    }

    /// What stops the instruction at the PC from being run.
    pub(crate) fn before_instruction(&mut self) -> Option<Stop> {
        self.uncache_watched();
        let enabled = self.debug_enabled_in(self.pstate);
        let steps = enabled && self.sys[Saved::MdscrEl1] & SS != 0;
        if steps && self.pstate & pstate::SS == 0 {
            let iss = STEP_VALID | DEBUG_STATUS;
            return Some(self.debug_exception(Ec::StepLower, Ec::StepSame, iss, None));
        }
        self.debug.stepping = steps;
        if self.debug.told != Some(self.pc) && self.debug.control.breakpoints.contains(&self.pc) {
            return Some(self.tell(Event::Breakpoint));
        }
        if enabled && self.sys[Saved::MdscrEl1] & MDE != 0 && self.hits_breakpoint() {
            let (lower, same) = (Ec::BreakpointLower, Ec::BreakpointSame);
            return Some(self.debug_exception(lower, same, DEBUG_STATUS, None));
        }
        None
    }

    /// An instruction was run, or took an exception.
    pub(crate) fn instruction_done(&mut self) {
        if std::mem::take(&mut self.debug.stepping) {
            self.pstate &= !pstate::SS;
        }
        self.debug.told = None;
        self.debug.step_done = self.debug.control.single_step;
    }

    /// The event that ends a step of the owner's debugger.
    pub(crate) fn take_step(&mut self) -> Option<Event> {
        std::mem::take(&mut self.debug.step_done).then_some(Event::Step)
    }

    /// Tells the owner's debugger about the instruction at the PC, which runs next time.
    fn tell(&mut self, event: Event) -> Stop {
        self.debug.told = Some(self.pc);
        self.awaiting = Awaiting::Notice(event);
        Stop::Event
    }

    /// Makes the next accesses to pages that were accessed come by the slow path again.
    #[cold]
    pub(crate) fn uncache_watched(&mut self) {
        for va in self.debug.watched.drain(..) {
            self.frames.evict(va);
        }
    }

    fn hits_breakpoint(&self) -> bool {
        (0..BREAKPOINTS).any(|n| {
            let (value, control) = breakpoint(n);
            let (value, control) = (self.sys[value], self.sys[control]);
            if control & 1 == 0 || !selects(control, self.el()) {
                return false;
            }
            let here = value & !3 == self.pc;
            match control >> 20 & 0xf {
                0 => here,
                1 => here && self.linked(control),
                2 => self.context_matches(n),
                _ => false,
            }
        })
    }

    /// Whether the context breakpoint that a control register links to (LBN) matches.
    fn linked(&self, control: u64) -> bool {
        let n = (control >> 16 & 0xf) as usize;
        if n >= BREAKPOINTS {
            return false;
        }
        let linked = self.sys[breakpoint(n).1];
        linked & 1 != 0 && linked >> 20 & 0xf == 3 && self.context_matches(n)
    }

    fn context_matches(&self, n: usize) -> bool {
        n >= FIRST_CONTEXT_BREAKPOINT
            && self.sys[breakpoint(n).0] as u32 == self.sys[Saved::ContextidrEl1] as u32
    }

    /// Compares an access that is about to be made with the watchpoints.
    #[cold]
    pub(crate) fn check_watchpoints(
        &mut self,
        va: u64,
        bytes: u64,
        direction: Direction,
    ) -> Result<(), Stop> {
        let (reads, writes) = match direction {
            Direction::Read => (true, false),
            Direction::Write => (false, true),
            Direction::Update => (true, true),
            Direction::Execute | Direction::Maintain => return Ok(()),
        };
        // Blocks are single instructions while there are watchpoints.
        let pc = self.block_pc;
        let owners = self.debug.control.watchpoints.iter().any(|w| {
            (w.reads && reads || w.writes && writes) && overlaps(va, bytes, w.va, w.bytes)
        });
        if owners && self.debug.told != Some(pc) {
            self.debug.told = Some(pc);
            return self.leave(Awaiting::Notice(Event::Watchpoint(va)));
        }
        if self.debug_enabled_in(self.pstate)
            && self.sys[Saved::MdscrEl1] & MDE != 0
            && self.hits_watchpoint(va, bytes, reads, writes)
        {
            let iss = DEBUG_STATUS | if writes { WNR } else { 0 };
            let (lower, same) = (Ec::WatchpointLower, Ec::WatchpointSame);
            return Err(self.debug_exception(lower, same, iss, Some(va)));
        }
        Ok(())
    }

    fn hits_watchpoint(&self, va: u64, bytes: u64, reads: bool, writes: bool) -> bool {
        let va = Regime::untagged(self.sys[Saved::TcrEl1], va);
        let el = u64::from(self.access_mode != Mode::User);
        (0..WATCHPOINTS).any(|n| {
            let (value, control) = watchpoint(n);
            let (value, control) = (self.sys[value], self.sys[control]);
            let wanted = control >> 3 & 1 != 0 && reads || control >> 4 & 1 != 0 && writes;
            control & 1 != 0
                && wanted
                && selects(control, el)
                && (control >> 20 & 1 == 0 || self.linked(control))
                && in_watched_range(va, bytes, value, control)
        })
    }
}

fn overlaps(a: u64, a_bytes: u64, b: u64, b_bytes: u64) -> bool {
    a.wrapping_sub(b) < b_bytes || b.wrapping_sub(a) < a_bytes
}

/// Whether an access touches what a watchpoint's MASK or BAS selects (D2.10).
fn in_watched_range(va: u64, bytes: u64, value: u64, control: u64) -> bool {
    let mask = control >> 24 & 0x1f;
    if mask >= 3 {
        let size = 1 << mask;
        return overlaps(va, bytes, value & !(size - 1), size);
    }
    let selected = control >> 5 & 0xff;
    (0..8).any(|i| selected >> i & 1 != 0 && overlaps(va, bytes, (value & !3).wrapping_add(i), 1))
}
