//! Any accelerator, with a log of its exits.

use std::fmt;
use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::state::{CoreRegs, CounterState, SimdRegs};
use aarch64::{Gpa, SysReg, VcpuId};
use hv_backend::api::{
    Caps, DebugControl, DirtyLog, Doorbells, Exit, HostError, Hypervisor, IrqLine, KernelGic,
    Resume, Vcpu, Vm, VmConfig,
};
use memory::{Prot, Region};

use super::log::Place;
use super::{Log, What};

/// An accelerator that is looked at.
pub struct Observed {
    inner: Box<dyn Hypervisor>,
    log: Arc<Log>,
}

impl Observed {
    /// Writes the exits of `inner` into `log`.
    #[must_use]
    pub fn new(inner: Box<dyn Hypervisor>, log: Arc<Log>) -> Self {
        Self { inner, log }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed")
            .field("inner", &self.inner.name())
            .field("log", &self.log)
            .finish()
    }
}

impl Hypervisor for Observed {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn caps(&self) -> &Caps {
        self.inner.caps()
    }

    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError> {
        let inner = self.inner.create_vm(config)?;
        let log = self.log.clone();
        Ok(Box::new(ObservedVm { inner, log }))
    }

    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError> {
        self.inner.offers_cpu(model)
    }
}

struct ObservedVm {
    inner: Box<dyn Vm>,
    log: Arc<Log>,
}

impl Vm for ObservedVm {
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        self.inner.map(gpa, region, prot)
    }

    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        self.inner.unmap(gpa)
    }

    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        self.inner.discard(gpa, bytes)
    }

    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError> {
        Ok(Box::new(ObservedVcpu {
            inner: self.inner.bind_vcpu(id)?,
            id,
            log: self.log.clone(),
            asked: None,
        }))
    }

    fn kick(&self, id: VcpuId) {
        self.inner.kick(id);
    }

    fn counter(&self) -> CounterState {
        self.inner.counter()
    }

    fn set_counter(&self, state: &CounterState) -> Result<(), HostError> {
        self.inner.set_counter(state)
    }

    fn forget_code(&self) {
        self.inner.forget_code();
    }

    fn kernel_gic(&self) -> Option<&dyn KernelGic> {
        self.inner.kernel_gic()
    }

    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        self.inner.dirty_log()
    }

    fn doorbells(&self) -> Option<&dyn Doorbells> {
        self.inner.doorbells()
    }
}

struct ObservedVcpu {
    inner: Box<dyn Vcpu>,
    id: VcpuId,
    log: Arc<Log>,
    /// The exit that is not answered yet, with X0 to X3 of a call.
    asked: Option<(Place, Exit, [u64; 4])>,
}

impl ObservedVcpu {
    fn answered(&mut self, answer: Resume) {
        if let Some((place, exit, x)) = self.asked.take() {
            let what = What::Exit { exit, x, answer };
            self.log.write(place, self.id.0, what);
        }
    }

    fn left(&mut self, exit: Exit) -> Result<(), HostError> {
        let x = match exit {
            Exit::MmioRead { .. }
            | Exit::MmioWrite { .. }
            | Exit::SysRegRead { .. }
            | Exit::SysRegWrite { .. }
            | Exit::Wfi
            | Exit::Timer
            | Exit::System(_) => Some([0; 4]),
            Exit::Call { .. } => {
                let x = self.inner.core()?.x;
                Some([x[0], x[1], x[2], x[3]])
            }
            Exit::Kicked => None,
            Exit::Debug(_) | Exit::QuantumEnd | Exit::Fault(_) => {
                self.log.close();
                None
            }
        };
        if let Some(x) = x {
            self.log.wait_for_turn(self.id.0);
            self.asked = Some((self.log.place(), exit, x));
        }
        Ok(())
    }
}

impl Vcpu for ObservedVcpu {
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        self.answered(resume);
        let exit = self.inner.run(resume)?;
        self.left(exit)?;
        Ok(exit)
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        self.answered(resume);
        let more = self.inner.settle(resume)?;
        if let Some(exit) = more {
            self.left(exit)?;
        }
        Ok(more)
    }

    fn set_irq(&mut self, line: IrqLine, high: bool) -> Result<(), HostError> {
        self.inner.set_irq(line, high)
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        self.inner.core()
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        // The first vCPU starts where the kernel's file says; and a vCPU that is turned off is
        // put to 0.
        if self.id.0 > 0 && regs.pc != 0 {
            let (pc, x0) = (regs.pc, regs.x[0]);
            let place = self.log.place();
            self.log.write(place, self.id.0, What::Start { pc, x0 });
        }
        self.inner.set_core(regs)
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        self.inner.simd()
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        self.inner.set_simd(regs)
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        self.inner.sysreg(reg)
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        self.inner.set_sysreg(reg, value)
    }

    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        self.inner.set_debug(control)
    }

    fn instructions(&self) -> Option<u64> {
        self.inner.instructions()
    }
}
