//! A whole machine as data: what is saved of one that stands still, and what another is made from.
//!
//! Everything here is plain and architectural: no accelerator's structures, no opaque bytes. It may
//! come back from a file, so whoever builds live parts from it checks it, refuses it by name, and
//! has changed nothing then.
//!
//! | part | where it comes from | who checks it |
//! |---|---|---|
//! | [`MachineContract`] | what the machine was made as | [`contract`], before anything is made |
//! | counter | the VM, standing still since the pause | the VM: its frequency |
//! | [`SavedVcpu`] | the vCPU's thread, at the gate | [`vcpus`]: it reads back what it set |
//! | `GicState` | the model, or the host's kernel | the one it is restored into |
//! | device states | each device | each device, by `TryFrom` |
//! | RAM | the regions themselves ([`Saved::ram`]) | their places, against the contract |
//!
//! What a machine at rest may be in the middle of, and where that is:
//! - an instruction with device accesses: nowhere, it was settled at the gate;
//! - WFI and `CPU_SUSPEND`: nowhere, the wait ends early, which the architecture allows;
//! - `CPU_ON` that its target has not seen: [`Power::Pending`];
//! - a reset or power-off that a vCPU asked for: nowhere, it is done before the pause is confirmed;
//! - interrupts: the GIC's latches, active bits and wires;
//! - timers: their registers and the counter; what follows from these is not saved, or worked out
//!   anew ([`vcpus::set_timer_wires`]);
//! - input that the guest has not read: the UART's FIFO. What it sent has left the machine: whoever
//!   ends that machine writes it out;
//! - requests to virtio devices: nowhere, they are finished or put back before the devices are held.
//!
//! To add a device: a field in [`MachineState`] and a row in [`contract::devices`]; the compiler
//! finds the rest, since nothing here is taken apart with `..`.

pub mod contract;
pub mod vcpus;

use std::sync::Arc;

use aarch64::gic_state::GicState;
use aarch64::state::{CounterState, VcpuState};
use aarch64::{Gpa, VcpuId};
use devices::gic::InvalidGicState;
use devices::pci::{InvalidPciState, PciState};
use devices::pl011::{BadPl011State, Pl011State};
use devices::pl031::Pl031State;
use devices::pl061::Pl061State;
use devices::virtio::BadVirtioState;
use devices::virtio::mmio::MmioState;
use devices::virtio::pci::VirtioPciState;
use hv_backend::api::HostError;
use memory::Region;

pub use contract::{ContractError, MachineContract};

use crate::power::Power;

/// A machine that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineState {
    /// What it needs of the machine that takes it up.
    pub contract: MachineContract,
    /// What the guest reads as `CNTVCT_EL0`.
    pub counter: CounterState,
    /// Its vCPUs, in their order.
    pub vcpus: Vec<SavedVcpu>,
    /// Its interrupt controller. The GICv2m frame has no state.
    pub gic: GicState,
    /// The serial port.
    pub uart: Pl011State,
    /// The real-time clock.
    pub rtc: Pl031State,
    /// The power button's GPIO.
    pub gpio: Pl061State,
    /// The PCIe host bridge and its functions, if there is one.
    pub pci: Option<PciState>,
    /// The virtio devices, by slot.
    pub virtio: Vec<SlotState>,
}

/// A virtio device behind its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// In a slot of virtio-mmio.
    Mmio(MmioState),
    /// Behind the bridge.
    Pci(VirtioPciState),
}

/// A vCPU that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedVcpu {
    /// Its registers; those of one that is off are at their reset values.
    pub registers: VcpuState,
    /// Whether it is on.
    pub power: Power,
}

/// A state, and the memory that goes with it.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Everything but RAM.
    pub state: MachineState,
    /// RAM, as the machine has it: handed over, not copied. It changes as soon as the machine goes
    /// on; end that machine, or keep a copy ([`Saved::copy_ram`]).
    pub ram: Vec<Ram>,
}

/// A region of RAM at its place.
#[derive(Clone, Debug)]
pub struct Ram {
    /// First guest address.
    pub gpa: Gpa,
    /// The memory.
    pub region: Arc<Region>,
}

