//! `hv_vcpu_run`: the software CPU runs until something happens that leaves a guest on a Mac.
//!
//! The PC at the exit: after an `HVC`, at the instruction for everything else.

use std::sync::atomic::Ordering;

use aarch64::syndrome::{Ec, esr};
use aarch64::timer::CTL_IMASK;
use aarch64::{Gpa, Saved, SysReg};
use hv_backend::hvf::abi::{ExitRecord, Return, reason, status};
use memory::rights;
use softcpu::Event;
use softcpu::cluster::Clock;
use softcpu::hypervised::{Stage2Access, Trap};

use crate::engine::Engine;
use crate::faults;
use crate::forward::{Access, Forwarding};
use crate::record::bare;
use crate::script;
use crate::syndrome::{self, Cause};
use crate::violation::{Violation, record};
use crate::world::{NO_AFFINITY, world};

/// `CNTV_CTL_EL0`: enabled, not masked, condition met.
const FIRING: u64 = 0b101;
/// Instructions between two looks at a timer that is being late.
const LOOK_AGAIN: u64 = 20_000;
/// `HVC #0` with X0 in this range is a service of the framework's own.
const OWN_SERVICES: u64 = 0xc100_0000;
const OWN_SERVICES_MASK: u64 = 0xff00_0000;

/// After how many runs of a vCPU it is not each run any more that is followed by a look at what the
/// guest wrote: such a look goes through all of its memory's pages.
const FIRST_RUNS: u64 = 64;

/// What an event of the software CPU comes to.
enum Next {
    /// The guest runs on.
    Again,
    /// It leaves.
    Leave(ExitRecord),
}

fn exception(syndrome: u64) -> ExitRecord {
    ExitRecord {
        syndrome,
        ..bare(reason::EXCEPTION)
    }
}

impl Engine {
    /// `hv_vcpu_run`
    pub fn run(&mut self) -> Return {
        self.runs += 1;
        self.exit.poison();
        let result = self.run_to_exit();
        if self.runs <= FIRST_RUNS || self.runs.is_multiple_of(FIRST_RUNS) {
            self.observe_memory();
        }
        // Pending interrupts are cleared on every return.
        self.pending = [false; 2];
        self.cpu.set_interrupts(false, false);
        match result {
            Ok(exit) => {
                let drops = exit.reason != reason::CANCELED && faults::drops_kicks();
                if drops && self.take_cancel() {
                    faults::kick_dropped();
                }
                self.leave_record(exit);
                status::SUCCESS
            }
            Err(status) => status,
        }
    }

    /// Has the second stage look which memory the guest wrote.
    fn observe_memory(&self) {
        if let Some(vm) = &mut world().vm {
            vm.stage2.observe();
        }
    }

    fn run_to_exit(&mut self) -> Result<ExitRecord, Return> {
        if self.take_cancel() {
            return Ok(bare(reason::CANCELED));
        }
        if let Some(next) = script::next(self.id) {
            return self.play(next);
        }
        self.check_state()?;
        if faults::is_unknown(self.runs) {
            return Ok(bare(reason::UNKNOWN));
        }
        if faults::is_cancelled_for_nothing(self.runs) {
            return Ok(bare(reason::CANCELED));
        }
        let [irq, fiq] = self.pending;
        self.cpu.set_interrupts(irq, fiq);
        loop {
            if self.timer_fires() {
                self.vtimer_masked = true;
                return Ok(bare(reason::VTIMER_ACTIVATED));
            }
            self.seat.enter();
            self.catch_up();
            let event = self.interpreter.run(&mut self.cpu);
            let next = self.after(event);
            self.seat.leave();
            if let Next::Leave(exit) = next {
                return Ok(exit);
            }
        }
    }

    /// Plays the next exit of a script.
    fn play(&mut self, next: Option<script::Scripted>) -> Result<ExitRecord, Return> {
        let Some(script::Scripted {
            registers,
            exit,
            status,
        }) = next
        else {
            record(Violation::ScriptEnded { vcpu: self.id });
            return Err(status::ERROR);
        };
        for (register, value) in registers {
            self.set_reg(register, value);
        }
        if status == status::SUCCESS {
            Ok(exit)
        } else {
            Err(status)
        }
    }

    fn check_state(&mut self) -> Result<(), Return> {
        let registers = self.take_unset();
        if !registers.is_empty() {
            let vcpu = self.id;
            record(Violation::UndefinedState { vcpu, registers });
        }
        if self.seat.affinity.load(Ordering::Relaxed) != self.affinity() {
            self.announce_affinity();
        }
        match self.illegal_cpsr {
            Some(_) => Err(status::ILLEGAL_GUEST_STATE),
            None => Ok(()),
        }
    }

