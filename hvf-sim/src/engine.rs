//! A vCPU, as the thread that created it holds it: the software CPU and what the framework keeps
//! beside it.
//!
//! A new vCPU is poisoned: whatever no document gives a value for reads as [`POISON`], and running
//! it before it was set is a violation. Documented, or measured, are X0 to X30 = 0,
//! `SCTLR_EL1` = 0, the identification registers, the timer's mask and offset.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aarch64::{Saved, SysReg, pstate};
use hv_backend::hvf::abi::{ExitRecord, Return, reg, status};
use softcpu::debug::DebugControl;
use softcpu::{Cpu, Interpreter};

use crate::clock::GuestClock;
use crate::forward::Forwarding;
use crate::ids::{IdRegisters, MPIDR};
use crate::profile::Profile;
use crate::record::RecordCell;
use crate::sysregs::{self, EN_TSO, Kind};
use crate::violation::{Violation, record};
use crate::world::{Memory, Seat, Shared, world};

/// What undocumented state reads as.
pub(crate) const POISON: u64 = 0xdead_2bad_dead_2bad;
/// Decoded instructions that each vCPU keeps.
const DECODED_OPS: usize = 400_000;
/// `CNTV_CTL_EL0.ENABLE`, `CNTV_CTL_EL0.ISTATUS`.
const ENABLE: u64 = 1 << 0;
const ISTATUS: u64 = 1 << 2;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Engine {
    pub id: u64,
    pub seat: Arc<Seat>,
    pub shared: Arc<Shared>,
    pub profile: Profile,
    pub cpu: Cpu,
    pub interpreter: Interpreter,
    pub clock: Arc<GuestClock>,
    pub exit: RecordCell,
    pub ids: IdRegisters,
    /// Registers that the software CPU does not have.
    storage: BTreeMap<SysReg, u64>,
    /// A CPSR that no vCPU can run with, as it was set.
    pub illegal_cpsr: Option<u32>,
    /// Registers that are still poisoned.
    unset: Vec<Saved>,
    unset_pc: bool,
    unset_cpsr: bool,
    /// Pending interrupts: IRQ, FIQ.
    pub pending: [bool; 2],
    pub vtimer_masked: bool,
    trap_debug_exceptions: bool,
    trap_debug_registers: bool,
    /// Version of executable memory that decoded code is of.
    code: u64,
    /// Runs so far.
    pub runs: u64,
}

thread_local! {
    static ENGINE: RefCell<Owned> = const { RefCell::new(Owned(None)) };
}

/// A thread's vCPU. A thread that ends with one abandons it.
struct Owned(Option<Box<Engine>>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(engine) = self.0.take() {
            record(Violation::VcpuAbandoned { vcpu: engine.id });
            engine.leave_world();
        }
    }
}

/// Whether the thread has a vCPU.
pub(crate) fn is_owner() -> bool {
    ENGINE.with_borrow(|owned| owned.0.is_some())
}

/// Gives the thread a vCPU.
pub(crate) fn own(engine: Engine) {
    ENGINE.with_borrow_mut(|owned| owned.0 = Some(Box::new(engine)));
}

/// Takes the thread's vCPU away, if it is this one.
pub(crate) fn disown(vcpu: u64) -> Option<Box<Engine>> {
    ENGINE.with_borrow_mut(|owned| {
        if owned.0.as_ref()?.id == vcpu {
            owned.0.take()
        } else {
            None
        }
    })
}

/// Does something with the thread's vCPU, if it is this one; `call` is what for.
pub(crate) fn with_own(
    vcpu: u64,
    call: &'static str,
    act: impl FnOnce(&mut Engine) -> Return,
) -> Return {
    ENGINE.with_borrow_mut(|owned| match &mut owned.0 {
        Some(engine) if engine.id == vcpu => act(engine),
        _ => refuse_stranger(vcpu, call),
    })
}

/// The vCPU is not the thread's.
pub(crate) fn refuse_stranger(vcpu: u64, call: &'static str) -> Return {
    let world = world();
    let exists = world.vm.as_ref().is_some_and(|vm| vm.seat(vcpu).is_some());
    record(if exists {
        Violation::WrongThread { call, vcpu }
    } else {
        Violation::NoSuchVcpu { call, vcpu }
    });
    status::BAD_ARGUMENT
}