impl Saved {
    /// The same with memory of its own.
    ///
    /// # Errors
    /// When the host has not that much memory.
    pub fn copy_ram(&self) -> std::io::Result<Self> {
        let copy = |ram: &Ram| {
            let Ram { gpa, region } = ram;
            let region = Arc::new(copy(region)?);
            Ok(Ram { gpa: *gpa, region })
        };
        Ok(Self {
            state: self.state.clone(),
            ram: self.ram.iter().map(copy).collect::<std::io::Result<_>>()?,
        })
    }
}

/// A copy of what is not zero; the rest costs nothing.
fn copy(region: &Region) -> std::io::Result<Region> {
    const CHUNK: u64 = 64 << 10;
    let new = Region::new(region.size())?;
    let mut buffer = vec![0; CHUNK as usize];
    for offset in (0..region.size()).step_by(CHUNK as usize) {
        let rest = usize::try_from(region.size() - offset).unwrap_or(buffer.len());
        let chunk = &mut buffer[..rest.min(CHUNK as usize)];
        let copied = region.read(offset, chunk).and_then(|()| {
            if chunk.iter().all(|byte| *byte == 0) {
                Ok(())
            } else {
                new.write(offset, chunk)
            }
        });
        copied.map_err(std::io::Error::other)?;
    }
    Ok(new)
}

/// Why a machine cannot be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It runs, or is over.
    #[error("the machine cannot be saved: it is not paused")]
    NotPaused,
    /// A vCPU's thread has ended.
    #[error("the machine cannot be saved: {0} has failed")]
    Gone(VcpuId),
    /// A vCPU's registers cannot be read.
    #[error("cannot save {vcpu}")]
    Vcpu {
        /// Which.
        vcpu: VcpuId,
        /// Why.
        #[source]
        source: HostError,
    },
    /// The interrupt controller of the host's kernel cannot be read.
    #[error("cannot save the interrupt controller")]
    Gic(#[source] HostError),
}

/// Why a state cannot be taken up. It is bad, or it is not for this machine.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is for another machine.
    #[error("the saved machine cannot run here")]
    Contract(#[from] ContractError),
    /// It is no whole machine.
    #[error("the saved machine has {found} vCPUs in its state and {expected} in its contract")]
    Vcpus {
        /// In the state.
        found: usize,
        /// In the contract.
        expected: u16,
    },
    /// Nothing could ever wake one of its vCPUs.
    #[error("every vCPU of the saved machine is off")]
    AllOff,
    /// The memory that comes with it is not what the contract says.
    #[error("the saved machine's memory is not what its contract says")]
    Ram,
    /// The counter of this state runs at another frequency than the contract says.
    #[error("the saved machine's counter runs at {found} Hz, its contract says {expected} Hz")]
    Counter {
        /// In the state.
        found: u64,
        /// In the contract.
        expected: u64,
    },
    /// The interrupt controller.
    #[error(transparent)]
    Gic(#[from] InvalidGicState),
    /// The serial port.
    #[error(transparent)]
    Uart(#[from] BadPl011State),
    /// The PCIe host bridge.
    #[error(transparent)]
    Pci(#[from] InvalidPciState),
    /// A virtio device.
    #[error(transparent)]
    Virtio(#[from] BadVirtioState),
    /// The host's kernel does not take the interrupt controller's state.
    #[error("cannot restore the interrupt controller")]
    KernelGic(#[source] HostError),
    /// A vCPU does not take a register.
    #[error("cannot restore {vcpu}")]
    Vcpu {
        /// Which.
        vcpu: VcpuId,
        /// Why.
        #[source]
        source: HostError,
    },
    /// A vCPU holds something else than what was restored.
    #[error("{vcpu} cannot hold the saved {register}")]
    Register {
        /// Which vCPU.
        vcpu: VcpuId,
        /// Which register.
        register: String,
    },
    /// A vCPU's thread has ended.
    #[error("{0} has failed")]
    Gone(VcpuId),
}
