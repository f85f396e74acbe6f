//! A vCPU of the `kvm` backend: answers and exits.
//!
//! What KVM leaves to us of an instruction, we complete with the vCPU's registers: accesses that it
//! does not decode ([`Executor`]), calls that are undefined, debug exceptions that are the guest's.

use std::marker::PhantomData;
use std::sync::Arc;

use aarch64::exception::{Taken, Vector, take};
use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::syndrome::{Ec, esr};
use aarch64::trap::{Access, ZERO_REGISTER};
use aarch64::{Gpa, Saved, Size, SysReg, VcpuId, pstate};
use kvm_bindings::{KVM_EXIT_ARM_NISV, kvm_debug_exit_arch, kvm_vcpu_events};
use kvm_ioctls::{VcpuExit, VcpuFd};
use memory::Layout;

use super::exits;
use super::kick::Kick;
use super::signed_load::{is_positive, signed_load};
use super::vm::Shared;
use super::{debug, failed, state, sys};
use crate::api::{DebugControl, DebugStop, Exit, HostError, IrqLine, Resume, Vcpu};
use crate::debug::{Mode, Session, Trap, Verdict};
use crate::executor::{Executor, Outcome};

/// What the last exit wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Read(Size),
    Write,
    Call,
    /// The executor asks.
    Access,
}

/// What an entry into the guest came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entered {
    Exit(Exit),
    /// A signal or a kick ended it.
    Interrupted,
    /// What it ended with is dealt with, and nobody's concern.
    Again,
}

