//! A vCPU of the `kvm` backend: answers and exits, and its registers.

use std::marker::PhantomData;
use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Gpa, SysReg, VcpuId};
use kvm_bindings::{KVM_EXIT_ARM_NISV, kvm_vcpu_events};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::exits;
use super::kick::Kick;
use super::registers::{self, Place};
use super::vm::Shared;
use super::{failed, sys};
use crate::api::{DebugControl, Exit, GuestFault, HostError, IrqLine, Resume, Vcpu};

/// What the last exit wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Read,
    Write,
    Call,
}

/// A vCPU.
#[derive(Debug)]
pub struct KvmVcpu {
    id: VcpuId,
    fd: VcpuFd,
    asked: Asked,
    shared: Arc<Shared>,
    /// It stays on the thread that bound it.
    _not_send: PhantomData<*const ()>,
}

impl KvmVcpu {
    /// The vCPU, held by this thread.
    pub fn new(id: VcpuId, fd: VcpuFd, shared: Arc<Shared>) -> Self {
        if let Some(kick) = shared.kick(id) {
            kick.bind();
        }
        Self {
            id,
            fd,
            asked: Asked::Nothing,
            shared,
            _not_send: PhantomData,
        }
    }

    fn kick(&self) -> Result<&Kick, HostError> {
        let gone = || HostError::Limit(format!("the VM has no {}", self.id));
        self.shared.kick(self.id).ok_or_else(gone)
    }

    /// Leaves the answer to the last exit where the next entry finds it.
    fn answer(&mut self, resume: Resume) -> Result<(), HostError> {
        match (self.asked, resume) {
            (Asked::Nothing | Asked::Write, Resume::Done) => {}
            (Asked::Read, Resume::Data(value)) => {
                let run = self.fd.get_kvm_run();
                run.__bindgen_anon_1.mmio.data = value.to_le_bytes();
            }
            (Asked::Read | Asked::Write, Resume::ExternalAbort) => {
                let mut events = kvm_vcpu_events::default();
                events.exception.ext_dabt_pending = 1;
                let result = self.fd.set_vcpu_events(&events);
                result.map_err(failed("KVM_SET_VCPU_EVENTS"))?;
            }
            (Asked::Call, Resume::Call(values)) => {
                for (n, value) in values.into_iter().enumerate() {
                    self.set(registers::x(n), &value.to_le_bytes())?;
                }
            }
            (asked, resume) => {
                let line = format!("{resume:?} is no answer to {asked:?}");
                return Err(HostError::BadState(line));
            }
        }
        self.asked = Asked::Nothing;
        Ok(())
    }

    /// Enters the guest once. `None` when the entry was interrupted.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most exits that kvm-ioctls knows are other processors'"
    )]
    fn enter(&mut self) -> Result<Option<Exit>, HostError> {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => return Ok(None),
            Err(error) => return Err(failed("KVM_RUN")(error)),
        };
        let (asked, exit) = match exit {
            VcpuExit::MmioRead(gpa, data) => {
                let (gpa, size) = (Gpa(gpa), exits::size(data.len())?);
                (Asked::Read, Exit::MmioRead { gpa, size })
            }
            VcpuExit::MmioWrite(gpa, data) => {
                let (gpa, size, data) = (Gpa(gpa), exits::size(data.len())?, exits::value(data));
                (Asked::Write, Exit::MmioWrite { gpa, size, data })
            }
            VcpuExit::Hypercall(call) => {
                let conduit = exits::conduit(call.longmode);
                // KVM hands on calls with the immediate 0 only.
                (Asked::Call, Exit::Call { conduit, imm: 0 })
            }
            VcpuExit::SystemEvent(kind, _) => {
                (Asked::Nothing, Exit::System(exits::system_event(kind)?))
            }
            VcpuExit::Unsupported(KVM_EXIT_ARM_NISV) => {
                let gpa = sys::undecoded_address(self.fd.get_kvm_run());
                let fault = GuestFault::UndecodedAccess(gpa);
                (Asked::Nothing, Exit::Fault(fault))
            }
            other => {
                let line = format!("KVM stopped {} in a way unknown here: {other:?}", self.id);
                return Err(HostError::BadState(line));
            }
        };
        self.asked = asked;
        Ok(Some(exit))
    }

    fn get<const N: usize>(&self, register: u64) -> Result<[u8; N], HostError> {
        let mut bytes = [0; N];
        let result = self.fd.get_one_reg(register, &mut bytes);
        result.map_err(failed("KVM_GET_ONE_REG"))?;
        Ok(bytes)
    }

    fn set(&mut self, register: u64, bytes: &[u8]) -> Result<(), HostError> {
        let result = self.fd.set_one_reg(register, bytes);
        result.map(drop).map_err(failed("KVM_SET_ONE_REG"))
    }

    fn get_u64(&self, register: u64) -> Result<u64, HostError> {
        self.get(register).map(u64::from_le_bytes)
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        if let Some(kick) = self.shared.kick(self.id) {
            kick.release();
        }
    }
}

