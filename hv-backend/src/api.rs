//! The contract between the VMM and an accelerator.
//!
//! The VMM owns the run loop: [`Vcpu::run`] takes a [`Resume`], which answers the previous
//! [`Exit`], runs the guest and returns the next [`Exit`]. Both are plain `Copy` values that name
//! no backend, so exits can be scripted, recorded, replayed and fuzzed.
//!
//! Rules every backend keeps:
//! - What a guest does wrong is an [`Exit`]; `Err` means that the host failed.
//! - The guest's PC stays at the trapping instruction until a `Resume` retires it. Sign extension,
//!   the target register and the access size are the backend's business, not the VMM's.
//! - The answer to an access counts, even if memory was mapped at its address or taken away since
//!   the exit: the access is made already. The instruction's next access finds what is there then, or
//!   what was there when it began.
//! - An optional ability is an `Option<&dyn Trait>`; a fixed fact is a field of [`Caps`].
//! - A vCPU belongs to the thread that bound it ([`Vm::bind_vcpu`]); only [`Vm::kick`] reaches it
//!   from elsewhere.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

pub use aarch64::cpu_model::CpuModel;
use aarch64::gic_state::GicState;
use aarch64::state::{CoreRegs, CounterState, SimdRegs};
use aarch64::{Gpa, Intid, Size, SysReg, VcpuId};
use memory::{PageSet, Prot, Region};

/// An accelerator: makes VMs.
pub trait Hypervisor: Send + Sync {
    /// The name users select it by: `kvm`, `hvf` or `soft`.
    fn name(&self) -> &'static str;
    /// What it can do on this host.
    fn caps(&self) -> &Caps;
    /// A VM without memory whose vCPUs are not yet bound.
    ///
    /// # Errors
    /// When the host refuses, or `config` asks for more than [`Caps`] offers;
    /// [`HostError::CpuModel`] when only the CPU model is in the way.
    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError>;
    /// Tries whether this host can give guests the CPU model. It costs what starting a small VM
    /// does: [`Hypervisor::create_vm`] says the same, of the VM that is wanted.
    ///
    /// # Errors
    /// [`HostError::CpuModel`] with the reason; others when the host fails.
    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError>;
}

/// Fixed facts about an accelerator on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The most vCPUs of one VM.
    pub max_vcpus: u16,
    /// Bits of guest physical address.
    pub address_bits: u8,
    /// `CNTFRQ_EL0` that guests see unless they ask for another, in Hz.
    pub counter_frequency: u64,
    /// Where guests can have any other frequency from 1 Hz on, the highest. A counter that is the
    /// processor's has its own frequency only.
    pub any_frequency_up_to: Option<u64>,
}

impl Caps {
    /// Whether a guest's counter can run at `hz`.
    #[must_use]
    pub fn gives_frequency(&self, hz: u64) -> bool {
        let other = |most| (1..=most).contains(&hz);
        hz == self.counter_frequency || self.any_frequency_up_to.is_some_and(other)
    }
}

/// What a VM is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// vCPUs, 1 to [`Caps::max_vcpus`].
    pub vcpus: u16,
    /// Bits of guest physical address the machine needs.
    pub address_bits: u8,
    /// What guest time is made of.
    pub time: TimeSource,
    /// What the guest's counter counts in a second (`CNTFRQ_EL0`), if it is not to be
    /// [`Caps::counter_frequency`]: that of the host a saved guest comes from.
    /// [`Caps::gives_frequency`] says which.
    pub counter_frequency: Option<u64>,
    /// What the guest finds its processor to be.
    pub cpu: CpuModel,
}

