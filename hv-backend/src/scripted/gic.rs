//! The interrupt controller of a scripted host's kernel: it delivers nothing, and records.

use std::sync::Mutex;

use aarch64::gic_state::GicState;
use aarch64::{Intid, VcpuId};

use super::lock;
use crate::api::{HostError, KernelGic};

/// What the VMM did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicEvent {
    /// It moved the wire of an SPI.
    Spi(Intid, bool),
    /// It saved the state.
    Save,
    /// It replaced the state.
    Restore,
    /// It reset everything.
    Reset,
    /// It reset the CPU interface of a vCPU.
    Interface(VcpuId),
}

/// The controller. It holds the state it was given last.
#[derive(Debug)]
pub struct ScriptedGic {
    vcpus: u16,
    state: Mutex<GicState>,
    log: Mutex<Vec<GicEvent>>,
    refuse: Mutex<Option<&'static str>>,
}

impl ScriptedGic {
    pub(super) fn new(vcpus: u16) -> Self {
        Self {
            vcpus,
            state: Mutex::new(GicState::at_reset(vcpus)),
            log: Mutex::default(),
            refuse: Mutex::default(),
        }
    }

    /// What was done to it so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<GicEvent> {
        lock(&self.log).clone()
    }

    /// Fails at everything from now on, for this reason.
    pub fn fail(&self, why: &'static str) {
        *lock(&self.refuse) = Some(why);
    }

    fn record(&self, event: GicEvent) -> Result<(), HostError> {
        lock(&self.log).push(event);
        match *lock(&self.refuse) {
            Some(why) => Err(HostError::BadState(why.into())),
            None => Ok(()),
        }
    }
}

impl KernelGic for ScriptedGic {
    fn set_spi(&self, intid: Intid, high: bool) -> Result<(), HostError> {
        self.record(GicEvent::Spi(intid, high))
    }

    fn save(&self) -> Result<GicState, HostError> {
        self.record(GicEvent::Save)?;
        Ok(lock(&self.state).clone())
    }

    fn restore(&self, state: &GicState) -> Result<(), HostError> {
        self.record(GicEvent::Restore)?;
        let checked = state.check_for(self.vcpus);
        checked.map_err(|error| HostError::BadState(error.to_string()))?;
        *lock(&self.state) = state.clone();
        Ok(())
    }

    fn reset(&self) -> Result<(), HostError> {
        self.record(GicEvent::Reset)?;
        *lock(&self.state) = GicState::at_reset(self.vcpus);
        Ok(())
    }

    fn reset_cpu_interface(&self, vcpu: VcpuId) -> Result<(), HostError> {
        self.record(GicEvent::Interface(vcpu))
    }
}