impl Engine {
    /// A new vCPU of the thread.
    pub fn new(seat: Arc<Seat>, shared: Arc<Shared>, profile: Profile) -> Self {
        let Memory {
            layout,
            code,
            version,
        } = shared.memory();
        seat.saw(version);
        let clock = Arc::new(GuestClock::new(&profile));
        let cluster = Arc::clone(&shared.cluster);
        let cpu = Cpu::new(seat.id as usize, cluster, Arc::clone(&clock) as _, layout);
        let mut engine = Self {
            id: seat.id,
            seat,
            shared,
            profile,
            cpu,
            interpreter: Interpreter::new(DECODED_OPS),
            clock,
            exit: RecordCell::new(),
            ids: IdRegisters::new(&profile),
            storage: BTreeMap::new(),
            illegal_cpsr: Some(POISON as u32),
            unset: Vec::new(),
            unset_pc: true,
            unset_cpsr: true,
            pending: [false; 2],
            vtimer_masked: false,
            trap_debug_exceptions: false,
            trap_debug_registers: false,
            code,
            runs: 0,
        };
        engine.poison();
        engine.apply_traps();
        engine
    }

    fn poison(&mut self) {
        self.cpu.set_pc(POISON);
        let mut simd = self.cpu.simd();
        simd.v = [u128::from(POISON) << 64 | u128::from(POISON); 32];
        self.cpu.set_simd(&simd);
        for saved in sysregs::undocumented() {
            if saved != Saved::SctlrEl1 {
                self.cpu.set_saved(saved, POISON);
            }
            self.unset.push(saved);
        }
        // The framework's OS lock is not the guest's: it is never locked.
        self.cpu.set_saved(Saved::OslsrEl1, 0);
        self.cpu.set_saved(Saved::OsdlrEl1, 0);
    }

    /// The vCPU is gone for the others.
    pub fn leave_world(&self) {
        let mut world = world();
        if let Some(vm) = &mut world.vm
            && let Some(place) = vm.vcpus.get_mut(self.id as usize)
        {
            *place = None;
        }
    }

    /// Takes notice of what changed in guest memory. To be called between [`Seat::enter`] and the
    /// guest's first access.
    pub fn catch_up(&mut self) {
        let Some(memory) = self.shared.news(&self.seat) else {
            return;
        };
        let Memory {
            layout,
            code,
            version,
        } = memory;
        if code == self.code {
            self.cpu.forget_translations();
        } else {
            self.cpu.set_layout(layout);
            self.interpreter.forget_code();
            self.code = code;
        }
        self.seat.saw(version);
    }

    /// The names of what must be set and is not.
    pub fn take_unset(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        if std::mem::take(&mut self.unset_pc) {
            names.push("PC".to_owned());
        }
        if std::mem::take(&mut self.unset_cpsr) {
            names.push("CPSR".to_owned());
        }
        names.extend(self.unset.drain(..).map(|saved| saved.name().to_owned()));
        names
    }

    /// `hv_vcpu_get_reg`
    pub fn reg(&self, number: u32) -> Option<u64> {
        match number {
            0..=30 => Some(self.cpu.x(number as usize)),
            reg::PC => Some(self.cpu.pc()),
            reg::FPCR => Some(self.cpu.simd().fpcr.into()),
            reg::FPSR => Some(self.cpu.simd().fpsr.into()),
            reg::CPSR => Some(match self.illegal_cpsr {
                Some(value) => value.into(),
                None => self.cpu.core().pstate,
            }),
            _ => None,
        }
    }

    /// `hv_vcpu_set_reg`; false if there is no such register.
    pub fn set_reg(&mut self, number: u32, value: u64) -> bool {
        match number {
            0..=30 => self.cpu.set_x(number as usize, value),
            reg::PC => {
                self.cpu.set_pc(value);
                self.unset_pc = false;
            }
            reg::FPCR | reg::FPSR => {
                let mut simd = self.cpu.simd();
                if number == reg::FPCR {
                    simd.fpcr = value as u32;
                } else {
                    simd.fpsr = value as u32;
                }
                self.cpu.set_simd(&simd);
            }
            reg::CPSR => self.set_cpsr(value as u32),
            _ => return false,
        }
        true
    }