impl VmConfig {
    /// Refuses, by name, what `host` does not give, of which these are the facts.
    pub(crate) fn within(&self, caps: &Caps, host: &str) -> Result<(), HostError> {
        let Self {
            vcpus,
            address_bits,
            time: _,
            counter_frequency,
            cpu: _,
        } = *self;
        let limit = |line| Err(HostError::Limit(line));
        let most = caps.max_vcpus;
        if vcpus == 0 || vcpus > most {
            return limit(format!("{vcpus} vCPUs; {host} runs 1 to {most}"));
        }
        let bits = caps.address_bits;
        if address_bits > bits {
            return limit(format!(
                "the machine needs {address_bits} address bits; {host} has {bits}: give it less \
                 memory"
            ));
        }
        match (counter_frequency, caps.any_frequency_up_to) {
            (None, _) => Ok(()),
            (Some(asked), _) if caps.gives_frequency(asked) => Ok(()),
            (Some(asked), Some(most)) => limit(format!(
                "the guest's counter is to run at {asked} Hz; {host} gives 1 to {most}"
            )),
            (Some(asked), None) => limit(format!(
                "the guest's counter is to run at {asked} Hz; this processor's runs at {} Hz, and \
                 only the accelerator soft can give another",
                caps.counter_frequency
            )),
        }
    }
}

/// What guest time is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The host's monotonic clock.
    Host,
    /// Retired instructions: one tick for each. Only the software CPU offers it.
    Instructions,
}

/// One VM of an accelerator.
pub trait Vm: Send + Sync {
    /// Backs guest addresses from `gpa` on with `region`.
    ///
    /// # Errors
    /// When the range is misaligned, overlaps another or the host refuses.
    fn map(&self, gpa: Gpa, region: Arc<Region>, prot: Prot) -> Result<(), HostError>;
    /// Takes away the region mapped at exactly `gpa`. vCPUs that run see it gone at their next
    /// entry at the latest.
    ///
    /// # Errors
    /// When nothing is mapped at `gpa`, or the host refuses.
    fn unmap(&self, gpa: Gpa) -> Result<Arc<Region>, HostError>;
    /// Gives memory back to the host, as far as its pages, or the accelerator's where those are larger,
    /// lie inside of the range: they read as zeros from then on, and take no room until they are
    /// touched again. The rest of the range stays as it is. vCPUs may run. What they have cached of
    /// code there is theirs to drop, as when a device writes over it.
    ///
    /// # Errors
    /// [`HostError::Discard`] when not all of the range is memory that the guest may write; nothing is
    /// given back then. Others when the host refuses.
    fn discard(&self, gpa: Gpa, bytes: u64) -> Result<(), HostError>;
    /// Takes hold of a vCPU, once for each id, on the thread that will run it.
    ///
    /// # Errors
    /// When `id` is out of range or already bound, or the host refuses.
    fn bind_vcpu(&self, id: VcpuId) -> Result<Box<dyn Vcpu>, HostError>;
    /// Makes the vCPU's current or next [`Vcpu::run`] return [`Exit::Kicked`]. Sticky: a kick is
    /// never lost, and kicks that meet a vCPU which has not returned yet are one. Any thread.
    fn kick(&self, id: VcpuId);
    /// The guest's counter now.
    fn counter(&self) -> CounterState;
    /// Moves the guest's counter; vCPUs must not run.
    ///
    /// # Errors
    /// When the frequency is not the host's.
    fn set_counter(&self, state: &CounterState) -> Result<(), HostError>;
    /// Drops what the accelerator may have cached of code in guest memory, after the VMM wrote it.
    fn forget_code(&self);
    /// The interrupt controller, if the host's kernel provides it. The VMM provides one otherwise,
    /// and drives [`Vcpu::set_irq`].
    fn kernel_gic(&self) -> Option<&dyn KernelGic>;
    /// The log of memory that vCPUs write, if the accelerator keeps one.
    fn dirty_log(&self) -> Option<&dyn DirtyLog>;
    /// Events in place of exits and of calls, if the host's kernel offers them.
    fn doorbells(&self) -> Option<&dyn Doorbells>;
}