/// What a failed access to a system register means.
fn no_register(reg: SysReg, call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> HostError {
    move |error| match error.errno() {
        libc::ENOENT | libc::EINVAL | libc::EPERM => HostError::NoRegister(reg),
        _ => failed(call)(error),
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        self.answer(resume)?;
        loop {
            if let Some(exit) = self.enter()? {
                return Ok(exit);
            }
            if self.kick()?.take() {
                return Ok(Exit::Kicked);
            }
        }
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        self.answer(resume)?;
        self.kick()?.hold();
        let entered = self.enter();
        self.kick()?.unhold();
        match entered? {
            None => Ok(None),
            Some(exit) => Err(HostError::BadState(format!("{exit:?} from a held vCPU"))),
        }
    }

    fn set_irq(&mut self, line: IrqLine, _high: bool) -> Result<(), HostError> {
        let line = format!("{line:?} of a vCPU belongs to the kernel's GIC");
        Err(HostError::BadState(line))
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        let mut regs = CoreRegs {
            pc: self.get_u64(registers::PC)?,
            pstate: self.get_u64(registers::PSTATE)?,
            ..CoreRegs::default()
        };
        for (n, x) in regs.x.iter_mut().enumerate() {
            *x = self.get_u64(registers::x(n))?;
        }
        Ok(regs)
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        use aarch64::pstate::{EL0T, EL1H, EL1T, MODE};
        let CoreRegs { x, pc, pstate } = regs;
        if ![EL0T, EL1T, EL1H].contains(&(pstate & MODE)) {
            let line = format!("PSTATE {pstate:#x} is no EL0 or EL1 state");
            return Err(HostError::BadState(line));
        }
        for (n, x) in x.iter().enumerate() {
            self.set(registers::x(n), &x.to_le_bytes())?;
        }
        self.set(registers::PC, &pc.to_le_bytes())?;
        self.set(registers::PSTATE, &pstate.to_le_bytes())
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        let mut regs = SimdRegs {
            fpcr: self.get(registers::FPCR).map(u32::from_le_bytes)?,
            fpsr: self.get(registers::FPSR).map(u32::from_le_bytes)?,
            ..SimdRegs::default()
        };
        for (n, v) in regs.v.iter_mut().enumerate() {
            *v = self.get(registers::v(n)).map(u128::from_le_bytes)?;
        }
        Ok(regs)
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        let SimdRegs { v, fpcr, fpsr } = regs;
        for (n, v) in v.iter().enumerate() {
            self.set(registers::v(n), &v.to_le_bytes())?;
        }
        self.set(registers::FPCR, &fpcr.to_le_bytes())?;
        self.set(registers::FPSR, &fpsr.to_le_bytes())
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        let Place::Register(register) = registers::place(reg) else {
            return Ok(0);
        };
        let mut bytes = [0; 8];
        let result = self.fd.get_one_reg(register, &mut bytes);
        result.map_err(no_register(reg, "KVM_GET_ONE_REG"))?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        match registers::place(reg) {
            Place::Zero if value == 0 => Ok(()),
            Place::Zero => Err(HostError::NoRegister(reg)),
            Place::Register(register) => {
                let result = self.fd.set_one_reg(register, &value.to_le_bytes());
                result
                    .map(drop)
                    .map_err(no_register(reg, "KVM_SET_ONE_REG"))
            }
        }
    }

    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        if *control == DebugControl::default() {
            return Ok(());
        }
        let line = "debugging a guest is not built yet for KVM".into();
        Err(HostError::Limit(line))
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}
