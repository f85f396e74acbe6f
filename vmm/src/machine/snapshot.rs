//! Saving a machine that stands still, and making one from what was saved.
//!
//! What is checked when: everything that differs by the contract before the VM is made; devices,
//! interrupt controller and memory before a thread starts; registers when the vCPUs are there, before
//! one of them runs. A machine that is refused is dropped whole.

use std::fmt;
use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::machine::Span;
use devices::pci::InvalidPciState;
use devices::virtio::DeviceKind as VirtioKind;
use hv_backend::api::Caps;
use memory::{Mapping, Prot};

use super::StartError;
use super::platform::Platform;
use crate::config::{CpuChoice, Transport};
use crate::coordinator::{Control, Set, Standing, Start};
use crate::state::contract::{self, CpuContract};
use crate::state::{MachineContract, MachineState, Ram, RestoreError, SaveError, Saved, vcpus};
use crate::vcpu::chain;

/// Saves a machine, from any thread and as often as wanted.
#[derive(Clone)]
pub struct Saver {
    pub(super) control: Control,
    pub(super) platform: Arc<Platform>,
    pub(super) shape: Shape,
}

/// What of a machine's contract is not the same for all machines.
#[derive(Clone, Debug)]
pub struct Shape {
    pub cpu: CpuModel,
    pub vcpus: u16,
    pub ram: Span,
    pub address_bits: u8,
    pub transport: Transport,
    /// The virtio devices, in their order.
    pub virtio: Vec<VirtioKind>,
}

impl Saver {
    /// The machine's state, and its RAM, which it goes on to use when it goes on.
    ///
    /// # Errors
    /// When the machine is not paused, or the host fails.
    pub fn save(&self) -> Result<Saved, SaveError> {
        let Self {
            control,
            platform,
            shape,
        } = self.clone();
        let saved = control.visit(move |standing| platform.save(standing, shape));
        saved.unwrap_or(Err(SaveError::NotPaused))
    }
}

impl fmt::Debug for Saver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saver")
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// Whether the machine of this configuration on this accelerator can take up what was saved, where
/// its user asked for this CPU model and this frequency; the CPU model that it has to have.
///
/// # Errors
/// What differs.
pub fn check(
    saved: &MachineContract,
    shape: &Shape,
    (choice, frequency): (CpuChoice, Option<u64>),
    caps: &Caps,
) -> Result<CpuChoice, RestoreError> {
    let model = match choice {
        CpuChoice::Auto => saved.cpu.model,
        CpuChoice::Only(model) => model,
    };
    // What a processor says of itself is compared when there is one.
    let cpu = CpuContract {
        model,
        id_registers: saved.cpu.id_registers.clone(),
    };
    let Shape {
        cpu: _,
        vcpus,
        ram,
        address_bits: _,
        transport,
        virtio,
    } = shape;
    let frequency =
        frequency.unwrap_or_else(|| match caps.gives_frequency(saved.counter_frequency) {
            true => saved.counter_frequency,
            false => caps.counter_frequency,
        });
    let bits = caps.address_bits;
    let devices = contract::devices(*transport, virtio);
    let here = MachineContract::of_machine(cpu, *vcpus, *ram, frequency, bits, devices);
    contract::check(saved, &here)?;
    Ok(CpuChoice::Only(model))
}

impl Platform {
    fn save(&self, standing: &Standing<'_>, shape: Shape) -> Result<Saved, SaveError> {
        let Shape {
            cpu,
            vcpus: count,
            ram,
            address_bits: bits,
            transport,
            virtio,
        } = shape;
        let counter = standing.counter;
        // It tells the guest, by an interrupt that is to be saved.
        if let Some(balloon) = self.balloon() {
            balloon.end_reclaim();
        }
        let vcpus = vcpus::save(standing, cpu)?;
        let processor = vcpus::processor(standing, cpu)?;
        let frequency = counter.frequency;
        let devices = contract::devices(transport, &virtio);
        let contract = MachineContract::of_machine(processor, count, ram, frequency, bits, devices);
        let mut gic = self.interrupts.save().map_err(SaveError::Gic)?;
        vcpus::set_timer_wires(&mut gic, &vcpus, counter);
        let state = MachineState {
            contract,
            counter,
            vcpus,
            gic,
            uart: self.uart.save(),
            rtc: self.rtc.save(),
            gpio: self.gpio.save(),
            pci: self.pci.as_ref().map(|pci| pci.save()),
            virtio: self.virtio.save(),
        };
        let layout = self.ram();
        let region = |mapping: &Mapping| Ram {
            gpa: mapping.gpa,
            region: mapping.region.clone(),
        };
        let ram = layout.mappings().iter().map(region).collect();
        Ok(Saved { state, ram })
    }

    /// Takes up everything but the vCPUs, and says how these are.
    pub fn restore(&self, saved: Saved) -> Result<Start, StartError> {
        let Saved { state, ram } = saved;
        let MachineState {
            contract,
            counter,
            vcpus,
            mut gic,
            uart,
            rtc,
            gpio,
            pci,
            virtio,
        } = state;
        let refuse = |error: RestoreError| StartError::Input(chain(&error));
        vcpus::check(&vcpus, contract.vcpus).map_err(refuse)?;
        if counter.frequency != contract.counter_frequency {
            return Err(refuse(RestoreError::Counter {
                found: counter.frequency,
                expected: contract.counter_frequency,
            }));
        }
        self.take_ram(ram, &contract.memory)?;
        vcpus::set_timer_wires(&mut gic, &vcpus, counter);
        self.interrupts.restore(&gic).map_err(refuse)?;
        // Devices drive their wires once more, now that the GIC knows what it knew.
        self.uart
            .restore(&uart)
            .map_err(|error| refuse(error.into()))?;
        self.rtc.restore(rtc);
        self.gpio.restore(gpio);
        match (&self.pci, pci) {
            (Some(here), Some(pci)) => here.restore(&pci).map_err(|error| refuse(error.into()))?,
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err(refuse(InvalidPciState::Devices.into()));
            }
        }
        self.virtio
            .restore(&virtio)
            .map_err(|error| refuse(error.into()))?;
        let set: Set = Box::new(move |standing| {
            let cpu = &contract.cpu;
            let set = vcpus::restore(standing, &vcpus, cpu.model);
            set.map_err(|error| chain(&error))?;
            let here = vcpus::processor(standing, cpu.model).map_err(|error| chain(&error))?;
            contract::check_cpu(cpu, &here).map_err(|error| chain(&RestoreError::from(error)))
        });
        Ok(Start::Restored { set, counter })
    }

    fn take_ram(&self, ram: Vec<Ram>, expected: &[Span]) -> Result<(), StartError> {
        let span = |ram: &Ram| Span {
            base: ram.gpa,
            size: ram.region.size(),
        };
        if !ram.iter().map(span).eq(expected.iter().copied()) {
            return Err(StartError::Input(chain(&RestoreError::Ram)));
        }
        let prot = Prot::ReadWrite;
        for Ram { gpa, region } in ram {
            let layout = self.ram().with(gpa, region.clone(), prot);
            self.set_ram(layout.map_err(|error| StartError::Input(error.to_string()))?);
            let mapped = self.fleet.vm().map(gpa, region, prot);
            mapped.map_err(|error| StartError::Host(chain(&error)))?;
        }
        Ok(())
    }
}