/// The interrupt controller of a VM in the host's kernel: a GICv3 where [`aarch64::machine`] has
/// it, with the timers' interrupts connected. What the guest does with it makes no exits.
pub trait KernelGic: Send + Sync {
    /// Holds the input of an SPI high or low. Any thread.
    ///
    /// # Errors
    /// When the host refuses, as for a number that is no SPI.
    fn set_spi(&self, intid: Intid, high: bool) -> Result<(), HostError>;
    /// One rising edge at the input of an edge-triggered SPI that nobody holds high. Any thread.
    ///
    /// # Errors
    /// As [`KernelGic::set_spi`].
    fn pulse_spi(&self, intid: Intid) -> Result<(), HostError> {
        self.set_spi(intid, true)?;
        self.set_spi(intid, false)
    }
    /// The state. No vCPU runs, and each has settled its last exit.
    ///
    /// # Errors
    /// When a vCPU runs, the host fails, or its GIC holds what the state cannot say.
    fn save(&self) -> Result<GicState, HostError>;
    /// Replaces the state. No vCPU runs, each has settled its last exit, and none has run before
    /// if timers' interrupts are active in the state.
    ///
    /// # Errors
    /// When a vCPU runs or the host fails. [`HostError::BadState`] for a state that is impossible
    /// or that the host's GIC cannot hold.
    fn restore(&self, state: &GicState) -> Result<(), HostError>;
    /// Gives everything but the wires of SPIs its reset state. No vCPU runs. The registers of the
    /// vCPUs hold nothing of use afterwards, and must be set.
    ///
    /// # Errors
    /// When a vCPU runs or the host fails.
    fn reset(&self) -> Result<(), HostError>;
    /// Gives the CPU interface of a vCPU that does not run its reset state. Others may run.
    ///
    /// # Errors
    /// When the vCPU runs or the host fails.
    fn reset_cpu_interface(&self, vcpu: VcpuId) -> Result<(), HostError>;
}

/// Which pages vCPUs write, for those who copy a guest's memory while it runs.
///
/// What the VMM writes itself, such as a device's buffers, is not in it: whoever writes guest memory
/// for a device has to count its own pages, in a [`PageSet`] that is joined with this one's.
pub trait DirtyLog: Send + Sync {
    /// Begins, with no page written.
    ///
    /// # Errors
    /// When the host refuses.
    fn start(&self) -> Result<(), HostError>;
    /// The pages of the region mapped at exactly `gpa` that vCPUs wrote since the start or the last
    /// `take`, and those that share one of the host's larger pages with them; the log is empty
    /// afterwards. vCPUs may run: a store is in this set or in the next one,
    /// and one that is in neither yet is seen by whoever reads the pages of this set from now on.
    ///
    /// # Errors
    /// When nothing is mapped at `gpa`, the log was not started or the host refuses.
    fn take(&self, gpa: Gpa) -> Result<PageSet, HostError>;
    /// Ends it. vCPUs run as fast as before.
    ///
    /// # Errors
    /// When the host refuses.
    fn stop(&self) -> Result<(), HostError>;
}