    /// Any value can be set; what no vCPU can run with shows when it is run.
    fn set_cpsr(&mut self, value: u32) {
        self.unset_cpsr = false;
        let mode = u64::from(value) & pstate::MODE;
        if [pstate::EL0T, pstate::EL1T, pstate::EL1H].contains(&mode) {
            let mut core = self.cpu.core();
            core.pstate = value.into();
            self.cpu.set_core(&core);
            self.illegal_cpsr = None;
        } else {
            self.illegal_cpsr = Some(value);
        }
    }

    /// `hv_vcpu_get_sys_reg`
    pub fn sys_reg(&self, reg: SysReg) -> Option<u64> {
        Some(match sysregs::find(reg, &self.profile)? {
            Kind::Cpu(Saved::SctlrEl1) if self.unset.contains(&Saved::SctlrEl1) => 0,
            Kind::Cpu(saved) => self.cpu.saved(saved),
            Kind::TimerControl => self.timer_control(),
            Kind::Id => self.ids.get(reg)?,
            Kind::Actlr => self.storage.get(&reg).copied().unwrap_or(0),
            Kind::Storage => self.storage.get(&reg).copied().unwrap_or(POISON),
        })
    }

    /// `hv_vcpu_set_sys_reg`; false if there is no such register.
    pub fn set_sys_reg(&mut self, reg: SysReg, value: u64) -> bool {
        match sysregs::find(reg, &self.profile) {
            None => return false,
            Some(Kind::Cpu(saved)) => self.set_saved(saved, value),
            Some(Kind::TimerControl) => self.set_saved(Saved::CntvCtlEl0, value),
            Some(Kind::Id) => return self.ids.set(reg, value),
            Some(Kind::Actlr) => {
                self.storage.insert(reg, value & EN_TSO);
            }
            Some(Kind::Storage) => {
                self.storage.insert(reg, value);
            }
        }
        true
    }

    fn set_saved(&mut self, saved: Saved, value: u64) {
        self.cpu.set_saved(saved, value);
        self.unset.retain(|unset| *unset != saved);
    }

    /// `CNTV_CTL_EL0`, with the condition as it is now.
    pub fn timer_control(&self) -> u64 {
        use softcpu::cluster::Clock;
        let control = self.cpu.saved(Saved::CntvCtlEl0);
        let due = self.clock.counter() >= self.cpu.saved(Saved::CntvCvalEl0);
        if control & ENABLE != 0 && due {
            control | ISTATUS
        } else {
            control
        }
    }

    /// `MPIDR_EL1` without what every vCPU has in common.
    pub fn affinity(&self) -> u64 {
        self.ids.get(MPIDR).unwrap_or(0) & 0xff_00ff_ffff
    }

    /// `hv_vcpu_get_trap_debug_exceptions` and `hv_vcpu_get_trap_debug_reg_accesses`
    pub fn debug_traps(&self) -> (bool, bool) {
        (self.trap_debug_exceptions, self.trap_debug_registers)
    }

    /// Sets what [`Self::debug_traps`] returns.
    pub fn set_debug_traps(&mut self, exceptions: bool, registers: bool) {
        if self.debug_traps() == (exceptions, registers) {
            return;
        }
        self.trap_debug_exceptions = exceptions;
        self.trap_debug_registers = registers;
        self.apply_traps();
    }

    fn apply_traps(&mut self) {
        let forwarding = Forwarding {
            macos: self.profile.macos,
            debug: self.trap_debug_registers,
        };
        let exceptions = self.trap_debug_exceptions;
        self.cpu.supervise(Arc::new(forwarding), exceptions);
        self.interpreter.forget_code();
        self.cpu.set_debug(DebugControl {
            trap_brk: exceptions,
            ..DebugControl::default()
        });
    }

    /// What is left in the exit record.
    pub fn leave_record(&self, exit: ExitRecord) {
        self.exit.write(exit);
    }

    /// Takes a kick, if there was one.
    pub fn take_cancel(&self) -> bool {
        self.seat.cancelled.swap(false, Ordering::SeqCst)
    }
}
