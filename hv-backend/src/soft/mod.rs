//! The `soft` backend: guests on armlet's own CPU, on any host.
//!
//! Each vCPU is a [`softcpu::Cpu`] on the thread that bound it; guest atomics are host atomics, so
//! vCPUs run in parallel. The GIC is the VMM's: its system registers leave as exits.

mod clock;
mod dirty;
mod vcpu;
mod vm;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::machine;

use crate::api::{Caps, HostError, Hypervisor, TimeSource, Vm, VmConfig};
use clock::HostClock;
use vm::SoftVm;

/// Bits of guest physical address of the `portable` CPU.
const ADDRESS_BITS: u8 = 40;

/// The accelerator.
#[derive(Debug)]
pub struct Soft {
    caps: Caps,
}

impl Default for Soft {
    fn default() -> Self {
        let caps = Caps {
            max_vcpus: machine::MAX_VCPUS,
            address_bits: ADDRESS_BITS,
            counter_frequency: clock::FREQUENCY,
            any_frequency_up_to: Some(clock::MAX_FREQUENCY),
        };
        Self { caps }
    }
}

impl Hypervisor for Soft {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError> {
        let VmConfig {
            vcpus,
            address_bits: _,
            time,
            counter_frequency,
            cpu,
        } = *config;
        self.offers_cpu(cpu)?;
        config.within(&self.caps, self.name())?;
        let frequency = counter_frequency.unwrap_or(self.caps.counter_frequency);
        let clock = HostClock::new(frequency)
            .ok_or_else(|| HostError::Limit(format!("no counter runs at {frequency} Hz")))?;
        match time {
            TimeSource::Host => Ok(Box::new(SoftVm::new(vcpus, Arc::new(clock)))),
            TimeSource::Instructions => Err(HostError::Limit(
                "time counted in instructions is not built yet".into(),
            )),
        }
    }

    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError> {
        match model {
            CpuModel::Portable => Ok(()),
            CpuModel::Host => Err(HostError::CpuModel {
                model,
                reason: "the software CPU is the model portable, whatever the host".into(),
            }),
        }
    }
}