/// A vCPU.
#[derive(Debug)]
pub struct KvmVcpu {
    id: VcpuId,
    fd: VcpuFd,
    asked: Asked,
    shared: Arc<Shared>,
    /// Made at the first access that KVM does not decode.
    executor: Option<Box<Executor>>,
    session: Session,
    /// How the kernel was told to debug the vCPU.
    mode: Mode,
    /// What its debugger is to hear before the guest runs on.
    stopped: Option<DebugStop>,
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
            executor: None,
            session: Session::default(),
            mode: Mode::default(),
            stopped: None,
            _not_send: PhantomData,
        }
    }

    fn kick(&self) -> Result<&Kick, HostError> {
        let gone = || HostError::Limit(format!("the VM has no {}", self.id));
        self.shared.kick(self.id).ok_or_else(gone)
    }

    /// Leaves the answer to the last exit where the next entry finds it. An exit, if the instruction
    /// has more to ask.
    fn answer(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        match (std::mem::replace(&mut self.asked, Asked::Nothing), resume) {
            (Asked::Nothing | Asked::Write, Resume::Done) => {}
            (Asked::Read(size), Resume::Data(value)) => {
                let run = self.fd.get_kvm_run();
                run.__bindgen_anon_1.mmio.data = value.to_le_bytes();
                if !is_positive(size, value) {
                    self.extend_sign(size, value)?;
                }
            }
            (Asked::Read(_) | Asked::Write, Resume::ExternalAbort) => {
                let mut events = kvm_vcpu_events::default();
                events.exception.ext_dabt_pending = 1;
                let result = self.fd.set_vcpu_events(&events);
                result.map_err(failed("KVM_SET_VCPU_EVENTS"))?;
            }
            (Asked::Call, Resume::Call(values)) => {
                for (n, value) in values.into_iter().enumerate() {
                    state::set_x(&self.fd, n, value)?;
                }
            }
            (Asked::Call, Resume::Undefined) => {
                // The kernel has gone on to the next instruction already.
                let pc = state::pc(&self.fd)?.wrapping_sub(4);
                self.take_exception(pc, esr(Ec::Unknown, 0), None)?;
            }
            (Asked::Access, Resume::Done | Resume::Data(_) | Resume::ExternalAbort) => {
                return self.execute(|executor, vcpu, _| executor.go_on(vcpu, resume));
            }
            (asked, resume) => {
                let line = format!("{resume:?} is no answer to {asked:?}");
                return Err(HostError::BadState(line));
            }
        }
        Ok(None)
    }

    /// Completes the load whose answer waits for the next entry, and if it is one that extends the
    /// sign gives its register what KVM does not: see [`signed_load`].
    #[cold]
    fn extend_sign(&mut self, size: Size, value: u64) -> Result<(), HostError> {
        let place = (state::pc(&self.fd)?, state::pstate(&self.fd)?);
        let layout = Arc::clone(&self.shared.memory().layout);
        let mut executor = self.executor.take().unwrap_or_default();
        let insn = executor.instruction(self, place, layout);
        self.executor = Some(executor);
        let Some(access) = insn?.and_then(signed_load) else {
            return Ok(());
        };
        let Access { register, .. } = access;
        if access.size != size || register == ZERO_REGISTER {
            return Ok(());
        }
        self.complete()?;
        self.stopped = self.session.completed();
        state::set_x(&self.fd, register.into(), access.loaded(value))
    }

    /// Has the kernel complete what waits for the next entry, and no more.
    fn complete(&mut self) -> Result<(), HostError> {
        self.kick()?.hold();
        let entered = self.enter();
        self.kick()?.unhold();
        match entered? {
            Entered::Interrupted => Ok(()),
            other @ (Entered::Exit(_) | Entered::Again) => {
                Err(HostError::BadState(format!("{other:?} of a held vCPU")))
            }
        }
    }

    /// Has the executor do part of an instruction. Guest memory stays as it is meanwhile, and is
    /// not looked at by who logs what is written.
    fn execute(
        &mut self,
        part: impl FnOnce(&mut Executor, &mut Self, &Arc<Layout>) -> Result<Outcome, HostError>,
    ) -> Result<Option<Exit>, HostError> {
        let shared = Arc::clone(&self.shared);
        let memory = shared.memory();
        let mut executor = self.executor.take().unwrap_or_default();
        let outcome = part(&mut executor, self, &memory.layout);
        if executor.is_busy() {
            self.asked = Asked::Access;
        }
        self.executor = Some(executor);
        match outcome? {
            Outcome::Exit(exit) => Ok(Some(exit)),
            Outcome::Done => {
                self.stopped = self.session.completed();
                Ok(None)
            }
        }
    }

    /// Takes a synchronous exception at EL1 for the guest, which is to return to `pc`.
    fn take_exception(&self, pc: u64, esr: u64, far: Option<u64>) -> Result<(), HostError> {
        let get = |reg: Saved| state::sysreg(&self.fd, reg.sysreg());
        let set = |reg: Saved, value| state::set_sysreg(&self.fd, reg.sysreg(), value);
        let (vbar, sctlr) = (get(Saved::VbarEl1)?, get(Saved::SctlrEl1)?);
        let old = state::pstate(&self.fd)?;
        let taken = take(Vector::Synchronous, pc, old, vbar, sctlr);
        let Taken {
            pc,
            pstate,
            elr,
            spsr,
        } = taken;
        set(Saved::EsrEl1, esr)?;
        if let Some(far) = far {
            set(Saved::FarEl1, far)?;
        }
        set(Saved::ElrEl1, elr)?;
        set(Saved::SpsrEl1, spsr)?;
        state::set_place(&self.fd, pc, pstate)
    }

    /// Makes the kernel debug the vCPU as its debugger wants for the next entry.
    fn apply_debug(&mut self) -> Result<(), HostError> {
        let pc = match self.session.needs_pc() {
            true => state::pc(&self.fd)?,
            false => 0,
        };
        let mode = self.session.mode(pc);
        if mode != self.mode {
            debug::apply(&self.fd, mode, self.session.registers())?;
            self.mode = mode;
        }
        Ok(())
    }

    /// Enters the guest once.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most exits that kvm-ioctls knows are other processors'"
    )]
    fn enter(&mut self) -> Result<Entered, HostError> {
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.errno()) => {
                return Ok(Entered::Interrupted);
            }
            Err(error) => return Err(failed("KVM_RUN")(error)),
        };
        let (asked, exit) = match exit {
            VcpuExit::MmioRead(gpa, data) => {
                let (gpa, size) = (Gpa(gpa), exits::size(data.len())?);
                (Asked::Read(size), Exit::MmioRead { gpa, size })
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
            VcpuExit::Debug(trap) => return self.debug_exception(trap),
            VcpuExit::Unsupported(KVM_EXIT_ARM_NISV) => {
                let gpa = sys::undecoded_address(self.fd.get_kvm_run());
                let exit = self.execute(|executor, vcpu, layout| {
                    executor.begin(vcpu, gpa, Arc::clone(layout))
                })?;
                return Ok(exit.map_or(Entered::Again, Entered::Exit));
            }
            other => {
                let line = format!("KVM stopped {} in a way unknown here: {other:?}", self.id);
                return Err(HostError::BadState(line));
            }
        };
        self.asked = asked;
        Ok(Entered::Exit(exit))
    }

    fn debug_exception(&mut self, exit: kvm_debug_exit_arch) -> Result<Entered, HostError> {
        let kvm_debug_exit_arch { hsr, hsr_high, far } = exit;
        let trap = Trap {
            esr: u64::from(hsr_high) << 32 | u64::from(hsr),
            far,
            pc: state::pc(&self.fd)?,
            user: state::pstate(&self.fd)? & pstate::MODE == pstate::EL0T,
        };
        match self.session.trapped(trap) {
            Verdict::Stop(stop) => Ok(Entered::Exit(Exit::Debug(stop))),
            Verdict::Silent => Ok(Entered::Again),
            Verdict::Guests { esr, far } => {
                self.take_exception(trap.pc, esr, far)?;
                self.stopped = self.session.completed();
                Ok(Entered::Again)
            }
        }
    }

    /// The VMM sets registers: an instruction that is half done is none any more.
    fn abandon(&mut self) {
        if let Some(executor) = &mut self.executor
            && executor.is_busy()
        {
            executor.abandon();
            self.asked = Asked::Nothing;
        }
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        if let Some(kick) = self.shared.kick(self.id) {
            kick.release();
        }
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        if let Some(exit) = self.answer(resume)? {
            return Ok(exit);
        }
        loop {
            if let Some(stop) = self.stopped.take() {
                return Ok(Exit::Debug(stop));
            }
            self.apply_debug()?;
            match self.enter()? {
                Entered::Exit(exit) => return Ok(exit),
                Entered::Again => {}
                Entered::Interrupted if self.kick()?.take() => return Ok(Exit::Kicked),
                Entered::Interrupted => {}
            }
        }
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        let is_access = matches!(self.asked, Asked::Read(_) | Asked::Write);
        if let Some(exit) = self.answer(resume)? {
            return Ok(Some(exit));
        }
        self.complete()?;
        if is_access {
            // The next entry would step over another instruction before it tells of this one.
            self.stopped = self.session.completed();
        }
        Ok(None)
    }

    fn set_irq(&mut self, line: IrqLine, _high: bool) -> Result<(), HostError> {
        let line = format!("{line:?} of a vCPU belongs to the kernel's GIC");
        Err(HostError::BadState(line))
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        state::core(&self.fd)
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        self.abandon();
        state::set_core(&self.fd, regs)
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        state::simd(&self.fd)
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        self.abandon();
        state::set_simd(&self.fd, regs)
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        state::sysreg(&self.fd, reg)
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        self.abandon();
        state::set_sysreg(&self.fd, reg, value)
    }

    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError> {
        self.session.set(control, self.shared.debug_slots)?;
        self.stopped = None;
        // The registers may differ where the mode does not.
        self.mode = self.session.mode(0);
        debug::apply(&self.fd, self.mode, self.session.registers())
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}