    /// No two vCPUs may have the same affinity.
    fn announce_affinity(&self) {
        let affinity = self.affinity();
        self.seat.affinity.store(NO_AFFINITY, Ordering::SeqCst);
        let world = world();
        let mut seats = world.vm.iter().flat_map(|vm| vm.seats());
        if seats.any(|seat| seat.affinity.load(Ordering::SeqCst) == affinity) {
            record(Violation::SameAffinity { vcpu: self.id });
        }
        self.seat.affinity.store(affinity, Ordering::SeqCst);
    }

    /// Whether the virtual timer takes the vCPU out of the guest. If it is only late, the vCPU will
    /// look again soon.
    fn timer_fires(&mut self) -> bool {
        self.cpu.set_limit(None);
        if self.vtimer_masked || self.timer_control() != FIRING {
            return false;
        }
        let delay = faults::timer_delay();
        if delay == 0 {
            return true;
        }
        let due = self.cpu.saved(Saved::CntvCvalEl0).saturating_add(delay);
        let now = self.clock.counter();
        if now < due {
            self.cpu.set_limit(Some(self.cpu.retired() + LOOK_AGAIN));
        }
        now >= due
    }

    fn after(&mut self, event: Event) -> Next {
        match event {
            Event::Kicked if self.take_cancel() => Next::Leave(bare(reason::CANCELED)),
            // Nudges to look at memory; timers are looked at on the way; an exception loop spins on.
            Event::Kicked | Event::Timer | Event::QuantumEnd | Event::ExceptionLoop(_) => {
                Next::Again
            }
            Event::Wfi => Next::Leave(exception(syndrome::wait(0))),
            Event::Hvc(imm) => self.hypervisor_call(imm),
            Event::Smc(imm) => Next::Leave(exception(esr(Ec::Smc64, imm.into()))),
            Event::Brk(imm) => Next::Leave(exception(esr(Ec::Brk64, imm.into()))),
            Event::Trapped(Trap::Instruction(insn)) => self.instruction(insn),
            Event::Trapped(Trap::Stage2 { va, gpa, access }) => self.stage2_fault(va, gpa, access),
            Event::Trapped(Trap::Debug { esr, far }) => Next::Leave(ExitRecord {
                virtual_address: far,
                ..exception(esr)
            }),
            // A supervised CPU has none of these: it traps instead, and nobody debugs it.
            Event::MmioRead { .. }
            | Event::MmioWrite { .. }
            | Event::SysRegRead { .. }
            | Event::SysRegWrite { .. }
            | Event::Step
            | Event::Breakpoint
            | Event::Watchpoint(_) => Next::Leave(bare(reason::UNKNOWN)),
        }
    }

    fn hypervisor_call(&mut self, imm: u16) -> Next {
        self.step_over();
        let x0 = self.cpu.x(0);
        if imm == 0 && x0 & OWN_SERVICES_MASK == OWN_SERVICES && x0 >> 32 == 0 {
            self.cpu.set_x(0, 0xffff_ffff);
            return Next::Again;
        }
        Next::Leave(exception(esr(Ec::Hvc64, imm.into())))
    }

    /// An instruction that does not run natively: the framework does it, or its user.
    fn instruction(&mut self, insn: u32) -> Next {
        if insn == WFE {
            return Next::Leave(exception(syndrome::wait(1)));
        }
        let forwarding = Forwarding {
            macos: self.profile.macos,
            debug: self.debug_traps().1,
        };
        let value = match forwarding.of(insn) {
            Access::Id => self.ids.get(SysReg::from_instruction(insn)),
            Access::Zero => Some(0),
            Access::Native | Access::Forwarded => None,
        };
        let Some(value) = value else {
            return Next::Leave(exception(syndrome::system_register(insn)));
        };
        // The zero register is number 31, which set_x knows nothing of.
        self.cpu.set_x((insn & 31) as usize, value);
        self.step_over();
        Next::Again
    }

    fn step_over(&mut self) {
        self.cpu.set_pc(self.cpu.pc().wrapping_add(4));
    }

    fn stage2_fault(&mut self, va: u64, gpa: Gpa, access: Stage2Access) -> Next {
        let memory = self.shared.memory();
        let cause = match memory.layout.find(gpa) {
            Some(_) => Cause::Permission,
            None => Cause::Translation,
        };
        if memory.layout.rights_at(gpa) == rights::ALL {
            // Another vCPU's user was faster.
            return Next::Again;
        }
        let syndrome = match access {
            Stage2Access::Data => {
                syndrome::data_abort(self.cpu.fetch().map_or(0, |(insn, _)| insn), cause)
            }
            Stage2Access::Fetch => syndrome::instruction_abort(cause),
            Stage2Access::Maintenance => syndrome::maintenance_abort(cause),
            Stage2Access::Walk { fetch } => syndrome::walk_abort(fetch, cause),
        };
        Next::Leave(ExitRecord {
            virtual_address: va,
            physical_address: gpa.0,
            ..exception(syndrome)
        })
    }
}

/// `WFE`
const WFE: u32 = 0xd503_205f;

const _: () = assert!(FIRING & CTL_IMASK == 0);
