//! A vCPU of a bare-metal guest, on the thread that runs it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aarch64::state::VcpuState;
use aarch64::timer::{self, TIMERS, Timer};
use aarch64::{Saved, SysReg, VcpuId};
use hv_backend::api::{Exit, IrqLine, Resume, Vcpu};

use super::{EXCEPTION, Machine, Program, REPORT};

/// A vCPU. It stays on the thread that made it.
pub struct Cpu {
    // The vCPU goes before its VM.
    /// The vCPU itself, for what a test does without the machine around it.
    pub vcpu: Box<dyn Vcpu>,
    /// The machine it belongs to.
    pub machine: Arc<Machine>,
    id: VcpuId,
    /// Interrupt inputs as the vCPU has them.
    driven: u8,
}

impl Cpu {
    /// The one vCPU of a new machine, at the beginning of the program.
    #[must_use]
    pub fn alone(program: &Program) -> Self {
        Self::bind(&Machine::new(1, program), VcpuId(0))
    }

    /// Binds a vCPU of `machine` to this thread, puts it to the beginning of the program, and takes
    /// the kick that mapping memory may have left.
    ///
    /// # Panics
    /// When the accelerator refuses.
    #[must_use]
    pub fn bind(machine: &Arc<Machine>, id: VcpuId) -> Self {
        let vcpu = machine.vm().bind_vcpu(id).expect("a vCPU");
        let mut cpu = Self {
            vcpu,
            machine: machine.clone(),
            id,
            driven: 0,
        };
        cpu.start();
        machine.vm().kick(id);
        assert_eq!(cpu.enter(Resume::Done), Exit::Kicked, "a kick is sticky");
        cpu
    }

    /// Puts it to the beginning of the program, with every register at its first value.
    ///
    /// # Panics
    /// When the accelerator refuses a register.
    pub fn start(&mut self) {
        for reg in Saved::ALL {
            self.set_sysreg(*reg, reg.reset_value());
        }
        let machine = self.machine.clone();
        for (reg, value) in machine.program().sysregs() {
            self.set_sysreg(reg, value);
        }
        let core = machine.program().core(self.id);
        self.vcpu.set_core(&core).expect("registers can be set");
        self.vcpu
            .set_simd(&VcpuState::default().simd)
            .expect("registers can be set");
    }

    /// Sets a system register.
    ///
    /// # Panics
    /// When the accelerator refuses.
    pub fn set_sysreg(&mut self, reg: Saved, value: u64) {
        let set = self.vcpu.set_sysreg(reg.sysreg(), value);
        set.unwrap_or_else(|error| panic!("{reg:?} = {value:#x}: {error}"));
    }

    /// A system register.
    ///
    /// # Panics
    /// When the accelerator has it not.
    #[must_use]
    pub fn sysreg(&self, reg: impl Into<Register>) -> u64 {
        let Register(reg) = reg.into();
        let value = self.vcpu.sysreg(reg);
        value.unwrap_or_else(|error| panic!("{reg:?}: {error}"))
    }

    /// A general register.
    ///
    /// # Panics
    /// When the accelerator fails.
    #[must_use]
    pub fn x(&self, n: usize) -> u64 {
        self.vcpu.core().expect("registers can be read").x[n]
    }

    /// The PC, from the beginning of the vCPU's program.
    ///
    /// # Panics
    /// When the accelerator fails.
    #[must_use]
    pub fn pc(&self) -> u64 {
        let core = self.vcpu.core().expect("registers can be read");
        core.pc.wrapping_sub(self.machine.program().entry(self.id))
    }

    /// Runs to the next exit that is the test's: none of the interrupt controller, the timers, WFI,
    /// and no kick but that of [`Machine::kick`].
    #[must_use]
    pub fn go(&mut self) -> Exit {
        self.answer(Resume::Done)
    }

    /// As [`Cpu::go`], with an answer to the last exit.
    #[must_use]
    pub fn answer(&mut self, mut resume: Resume) -> Exit {
        loop {
            self.drive_lines();
            let exit = self.enter(resume);
            match self.serve(exit) {
                Some(answer) => resume = answer,
                None => return exit,
            }
        }
    }

