//! The GIC as threads share it: one lock around the model, and a way out for its outputs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aarch64::gic_state::GicState;
use aarch64::{Intid, SysReg, VcpuId};

use crate::irq::IrqSink;

use super::{Gic, InvalidGicState};

/// Where the outputs go: whoever runs the vCPUs.
pub trait GicSink: Send + Sync {
    /// The interrupt inputs of `vcpu` are now at these levels.
    ///
    /// Called with the GIC locked, so that moves arrive in their order: be quick, and do not call
    /// the GIC. It may be the thread of another vCPU, a device's or `vcpu`'s own that calls.
    fn output(&self, vcpu: VcpuId, irq: bool, fiq: bool);
}

/// A GIC for vCPU and device threads at once.
pub struct SharedGic {
    gic: Mutex<Gic>,
    sink: Arc<dyn GicSink>,
}

impl SharedGic {
    /// A GIC at reset that reports to `sink`. All outputs start low.
    ///
    /// # Panics
    /// As [`Gic::new`].
    #[must_use]
    pub fn new(vcpus: u16, sink: Arc<dyn GicSink>) -> Self {
        Self {
            gic: Mutex::new(Gic::new(vcpus)),
            sink,
        }
    }

    /// As [`Gic::reset`].
    pub fn reset(&self) {
        self.with(Gic::reset);
    }

    /// As [`Gic::reset_cpu_interface`].
    pub fn reset_cpu_interface(&self, vcpu: VcpuId) {
        self.with(|gic| gic.reset_cpu_interface(vcpu));
    }

    /// As [`Gic::set_spi`].
    pub fn set_spi(&self, intid: Intid, high: bool) {
        self.with(|gic| gic.set_spi(intid, high));
    }

    /// As [`Gic::pulse_spi`].
    pub fn pulse_spi(&self, intid: Intid) {
        self.with(|gic| gic.pulse_spi(intid));
    }

    /// As [`Gic::set_ppi`].
    pub fn set_ppi(&self, vcpu: VcpuId, intid: Intid, high: bool) {
        self.with(|gic| gic.set_ppi(vcpu, intid, high));
    }

    /// As [`Gic::irq`].
    #[must_use]
    pub fn irq(&self, vcpu: VcpuId) -> bool {
        self.with(|gic| gic.irq(vcpu))
    }

    /// As [`Gic::fiq`].
    #[must_use]
    pub fn fiq(&self, vcpu: VcpuId) -> bool {
        self.with(|gic| gic.fiq(vcpu))
    }

    /// As [`Gic::wakes`].
    #[must_use]
    pub fn wakes(&self, vcpu: VcpuId) -> bool {
        self.with(|gic| gic.wakes(vcpu))
    }

    /// As [`Gic::icc_read`].
    pub fn icc_read(&self, vcpu: VcpuId, reg: SysReg) -> Option<u64> {
        self.with(|gic| gic.icc_read(vcpu, reg))
    }

    /// As [`Gic::icc_write`].
    pub fn icc_write(&self, vcpu: VcpuId, reg: SysReg, data: u64) -> Option<()> {
        self.with(|gic| gic.icc_write(vcpu, reg, data))
    }

    /// As [`Gic::save`].
    #[must_use]
    pub fn save(&self) -> GicState {
        self.with(|gic| gic.save())
    }

    /// Replaces the state and reports every vCPU's outputs.
    ///
    /// # Errors
    /// When the state is impossible or for another number of vCPUs; nothing has changed then.
    pub fn restore(&self, state: &GicState) -> Result<(), InvalidGicState> {
        let new = Gic::try_from(state)?;
        self.with(|gic| {
            let (found, expected) = (new.vcpus(), gic.vcpus());
            if found != expected {
                return Err(InvalidGicState::OtherVcpus { found, expected });
            }
            *gic = new;
            (0..expected).for_each(|n| gic.changed.insert(VcpuId(n)));
            Ok(())
        })
    }

    /// Runs `operation` on the locked GIC and reports the outputs that it moved.
    pub(super) fn with<T>(&self, operation: impl FnOnce(&mut Gic) -> T) -> T {
        // A panic elsewhere leaves the model in a state no worse than a guest could make it.
        let mut gic = self.gic.lock().unwrap_or_else(PoisonError::into_inner);
        let result = operation(&mut gic);
        for vcpu in gic.take_changed() {
            let outputs = gic.outputs(vcpu);
            self.sink.output(vcpu, outputs.irq, outputs.fiq);
        }
        result
    }
}

impl IrqSink for SharedGic {
    fn set_level(&self, intid: Intid, high: bool) {
        self.set_spi(intid, high);
    }

    fn pulse(&self, intid: Intid) {
        self.pulse_spi(intid);
    }
}

impl fmt::Debug for SharedGic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedGic")
            .field("gic", &self.gic)
            .finish_non_exhaustive()
    }
}
