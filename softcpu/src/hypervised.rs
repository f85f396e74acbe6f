//! The CPU under a hypervisor: what leaves the guest besides the events of a bare machine.
//!
//! An owner that is a hypervisor itself, and not the machine, asks with [`Cpu::supervise`] for what
//! one of EL2 would be told: accesses that stage 2 does not let pass, with everything that a
//! syndrome says of them; instructions of its choice ([`Traps`]); debug exceptions. They come as
//! [`Event::Trapped`], with the PC at the instruction and nothing of it done. The owner changes
//! registers as it likes and runs on: an instruction it did not step over is executed again.
//!
//! Instructions are compared with the owner's choice when they are decoded, so nothing of this
//! costs anything in a machine without it. The rights of stage 2 are those of the
//! [layout](memory::rights).

use std::fmt;
use std::sync::Arc;

use aarch64::syndrome::{Ec, esr};
use aarch64::{Gpa, SysReg};
use memory::rights;

use crate::cpu::{Cpu, Event, Stop};
use crate::mem::Direction;
use crate::replay::Awaiting;
use crate::timer::Which;

/// `WFE`
const WFE: u32 = 0xd503_205f;

/// Why the guest left for its hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// An instruction that the owner chose; its encoding.
    Instruction(u32),
    /// Stage 2 does not let an access pass.
    Stage2 {
        /// The virtual address accessed.
        va: u64,
        /// Where stage 1 led.
        gpa: Gpa,
        /// What for.
        access: Stage2Access,
    },
    /// A debug exception other than `BRK`, while they go to the owner.
    Debug {
        /// Its syndrome.
        esr: u64,
        /// The virtual address, for a watchpoint.
        far: u64,
    },
}

/// What an access that stage 2 stops was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage2Access {
    /// A load, a store or both, by the instruction at the PC.
    Data,
    /// Fetching the instruction at the PC.
    Fetch,
    /// Cache maintenance by the instruction at the PC.
    Maintenance,
    /// A walk of stage 1, for a fetch or for data.
    Walk {
        /// For a fetch.
        fetch: bool,
    },
}

/// Which instructions an owner wants to be told of.
pub trait Traps: Send + Sync + fmt::Debug {
    /// Whether this one traps. Asked when it is decoded; `MRS`, `MSR` and `WFE` can be named.
    fn wants(&self, insn: u32) -> bool;
}

/// What the owner asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hypervised {
    /// Faults of stage 2 are the owner's.
    stage2: bool,
    traps: Option<Arc<dyn Traps>>,
    /// Debug exceptions are the owner's.
    debug: bool,
    /// Where the last walk found no memory.
    pub missing: Option<Gpa>,
}

impl Hypervised {
    /// Whether the owner wants to be told of an instruction.
    pub fn wants(&self, insn: u32) -> bool {
        self.traps.as_ref().is_some_and(|traps| traps.wants(insn))
    }

    /// Whether debug exceptions are the owner's.
    pub fn takes_debug(&self) -> bool {
        self.debug
    }
}

impl Cpu {
    /// Makes the owner a hypervisor. `traps` are its choice of instructions; `debug` sends it
    /// debug exceptions. Decoded code is dropped.
    pub fn supervise(&mut self, traps: Arc<dyn Traps>, debug: bool) {
        self.hypervised = Hypervised {
            stage2: true,
            traps: Some(traps),
            debug,
            missing: None,
        };
        self.flush_all();
        self.debug_changed();
    }

    /// X0 to X30.
    #[must_use]
    pub fn x(&self, n: usize) -> u64 {
        self.x[..31].get(n).copied().unwrap_or(0)
    }

    /// Sets one of X0 to X30.
    pub fn set_x(&mut self, n: usize, value: u64) {
        if let Some(x) = self.x[..31].get_mut(n) {
            *x = value;
        }
    }

    /// The address of the next instruction.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.pc
    }

    /// Goes on at another address.
    pub fn set_pc(&mut self, pc: u64) {
        self.pc = pc;
    }

    /// The owner is told of an instruction, unless the guest's own rules come first.
    pub(crate) fn trap_instruction(&mut self, insn: u32) -> Result<(), Stop> {
        self.insn = insn;
        if insn == WFE {
            if self.seat().take_event() {
                return Ok(());
            }
            self.check_wait_for_event()?;
        } else if self.el() == 0 {
            self.check_user_register(SysReg::from_instruction(insn))?;
        }
        Err(self.trap(Trap::Instruction(insn)))
    }

    /// What EL0 may not do is EL1's business and not the hypervisor's.
    fn check_user_register(&mut self, reg: SysReg) -> Result<(), Stop> {
        match reg.fields() {
            (3, 3, 14, 0, 1) => self.read_physical_counter().map(|_| ()),
            (3, 3, 14, 2, _) => self.read_timer_ctl(Which::Physical).map(|_| ()),
            // Without PMUSERENR_EL0, which nobody has, the rest of EL0's registers are EL1's.
            (3, 3, _, _, _) => Err(self.system_trap()),
            _ => Err(self.undefined()),
        }
    }

    fn trap(&mut self, trap: Trap) -> Stop {
        self.awaiting = Awaiting::Notice(Event::Trapped(trap));
        Stop::Event
    }

    /// The stop for an access that finds no memory, if that is the owner's business.
    #[cold]
    pub(crate) fn stage2_fault(&mut self, va: u64, gpa: Gpa, access: Stage2Access) -> Option<Stop> {
        if !self.hypervised.stage2 {
            return None;
        }
        Some(self.trap(Trap::Stage2 { va, gpa, access }))
    }

    /// Leaves with what would be an access to a device, if faults are the owner's.
    pub(crate) fn check_stage2(&mut self, va: u64, gpa: Gpa) -> Result<(), Stop> {
        match self.stage2_fault(va, gpa, Stage2Access::Data) {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    /// As [`Self::stage2_fault`], for an address that stage 1 is known to translate.
    pub(crate) fn stage2_fault_at(&mut self, va: u64, access: Stage2Access) -> Option<Stop> {
        if !self.hypervised.stage2 {
            return None;
        }
        let at = self.look_up_address(va, Direction::Maintain).ok()?;
        self.stage2_fault(va, at.gpa, access)
    }

    /// As [`Self::stage2_fault`], for a translation that failed because of its tables.
    pub(crate) fn stage2_fault_of_walk(&mut self, va: u64, direction: Direction) -> Option<Stop> {
        let gpa = self.hypervised.missing.take()?;
        let fetch = direction == Direction::Execute;
        self.stage2_fault(va, gpa, Stage2Access::Walk { fetch })
    }

    /// As [`Self::stage2_fault`], for cache maintenance.
    pub(crate) fn stage2_fault_of_maintenance(&mut self, va: u64, gpa: Gpa) -> Option<Stop> {
        let there = self.frames.layout().rights_at(gpa) & rights::READ != 0;
        if there {
            return None;
        }
        self.stage2_fault(va, gpa, Stage2Access::Maintenance)
    }

    /// A debug exception, for EL1 or for the owner.
    pub(crate) fn debug_exception(
        &mut self,
        lower: Ec,
        same: Ec,
        iss: u32,
        far: Option<u64>,
    ) -> Stop {
        if self.hypervised.debug {
            let far = far.unwrap_or(0);
            return self.trap(Trap::Debug {
                esr: esr(lower, iss),
                far,
            });
        }
        self.raise_from(lower, same, iss, far)
    }
}
