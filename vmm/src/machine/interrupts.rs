//! The machine's interrupt controller: the GIC model, or the one of the host's kernel.
//!
//! Which one it is follows from the accelerator ([`Vm::kernel_gic`](hv_backend::api::Vm)), and
//! only this file knows. With the kernel's, the guest reaches distributor, redistributors and CPU
//! interface without an exit, and its timers' interrupts come from the kernel too.

use std::sync::Arc;

use aarch64::gic_state::GicState;
use aarch64::machine::GICV2M;
use aarch64::{Intid, SysReg, VcpuId};
use devices::bus::{Bus, BusError};
use devices::gic::{SharedGic, V2mFrame};
use devices::irq::{IrqLine, IrqSink};
use devices::pci::MsiSink;
use hv_backend::api::{HostError, KernelGic};

use crate::fleet::Fleet;
use crate::state::RestoreError;

/// The interrupt controller.
pub enum Interrupts {
    /// The GIC model.
    Model(Arc<SharedGic>),
    /// The GIC of the host's kernel.
    Kernel(Arc<KernelInputs>),
}

impl Interrupts {
    /// The one that goes with the accelerator of `fleet`.
    pub fn new(fleet: &Arc<Fleet>) -> Self {
        if fleet.vm().kernel_gic().is_some() {
            return Self::Kernel(Arc::new(KernelInputs(fleet.clone())));
        }
        let vcpus = u16::try_from(fleet.ids().count()).unwrap_or(u16::MAX);
        Self::Model(Arc::new(SharedGic::new(vcpus, fleet.clone())))
    }

    /// A wire to its input `intid`.
    pub fn line(&self, intid: Intid) -> IrqLine {
        match self {
            Self::Model(gic) => IrqLine::new(gic.clone(), intid),
            Self::Kernel(inputs) => IrqLine::new(inputs.clone(), intid),
        }
    }

    /// The frame that messages of PCI functions go to.
    pub fn messages(&self) -> Arc<dyn MsiSink> {
        Arc::new(match self {
            Self::Model(gic) => V2mFrame::new(gic.clone()),
            Self::Kernel(inputs) => V2mFrame::new(inputs.clone()),
        })
    }

    /// Puts its frames on the bus: those that the guest does not reach without an exit.
    pub fn attach(&self, bus: &mut Bus) -> Result<(), BusError> {
        match self {
            Self::Model(gic) => gic.attach(bus),
            Self::Kernel(inputs) => {
                let frame = V2mFrame::new(inputs.clone());
                bus.insert("GICv2m frame", GICV2M, Arc::new(frame))
            }
        }
    }

    /// A read of a system register of the CPU interface.
    pub fn icc_read(&self, vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        match self {
            Self::Model(gic) => gic.icc_read(vcpu, reg),
            Self::Kernel(_) => None,
        }
    }

    /// A write to a system register of the CPU interface.
    pub fn icc_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        match self {
            Self::Model(gic) => gic.icc_write(vcpu, reg, data),
            Self::Kernel(_) => None,
        }
    }

    /// Holds a private input of a vCPU high or low. Those the machine has are the timers', which
    /// the kernel drives itself if the GIC is the kernel's.
    pub fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool) {
        match self {
            Self::Model(gic) => gic.set_ppi(vcpu, intid, high),
            Self::Kernel(_) => {}
        }
    }

    /// Gives the CPU interface of a vCPU that is off its reset state.
    pub fn reset_cpu_interface(&self, vcpu: VcpuId) {
        match self {
            Self::Model(gic) => gic.reset_cpu_interface(vcpu),
            Self::Kernel(inputs) => {
                let done = inputs.gic().map(|gic| gic.reset_cpu_interface(vcpu));
                if let Some(Err(error)) = done {
                    // The guest finds it as it left it, and sets it up when it starts the vCPU.
                    tracing::error!(%vcpu, %error, "a CPU interface is not reset");
                }
            }
        }
    }

    /// The state to save. No vCPU runs meanwhile.
    pub fn save(&self) -> Result<GicState, HostError> {
        match self {
            Self::Model(gic) => Ok(gic.save()),
            Self::Kernel(inputs) => inputs.gic().ok_or_else(gone)?.save(),
        }
    }

    /// Takes on a saved state. No vCPU runs meanwhile.
    pub fn restore(&self, state: &GicState) -> Result<(), RestoreError> {
        match self {
            Self::Model(gic) => Ok(gic.restore(state)?),
            Self::Kernel(inputs) => {
                let restored = inputs
                    .gic()
                    .ok_or_else(gone)
                    .and_then(|gic| gic.restore(state));
                restored.map_err(RestoreError::KernelGic)
            }
        }
    }

    /// Gives everything its reset state. No vCPU runs meanwhile.
    pub fn reset(&self) -> Result<(), HostError> {
        match self {
            Self::Model(gic) => {
                gic.reset();
                Ok(())
            }
            Self::Kernel(inputs) => inputs.gic().ok_or_else(gone)?.reset(),
        }
    }
}

/// It was there when the machine was made.
fn gone() -> HostError {
    HostError::BadState("the host's kernel has taken its GIC away".into())
}

/// The inputs of the kernel's GIC.
pub struct KernelInputs(Arc<Fleet>);

impl KernelInputs {
    fn gic(&self) -> Option<&dyn KernelGic> {
        self.0.vm().kernel_gic()
    }
}

impl IrqSink for KernelInputs {
    fn set_level(&self, intid: Intid, high: bool) {
        let Some(gic) = self.gic() else {
            return;
        };
        if let Err(error) = gic.set_spi(intid, high) {
            tracing::error!(intid = intid.0, high, %error, "an interrupt is lost");
        }
    }

    fn pulse(&self, intid: Intid) {
        let Some(gic) = self.gic() else {
            return;
        };
        if let Err(error) = gic.pulse_spi(intid) {
            tracing::error!(intid = intid.0, %error, "an interrupt is lost");
        }
    }
}
