//! An accelerator without a CPU: each vCPU plays a script of exits and records what it is told.
//!
//! It lets the VMM's run loop be tested exit by exit. A [`Script`] is a list of [`Step`]s: an exit
//! to report, a register the "guest" sets first, a wait for a kick, a failure. Where a script
//! ends, the vCPU behaves as a guest that computes for ever: only a kick gets it out. Everything
//! the VMM does to a vCPU is an [`Event`] of its log.
//!
//! The interrupt controller is the VMM's, or one of the host's kernel that records what it is told
//! ([`Scripted::with_kernel_gic`]). Guest memory is kept but never accessed, and a log of writes to it
//! ([`Scripted::with_dirty_log`]) has what a test puts in; kicks are as sticky as the contract asks.

mod dirty;
mod gic;

use dirty::Written;
pub use gic::{GicEvent, ScriptedGic};

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use aarch64::cpu_model::CpuModel;
use aarch64::state::{CoreRegs, CounterState, SimdRegs, VcpuState};
use aarch64::{Gpa, Saved, SysReg, VcpuId};
use memory::{Layout, Prot, Region};

use crate::api::{
    Caps, DebugControl, DirtyLog, Doorbells, Exit, HostError, Hypervisor, IrqLine, KernelGic,
    Resume, Vcpu, Vm, VmConfig,
};
use crate::discard::{self, Part};

/// One thing a scripted vCPU does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Leaves the guest with this exit.
    Exit(Exit),
    /// Sets a general register, and goes on.
    X(usize, u64),
    /// Sets a system register, and goes on.
    Sys(Saved, u64),
    /// Runs guest code until somebody kicks.
    UntilKicked,
    /// Fails as a host does.
    Fail(&'static str),
    /// Panics, as a backend with a bug does.
    Panic,
}

/// What one vCPU plays.
#[derive(Clone, Debug, Default)]
pub struct Script(VecDeque<Step>);

impl Script {
    /// An empty script: a guest that computes for ever.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    #[must_use]
    pub fn then(mut self, step: Step) -> Self {
        self.0.push_back(step);
        self
    }

    /// Adds an exit.
    #[must_use]
    pub fn exit(self, exit: Exit) -> Self {
        self.then(Step::Exit(exit))
    }
}

/// What the VMM did to a scripted vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It ran it.
    Run(Resume),
    /// It settled it.
    Settle(Resume),
    /// It moved an interrupt input.
    Irq(IrqLine, bool),
    /// It set the general registers: the PC and X0.
    Core(u64, u64),
    /// It set a system register.
    Sys(SysReg, u64),
}

/// The accelerator. Clones are handles on the same one.
#[derive(Clone)]
pub struct Scripted {
    caps: Caps,
    /// Why there is no CPU model `portable`, if there is none.
    no_portable: Option<String>,
    gic: Option<Arc<ScriptedGic>>,
    /// It keeps a log of writes.
    logs: bool,
    shared: Arc<Shared>,
}

struct Shared {
    seats: Vec<Seat>,
    counter: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Added to it.
    offset: AtomicU64,
    layout: Mutex<Layout>,
    written: Written,
}