    /// Runs the guest once, whatever it leaves for.
    ///
    /// # Panics
    /// When the accelerator fails.
    #[must_use]
    pub fn enter(&mut self, resume: Resume) -> Exit {
        let exit = self.vcpu.run(resume);
        exit.unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    /// Finishes the last exit's instruction, which has no more accesses to make.
    ///
    /// # Panics
    /// When it has, or the accelerator fails.
    pub fn settle(&mut self, resume: Resume) {
        let more = self.vcpu.settle(resume).expect("it can be finished");
        assert_eq!(more, None, "{}", self.place());
    }

    /// Runs to the next report, and returns what it says.
    ///
    /// # Panics
    /// When the guest leaves for anything else.
    #[must_use]
    pub fn report(&mut self) -> u64 {
        let exit = self.go();
        let Exit::MmioWrite {
            gpa: REPORT, data, ..
        } = exit
        else {
            panic!("{exit:x?} instead of a report, {}", self.place());
        };
        data
    }

    /// Runs to the next exception without a handler of its own, with this answer to the last exit,
    /// and returns its vector.
    ///
    /// # Panics
    /// When the guest leaves for anything else.
    #[must_use]
    pub fn exception(&mut self, resume: Resume) -> u64 {
        let exit = self.answer(resume);
        let Exit::MmioWrite {
            gpa: EXCEPTION,
            data,
            ..
        } = exit
        else {
            panic!("{exit:x?} instead of an exception, {}", self.place());
        };
        data
    }

    /// Where it is, for those who look for an error.
    fn place(&self) -> String {
        let value = |reg: Saved| self.vcpu.sysreg(reg.sysreg()).unwrap_or(u64::MAX);
        format!(
            "at {:#x}, ESR {:#x}, ELR {:#x}, FAR {:#x}",
            self.pc(),
            value(Saved::EsrEl1),
            value(Saved::ElrEl1),
            value(Saved::FarEl1),
        )
    }

    /// The answer to an exit that is the machine's.
    fn serve(&self, exit: Exit) -> Option<Resume> {
        let (machine, id) = (&self.machine, self.id);
        match exit {
            Exit::MmioRead { gpa, size } => machine.gic_read(gpa, size).map(Resume::Data),
            Exit::MmioWrite { gpa, size, data } => {
                machine.gic_write(gpa, size, data).map(|()| Resume::Done)
            }
            Exit::SysRegRead { reg } => machine.icc_read(id, reg).map(Resume::Data),
            Exit::SysRegWrite { reg, data } => {
                machine.icc_write(id, reg, data).map(|()| Resume::Done)
            }
            Exit::Timer => {
                self.update_timers();
                Some(Resume::Done)
            }
            Exit::Wfi => {
                let limit = self.update_timers();
                machine.seat(id).park(limit);
                Some(Resume::Done)
            }
            Exit::Kicked => (!machine.seat(id).take_call()).then_some(Resume::Done),
            Exit::Call { .. }
            | Exit::Debug(_)
            | Exit::System(_)
            | Exit::QuantumEnd
            | Exit::Fault(_) => None,
        }
    }

    fn drive_lines(&mut self) {
        let lines = self.machine.seat(self.id).lines();
        for (line, bit) in [(IrqLine::Irq, 1), (IrqLine::Fiq, 2)] {
            if (lines ^ self.driven) & bit != 0 {
                let set = self.vcpu.set_irq(line, lines & bit != 0);
                set.expect("an input can be moved");
            }
        }
        self.driven = lines;
    }

    /// Moves the timers' interrupt inputs to where their registers say, and says when the next one
    /// goes high by itself. The kernel does that itself if the interrupt controller is its own.
    fn update_timers(&self) -> Option<Duration> {
        let counter = self.machine.vm().counter();
        let mut next: Option<u64> = None;
        for spec in TIMERS {
            let timer = Timer {
                ctl: self.sysreg(spec.ctl),
                cval: self.sysreg(spec.cval),
            };
            let high = timer.output(counter.value);
            self.machine.set_ppi(self.id, spec.intid, high);
            next = [next, timer.deadline(counter.value)]
                .into_iter()
                .flatten()
                .min();
        }
        next.map(|at| {
            let nanos = timer::nanoseconds(at - counter.value, counter.frequency);
            Duration::from_nanos(nanos)
        })
    }
}

/// A system register, saved or not.
#[derive(Clone, Copy, Debug)]
pub struct Register(SysReg);

impl From<Saved> for Register {
    fn from(reg: Saved) -> Self {
        Self(reg.sysreg())
    }
}

impl From<SysReg> for Register {
    fn from(reg: SysReg) -> Self {
        Self(reg)
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
