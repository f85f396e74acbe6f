//! A vCPU of the `soft` backend: events of the software CPU as exits of the contract.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aarch64::SysReg;
use aarch64::state::{CoreRegs, SimdRegs};
use softcpu::debug::{self, Watchpoint};
use softcpu::{Cpu, Event, Interpreter, Reply};

use super::vm::Shared;
use crate::api::{
    Conduit, DebugControl, DebugStop, Exit, GuestFault, HostError, IrqLine, Resume, Vcpu, WatchKind,
};

/// A vCPU.
#[derive(Debug)]
pub struct SoftVcpu {
    cpu: Cpu,
    interpreter: Interpreter,
    shared: Arc<Shared>,
    layout_version: u64,
    code_version: u64,
    irq: bool,
    fiq: bool,
}

impl SoftVcpu {
    /// A vCPU that has seen `layout_version`.
    pub fn new(
        cpu: Cpu,
        interpreter: Interpreter,
        shared: Arc<Shared>,
        layout_version: u64,
    ) -> Self {
        let code_version = shared.code_version.load(Ordering::SeqCst);
        Self {
            cpu,
            interpreter,
            shared,
            layout_version,
            code_version,
            irq: false,
            fiq: false,
        }
    }

    /// Takes over what the VM changed since the last entry.
    fn catch_up(&mut self) {
        if self.shared.layout_changed(self.layout_version) {
            let (layout, version) = self.shared.layout();
            self.cpu.set_layout(layout);
            self.interpreter.forget_code();
            self.layout_version = version;
        }
        let code_version = self.shared.code_version.load(Ordering::Acquire);
        if code_version != self.code_version {
            self.interpreter.forget_code();
            self.code_version = code_version;
        }
    }
}

fn reply(resume: Resume) -> Reply {
    match resume {
        Resume::Done => Reply::Done,
        Resume::Data(value) => Reply::Data(value),
        Resume::Call(values) => Reply::Call(values),
        Resume::Undefined => Reply::Undefined,
        Resume::ExternalAbort => Reply::ExternalAbort,
    }
}

fn exit(event: Event) -> Exit {
    match event {
        Event::MmioRead { gpa, size } => Exit::MmioRead { gpa, size },
        Event::MmioWrite { gpa, size, data } => Exit::MmioWrite { gpa, size, data },
        Event::SysRegRead { reg } => Exit::SysRegRead { reg },
        Event::SysRegWrite { reg, data } => Exit::SysRegWrite { reg, data },
        Event::Hvc(imm) => Exit::Call {
            conduit: Conduit::Hvc,
            imm,
        },
        Event::Smc(imm) => Exit::Call {
            conduit: Conduit::Smc,
            imm,
        },
        Event::Wfi => Exit::Wfi,
        Event::Timer => Exit::Timer,
        Event::Step => Exit::Debug(DebugStop::Step),
        Event::Breakpoint => Exit::Debug(DebugStop::Breakpoint),
        Event::Brk(imm) => Exit::Debug(DebugStop::Brk(imm)),
        Event::Watchpoint(va) => Exit::Debug(DebugStop::Watchpoint(va)),
        Event::Kicked => Exit::Kicked,
        Event::QuantumEnd => Exit::QuantumEnd,
        Event::ExceptionLoop(vector) => Exit::Fault(GuestFault::ExceptionLoop(vector)),
        // Only a CPU under a hypervisor has these.
        Event::Trapped(_) => Exit::Fault(GuestFault::CannotEmulate(0)),
    }
}

impl Vcpu for SoftVcpu {
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        self.cpu.reply(reply(resume));
        // The CPU completes an instruction by running it once more, with the answers. Memory that was
        // mapped meanwhile would be found in their place, so it is not seen before.
        if self.shared.layout_changed(self.layout_version)
            && let Some(event) = self.interpreter.settle(&mut self.cpu)
        {
            return Ok(exit(event));
        }
        self.catch_up();
        Ok(exit(self.interpreter.run(&mut self.cpu)))
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        self.cpu.reply(reply(resume));
        let more = self.interpreter.settle(&mut self.cpu);
        if more.is_none() {
            // As in `run`, not before.
            self.catch_up();
        }
        Ok(more.map(exit))
    }

    fn set_irq(&mut self, line: IrqLine, high: bool) -> Result<(), HostError> {
        match line {
            IrqLine::Irq => self.irq = high,
            IrqLine::Fiq => self.fiq = high,
        }
        self.cpu.set_interrupts(self.irq, self.fiq);
        Ok(())
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        Ok(self.cpu.core())
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        use aarch64::pstate::{EL0T, EL1H, EL1T, MODE};
        if ![EL0T, EL1T, EL1H].contains(&(regs.pstate & MODE)) {
            let pstate = regs.pstate;
            return Err(HostError::BadState(format!(
                "PSTATE {pstate:#x} is no EL0 or EL1 state"
            )));
        }
        // A vCPU that is off for long must not hold on to memory that is gone.
        self.catch_up();
        self.cpu.set_core(regs);
        Ok(())
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        Ok(self.cpu.simd())
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        self.cpu.set_simd(regs);
        Ok(())
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        self.cpu.sysreg(reg).ok_or(HostError::NoRegister(reg))
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        if self.cpu.set_sysreg(reg, value) {
            Ok(())
        } else {
            Err(HostError::NoRegister(reg))
        }
    }

    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        let DebugControl {
            single_step,
            breakpoints,
            watchpoints,
            trap_brk,
        } = control;
        let watchpoints = watchpoints.iter().map(|&(va, bytes, kind)| Watchpoint {
            va,
            bytes,
            reads: matches!(kind, WatchKind::Read | WatchKind::Access),
            writes: matches!(kind, WatchKind::Write | WatchKind::Access),
        });
        self.cpu.set_debug(debug::DebugControl {
            single_step: *single_step,
            breakpoints: breakpoints.clone(),
            watchpoints: watchpoints.collect(),
            trap_brk: *trap_brk,
        });
        Ok(())
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.cpu.retired())
    }
}