/// One vCPU as seen from other threads.
#[derive(Default)]
struct Seat {
    script: Mutex<Script>,
    kicked: Mutex<bool>,
    kick: Condvar,
    log: Mutex<Vec<Event>>,
    bound: Mutex<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scripted {
    /// One vCPU for each script; the counter runs at 1 GHz and is read by calling `counter`.
    #[must_use]
    pub fn new(scripts: Vec<Script>, counter: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let caps = Caps {
            max_vcpus: u16::try_from(scripts.len()).unwrap_or(u16::MAX),
            address_bits: 40,
            counter_frequency: 1_000_000_000,
            any_frequency_up_to: None,
        };
        let seat = |script| Seat {
            script: Mutex::new(script),
            ..Seat::default()
        };
        let seats = scripts.into_iter().map(seat).collect();
        let layout = Mutex::default();
        Self {
            caps,
            no_portable: None,
            gic: None,
            logs: false,
            shared: Arc::new(Shared {
                seats,
                counter: Box::new(counter),
                offset: AtomicU64::new(0),
                layout,
                written: Written::default(),
            }),
        }
    }

    /// The same, on a host that cannot enforce the CPU model `portable` for this reason.
    #[must_use]
    pub fn without_portable(self, reason: &str) -> Self {
        let no_portable = Some(reason.into());
        Self {
            no_portable,
            ..self
        }
    }

    /// The same, on a host whose kernel provides the interrupt controller.
    #[must_use]
    pub fn with_kernel_gic(self) -> Self {
        let gic = Some(Arc::new(ScriptedGic::new(self.caps.max_vcpus)));
        Self { gic, ..self }
    }

    /// The same, with a log of the memory that vCPUs write.
    #[must_use]
    pub fn with_dirty_log(self) -> Self {
        Self { logs: true, ..self }
    }

    /// A vCPU wrote there, as far as the log of writes is concerned.
    pub fn wrote(&self, gpa: Gpa) {
        self.shared.written.note(gpa);
    }

    /// Whether the log of writes is on.
    #[must_use]
    pub fn is_logging(&self) -> bool {
        self.shared.written.is_on()
    }

    /// The interrupt controller of the host's kernel, if it provides one.
    #[must_use]
    pub fn kernel_gic(&self) -> Option<&ScriptedGic> {
        self.gic.as_deref()
    }

    /// Everything done to a vCPU so far, oldest first.
    #[must_use]
    pub fn log(&self, id: VcpuId) -> Vec<Event> {
        self.shared
            .seats
            .get(id.index())
            .map(|seat| lock(&seat.log).clone())
            .unwrap_or_default()
    }

    /// The answers a vCPU was run with so far, oldest first.
    #[must_use]
    pub fn resumes(&self, id: VcpuId) -> Vec<Resume> {
        let resume = |event| match event {
            Event::Run(resume) => Some(resume),
            Event::Settle(_) | Event::Irq(..) | Event::Core(..) | Event::Sys(..) => None,
        };
        self.log(id).into_iter().filter_map(resume).collect()
    }

    /// The guest memory as it is mapped now.
    #[must_use]
    pub fn layout(&self) -> Layout {
        lock(&self.shared.layout).clone()
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted")
            .field("vcpus", &self.shared.seats.len())
            .finish_non_exhaustive()
    }
}

impl Hypervisor for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError> {
        if usize::from(config.vcpus) > self.shared.seats.len() {
            return Err(HostError::Limit(format!(
                "no script for {} vCPUs",
                config.vcpus
            )));
        }
        self.offers_cpu(config.cpu)?;
        Ok(Box::new(ScriptedVm {
            frequency: self.caps.counter_frequency,
            gic: self.gic.clone(),
            logs: self.logs,
            shared: self.shared.clone(),
        }))
    }

    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError> {
        match &self.no_portable {
            Some(reason) if model == CpuModel::Portable => Err(HostError::CpuModel {
                model,
                reason: reason.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

struct ScriptedVm {
    frequency: u64,
    gic: Option<Arc<ScriptedGic>>,
    logs: bool,
    shared: Arc<Shared>,
}

impl Vm for ScriptedVm {
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError> {
        let mut layout = lock(&self.shared.layout);
        let map = |e: memory::LayoutError| HostError::Map {
            gpa,
            reason: e.to_string(),
        };
        *layout = layout.with(gpa, region, prot).map_err(map)?;
        Ok(())
    }

    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError> {
        let mut layout = lock(&self.shared.layout);
        let map = |e: memory::LayoutError| HostError::Map {
            gpa,
            reason: e.to_string(),
        };
        let (rest, region) = layout.without(gpa).map_err(map)?;
        *layout = rest;
        Ok(region)
    }

    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError> {
        let layout = lock(&self.shared.layout);
        let parts = discard::parts(&layout, gpa, bytes, aarch64::PAGE_SIZE)?;
        parts.iter().try_for_each(Part::discard)
    }

    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError> {
        let no_such = || HostError::Limit(format!("there is no {id}"));
        let seat = self.shared.seats.get(id.index()).ok_or_else(no_such)?;
        if std::mem::replace(&mut *lock(&seat.bound), true) {
            return Err(HostError::Limit(format!("{id} is bound already")));
        }
        let shared = self.shared.clone();
        Ok(Box::new(ScriptedVcpu {
            id,
            shared,
            state: VcpuState::default(),
        }))
    }

    fn kick(&self, id: VcpuId) {
        if let Some(seat) = self.shared.seats.get(id.index()) {
            *lock(&seat.kicked) = true;
            seat.kick.notify_all();
        }
    }

    fn counter(&self) -> CounterState {
        CounterState {
            value: (self.shared.counter)().wrapping_add(self.shared.offset.load(SeqCst)),
            frequency: self.frequency,
        }
    }

    fn set_counter(&self, state: &CounterState) -> Result<(), HostError> {
        let CounterState { value, frequency } = *state;
        if frequency != self.frequency {
            let line = format!("the scripted counter does not run at {frequency} Hz");
            return Err(HostError::BadState(line));
        }
        let offset = value.wrapping_sub((self.shared.counter)());
        self.shared.offset.store(offset, SeqCst);
        Ok(())
    }

    fn forget_code(&self) {}

    fn kernel_gic(&self) -> Option<&dyn KernelGic> {
        self.gic.as_deref().map(|gic| gic as &dyn KernelGic)
    }

    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        self.logs.then_some(self as &dyn DirtyLog)
    }

    fn doorbells(&self) -> Option<&dyn Doorbells> {
        None
    }
}

struct ScriptedVcpu {
    id: VcpuId,
    shared: Arc<Shared>,
    state: VcpuState,
}

impl ScriptedVcpu {
    fn seat(&self) -> &Seat {
        &self.shared.seats[self.id.index()]
    }

    fn record(&self, event: Event) {
        lock(&self.seat().log).push(event);
    }

    fn take_kick(&self) -> bool {
        std::mem::replace(&mut *lock(&self.seat().kicked), false)
    }

    fn wait_for_kick(&self) -> Exit {
        let kicked = lock(&self.seat().kicked);
        let wait = self.seat().kick.wait_while(kicked, |kicked| !*kicked);
        *wait.unwrap_or_else(PoisonError::into_inner) = false;
        Exit::Kicked
    }
}

impl Vcpu for ScriptedVcpu {
    #[expect(clippy::panic, reason = "Step::Panic plays a backend with a bug")]
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError> {
        self.record(Event::Run(resume));
        if let Resume::Call(x) = resume {
            self.state.core.x[..4].copy_from_slice(&x);
        }
        if self.take_kick() {
            return Ok(Exit::Kicked);
        }
        loop {
            let step = lock(&self.seat().script).0.pop_front();
            match step {
                Some(Step::Exit(exit)) => return Ok(exit),
                Some(Step::X(n, value)) => self.state.core.x[n] = value,
                Some(Step::Sys(reg, value)) => self.state.sys[reg] = value,
                Some(Step::UntilKicked) | None => return Ok(self.wait_for_kick()),
                Some(Step::Fail(why)) => return Err(HostError::BadState(why.into())),
                Some(Step::Panic) => panic!("the script says so"),
            }
        }
    }

    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError> {
        self.record(Event::Settle(resume));
        Ok(None)
    }

    fn set_irq(&mut self, line: IrqLine, high: bool) -> Result<(), HostError> {
        self.record(Event::Irq(line, high));
        Ok(())
    }

    fn core(&self) -> Result<CoreRegs, HostError> {
        Ok(self.state.core)
    }

    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        self.record(Event::Core(regs.pc, regs.x[0]));
        self.state.core = *regs;
        Ok(())
    }

    fn simd(&self) -> Result<SimdRegs, HostError> {
        Ok(self.state.simd)
    }

    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        self.state.simd = *regs;
        Ok(())
    }

    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError> {
        let saved = Saved::from_sysreg(reg).ok_or(HostError::NoRegister(reg))?;
        Ok(self.state.sys[saved])
    }

    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError> {
        let saved = Saved::from_sysreg(reg).ok_or(HostError::NoRegister(reg))?;
        self.record(Event::Sys(reg, value));
        self.state.sys[saved] = value;
        Ok(())
    }

    fn set_debug(&mut self, _control: &DebugControl) -> Result<(), HostError> {
        Ok(())
    }

    fn instructions(&self) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(scripts: Vec<Script>) -> (Scripted, Box<dyn Vm>) {
        let vcpus = u16::try_from(scripts.len()).unwrap();
        let scripted = Scripted::new(scripts, || 7);
        let config = VmConfig {
            vcpus,
            address_bits: 40,
            time: crate::api::TimeSource::Host,
            counter_frequency: None,
            cpu: CpuModel::Portable,
        };
        let vm = scripted.create_vm(&config).unwrap();
        (scripted, vm)
    }

    #[test]
    fn steps_are_played_in_order_and_answers_recorded() {
        let script = Script::new()
            .then(Step::X(3, 9))
            .exit(Exit::Wfi)
            .exit(Exit::Timer);
        let (scripted, vm) = vm(vec![script]);
        let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Wfi);
        assert_eq!(vcpu.core().unwrap().x[3], 9);
        assert_eq!(vcpu.run(Resume::Data(5)).unwrap(), Exit::Timer);
        assert_eq!(scripted.resumes(VcpuId(0)), [Resume::Done, Resume::Data(5)]);
    }

    #[test]
    fn a_kick_is_sticky_and_taken_once() {
        let (_, vm) = vm(vec![Script::new().exit(Exit::Wfi)]);
        vm.kick(VcpuId(0));
        vm.kick(VcpuId(0));
        let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
        assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Wfi);
    }

    #[test]
    fn a_vcpu_is_bound_once() {
        let (_, vm) = vm(vec![Script::new()]);
        assert!(vm.bind_vcpu(VcpuId(0)).is_ok());
        assert!(vm.bind_vcpu(VcpuId(0)).is_err());
        assert!(vm.bind_vcpu(VcpuId(1)).is_err());
    }
}