/// Events of the host's kernel (`eventfd`) that a guest's stores signal, and that raise interrupts,
/// without an exit or a call in between.
pub trait Doorbells: Send + Sync {
    /// A new event: writing a u64 adds to its count, reading one takes it all, and fails with
    /// `WouldBlock` while it is zero.
    ///
    /// # Errors
    /// When the host has no more.
    fn event(&self) -> Result<OwnedFd, HostError>;
    /// Makes a store of the guest signal `event` instead of being an exit.
    ///
    /// # Errors
    /// When the host refuses, as for two that are alike.
    fn bind(&self, bell: &Doorbell, event: BorrowedFd<'_>) -> Result<(), HostError>;
    /// Undoes [`Doorbells::bind`]: such stores are exits again.
    ///
    /// # Errors
    /// When there is none such.
    fn unbind(&self, bell: &Doorbell, event: BorrowedFd<'_>) -> Result<(), HostError>;
    /// Makes `event` raise an edge-triggered SPI whenever it is signalled.
    ///
    /// # Errors
    /// When the number is no SPI, or the host refuses.
    fn bind_spi(&self, intid: Intid, event: BorrowedFd<'_>) -> Result<(), HostError>;
    /// Undoes [`Doorbells::bind_spi`].
    ///
    /// # Errors
    /// When the number is no SPI, or the host refuses.
    fn unbind_spi(&self, intid: Intid, event: BorrowedFd<'_>) -> Result<(), HostError>;
}

/// Which stores ring a doorbell: to an address without memory, decoded by the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doorbell {
    /// Address.
    pub gpa: Gpa,
    /// Size of the store; any if `None`.
    pub size: Option<Size>,
    /// Value stored; any if `None`, and if the size is not given.
    pub value: Option<u64>,
}

/// One vCPU, held by the thread that runs it.
pub trait Vcpu {
    /// Answers the last exit with `resume`, runs the guest and says why it stopped.
    ///
    /// # Errors
    /// When the host failed; the vCPU must not be run again.
    fn run(&mut self, resume: Resume) -> Result<Exit, HostError>;
    /// Answers the last exit and completes its instruction, but runs no further guest code, so
    /// that the state read afterwards is whole. The next `run` takes [`Resume::Done`].
    ///
    /// `Some` when the instruction has another device access to make (a pair, a vector structure):
    /// it is done only when that is answered, by another `settle` or by `run`.
    ///
    /// # Errors
    /// When the host failed.
    fn settle(&mut self, resume: Resume) -> Result<Option<Exit>, HostError>;
    /// Holds an interrupt input high or low, until changed.
    ///
    /// # Errors
    /// When the host failed.
    fn set_irq(&mut self, line: IrqLine, high: bool) -> Result<(), HostError>;
    /// The general registers.
    ///
    /// # Errors
    /// When the host failed.
    fn core(&self) -> Result<CoreRegs, HostError>;
    /// Sets the general registers.
    ///
    /// # Errors
    /// When the host failed, or PSTATE is no AArch64 EL0 or EL1 state.
    fn set_core(&mut self, regs: &CoreRegs) -> Result<(), HostError>;
    /// The FP and AdvSIMD registers.
    ///
    /// # Errors
    /// When the host failed.
    fn simd(&self) -> Result<SimdRegs, HostError>;
    /// Sets the FP and AdvSIMD registers.
    ///
    /// # Errors
    /// When the host failed.
    fn set_simd(&mut self, regs: &SimdRegs) -> Result<(), HostError>;
    /// A system register, one of [`aarch64::Saved`] or an identification register.
    ///
    /// # Errors
    /// [`HostError::NoRegister`] when the vCPU has none such.
    fn sysreg(&self, reg: SysReg) -> Result<u64, HostError>;
    /// Sets a system register.
    ///
    /// # Errors
    /// [`HostError::NoRegister`] when the vCPU has none such or it cannot be written.
    fn set_sysreg(&mut self, reg: SysReg, value: u64) -> Result<(), HostError>;
    /// Sets what stops the vCPU for a debugger.
    ///
    /// # Errors
    /// When the host failed.
    fn set_debug(&mut self, control: &DebugControl) -> Result<(), HostError>;
    /// Guest instructions retired since the vCPU was bound, if the accelerator counts them.
    fn instructions(&self) -> Option<u64>;
}

/// Why a vCPU stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A load from an address without memory. Answer: `Data` or `ExternalAbort`.
    MmioRead {
        /// Address.
        gpa: Gpa,
        /// Size of the access.
        size: Size,
    },
    /// A store to an address without memory. Answer: `Done` or `ExternalAbort`.
    MmioWrite {
        /// Address.
        gpa: Gpa,
        /// Size of the access.
        size: Size,
        /// Value, zero-extended.
        data: u64,
    },
    /// A read of a system register the backend does not own. Answer: `Data` or `Undefined`.
    SysRegRead {
        /// Register.
        reg: SysReg,
    },
    /// A write to a system register the backend does not own. Answer: `Done` or `Undefined`.
    SysRegWrite {
        /// Register.
        reg: SysReg,
        /// Value.
        data: u64,
    },
    /// HVC or SMC; the arguments are in X0 to X17. Answer: `Call` or `Undefined`.
    Call {
        /// Which instruction.
        conduit: Conduit,
        /// Its immediate.
        imm: u16,
    },
    /// The guest waits for an interrupt and none is pending. `Done` retires the instruction.
    Wfi,
    /// A timer's output may have changed; the VMM works it out from the timer registers.
    Timer,
    /// A debugger's condition was met.
    Debug(DebugStop),
    /// The kernel of the host ended the VM on the guest's request.
    System(SystemEvent),
    /// Somebody called [`Vm::kick`].
    Kicked,
    /// A bounded run (deterministic mode) used its instructions up.
    QuantumEnd,
    /// The guest did what no machine could go on from.
    Fault(GuestFault),
}

/// The VMM's answer to an [`Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The write or event was handled; or: run on.
    Done,
    /// The value of a read.
    Data(u64),
    /// X0 to X3 after a call.
    Call([u64; 4]),
    /// The instruction is undefined for the guest.
    Undefined,
    /// The access takes a synchronous external abort.
    ExternalAbort,
}

/// Which instruction a call was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `HVC`
    Hvc,
    /// `SMC`
    Smc,
}

