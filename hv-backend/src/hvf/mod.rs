//! The `hvf` backend: guests on the processor itself, through Hypervisor.framework of macOS on Apple
//! Silicon.
//!
//! The framework runs instructions and translates addresses, and little else: waits, calls, the GIC's
//! registers and what it does not know all trap. It keeps no rule that it does not have to, so the
//! rules are this backend's; each file's header says which.
//!
//! | file | what |
//! |---|---|
//! | `vm` | a VM: vCPUs, kicks, the counter |
//! | `vcpu` | a vCPU: entries, traps, answers, registers, debugging |
//! | `memory` | guest memory, in pages of 16 KiB, and which of it was written |
//! | `time`, `alarm` | the counter's offset and the host's sleep; the physical timer |
//! | `reset`, `identity` | a new vCPU's registers; the CPU model |
//! | `probe` | what only a guest can tell |
//! | `sys` | the functions of the framework; the only unsafe code |
//! | `headers` | what a Mac's compiler checks of our numbers |
//! | `abi`, `clock`, `timer`, `sysregs`, `debug`, `obstacle` | pure: numbers and decisions |
//!
//! It reaches the framework through one [`table::Table`] of functions. On a Mac the linker and `dlsym`
//! fill it; elsewhere there is none, unless a test registers a simulator's ([`register`]). All of the
//! backend but the filling is compiled and tested on every host.
//!
//! Omitted: the framework's own GIC (`hv_gic`, macOS 15), nested virtualization, SME.

pub mod abi;
mod alarm;
mod clock;
mod debug;
#[cfg(test)]
mod headers;
mod identity;
mod memory;
pub mod obstacle;
mod probe;
mod reset;
mod sys;
mod sysregs;
mod time;
mod timer;
mod vcpu;
mod vm;

pub use sys::register;
pub use sys::table;

use aarch64::cpu_model::CpuModel;
use aarch64::{VcpuId, machine};
use std::sync::Arc;

use crate::api::{Caps, HostError, Hypervisor, TimeSource, Vm, VmConfig};
use abi::DEFAULT_ADDRESS_BITS;
use clock::GuestClock;
use obstacle::Obstacle;
use sys::Framework;
use sys::vcpu::{RawVcpu, Stop};
use table::Table;
use time::VmTime;
use vm::HvfVm;

/// The functions to call: those that a test registered, or the host's.
///
/// # Errors
/// What stands in the way.
pub fn functions() -> Result<&'static Table, Obstacle> {
    sys::registered().map_or_else(crate::hvf_table::table, Ok)
}

/// Opens Hypervisor.framework.
///
/// # Errors
/// What stands in the way.
pub fn open() -> Result<Box<dyn Hypervisor>, Obstacle> {
    let framework = Framework::new(functions()?);
    if !framework.is_apple_silicon() {
        return Err(Obstacle::Platform {
            os: "macos",
            arch: "x86_64",
        });
    }
    let version = framework.system_version();
    if let Some(obstacle) = version.as_deref().and_then(Obstacle::of_version) {
        return Err(obstacle);
    }
    if framework.is_supported() != Some(true) {
        return Err(Obstacle::NoSupport);
    }
    let most = framework.max_vcpus().map_err(Obstacle::Call)?;
    let bits = framework.max_address_bits().map_err(Obstacle::Call)?;
    let (clock, ticks_per_second) = probe::counter(framework, DEFAULT_ADDRESS_BITS)?;
    let caps = Caps {
        max_vcpus: u16::try_from(most).map_or(machine::MAX_VCPUS, |n| n.min(machine::MAX_VCPUS)),
        address_bits: u8::try_from(bits).unwrap_or(DEFAULT_ADDRESS_BITS),
        counter_frequency: clock.frequency(),
        any_frequency_up_to: None,
    };
    Ok(Box::new(HvfHost {
        framework,
        caps,
        clock,
        ticks_per_second,
    }))
}

/// The accelerator.
#[derive(Debug)]
struct HvfHost {
    framework: Framework,
    caps: Caps,
    clock: GuestClock,
    ticks_per_second: u64,
}

impl HvfHost {
    /// Makes the VM of this process.
    fn make(&self, address_bits: u8) -> Result<(), HostError> {
        let made = self.framework.create_vm(address_bits.into());
        made.map_err(|failure| HostError::Unavailable {
            accel: self.name(),
            reason: Obstacle::of_vm(failure).to_string(),
        })
    }

    fn try_model(&self, model: CpuModel) -> Result<(), HostError> {
        let stop = Arc::new(Stop::default());
        let mut vcpu = RawVcpu::new(self.framework, stop).map_err(identity::vcpu_refused)?;
        identity::set(
            &mut vcpu,
            self.framework,
            VcpuId(0),
            model,
            DEFAULT_ADDRESS_BITS,
        )
    }
}

impl Hypervisor for HvfHost {
    fn name(&self) -> &'static str {
        "hvf"
    }

    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn create_vm(&self, config: &VmConfig) -> Result<Box<dyn Vm>, HostError> {
        config.within(&self.caps, "this Mac")?;
        let VmConfig {
            vcpus,
            address_bits,
            time,
            counter_frequency: _,
            cpu,
        } = *config;
        if time == TimeSource::Instructions {
            let line = "Hypervisor.framework counts no instructions to make time of".into();
            return Err(HostError::Limit(line));
        }
        self.offers_cpu(cpu)?;
        let address_bits = address_bits.max(DEFAULT_ADDRESS_BITS);
        self.make(address_bits)?;
        let time = VmTime::new(self.framework, self.clock, self.ticks_per_second);
        let vm = HvfVm::new(self.framework, time, cpu, address_bits, vcpus);
        Ok(Box::new(vm))
    }

    fn offers_cpu(&self, model: CpuModel) -> Result<(), HostError> {
        self.make(DEFAULT_ADDRESS_BITS)?;
        let tried = self.try_model(model);
        let ended = self.framework.destroy_vm();
        tried.and(ended.map_err(HostError::from))
    }
}