/// An interrupt input of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqLine {
    /// Group 1 interrupts.
    Irq,
    /// Group 0 interrupts.
    Fiq,
}

/// Why a vCPU stopped for its debugger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugStop {
    /// One instruction was stepped.
    Step,
    /// A breakpoint at the PC.
    Breakpoint,
    /// A `BRK` instruction with this immediate.
    Brk(u16),
    /// A watchpoint; the virtual address accessed.
    Watchpoint(u64),
}

/// How the guest ended, where the host's kernel handles PSCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemEvent {
    /// Power off.
    Off,
    /// Reset.
    Reset,
    /// Crash.
    Crash,
}

/// What no machine could go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestFault {
    /// An instruction the accelerator has to emulate but cannot; its encoding.
    CannotEmulate(u32),
    /// The guest accessed this address, where no memory is, with an instruction that the host does
    /// not decode.
    UndecodedAccess(Gpa),
    /// The vCPU takes the same exception at the vector of that exception, for ever. Its vector.
    ExceptionLoop(u64),
}

/// What stops a vCPU for a debugger.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct DebugControl {
    /// Stop after each instruction.
    pub single_step: bool,
    /// Stop before the instruction at these virtual addresses.
    pub breakpoints: Vec<u64>,
    /// Stop at accesses to these ranges of virtual addresses: first address, bytes, kind.
    pub watchpoints: Vec<(u64, u64, WatchKind)>,
    /// Give `BRK` instructions to the debugger instead of the guest.
    pub trap_brk: bool,
}

/// Which accesses a watchpoint stops at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Both.
    Access,
}

/// The host could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The accelerator does not work on this host.
    #[error("the accelerator {accel} is not available: {reason}")]
    Unavailable {
        /// Which one.
        accel: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The VM asks for more than the accelerator offers.
    #[error("{0}")]
    Limit(String),
    /// Guests cannot have this CPU model here.
    #[error("the CPU model {model} cannot be had: {reason}")]
    CpuModel {
        /// Which one.
        model: CpuModel,
        /// Why.
        reason: String,
    },
    /// A mapping that cannot be made.
    #[error("cannot map guest memory at {gpa}: {reason}")]
    Map {
        /// Where.
        gpa: Gpa,
        /// Why.
        reason: String,
    },
    /// A range that cannot be given back.
    #[error("cannot give guest memory at {gpa} back: {reason}")]
    Discard {
        /// Where.
        gpa: Gpa,
        /// Why.
        reason: String,
    },
    /// The vCPU has no such register.
    #[error("the vCPU has no register {0}, or it cannot be written")]
    NoRegister(SysReg),
    /// A call to the host failed.
    #[error("{call} failed")]
    Os {
        /// Which call.
        call: &'static str,
        /// What the host said.
        #[source]
        source: std::io::Error,
    },
    /// A value that no vCPU can hold.
    #[error("{0}")]
    BadState(String),
}

impl fmt::Display for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hvc => "HVC",
            Self::Smc => "SMC",
        })
    }
}
