//! The machine, composed: a checked configuration becomes an accelerator's VM, RAM, devices on a
//! bus, an interrupt controller, vCPUs and a console, and runs to its end.
//!
//! | part | where |
//! |---|---|
//! | the vCPUs, their threads, the life of the machine | [`crate::fleet`], [`crate::vcpu`], [`crate::coordinator`] |
//! | the CPU model | `cpu` |
//! | RAM, devices, GIC: what exits reach | `platform`, `interrupts`, `virtio`, `pci` |
//! | saving it, and making one from what was saved | `snapshot`, with [`crate::state`] |
//! | the disks | `disk` |
//! | what lies in RAM at power-on | `contents`, with [`crate::boot`] |
//! | that no file it writes over is one it is made of | [`outputs`] |
//! | how other programs reach it while it runs | [`crate::control`] |
//! | the serial port's other end | [`crate::console`] |

mod balloon;
mod contents;
mod cpu;
mod disk;
mod interrupts;
pub mod outputs;
mod pci;
mod platform;
mod reach;
mod snapshot;
mod virtio;

use std::fmt;
use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::machine;
use hv_backend::api::{Caps, Hypervisor, TimeSource, VmConfig};
use hv_backend::select::select;

use crate::config::{CpuCount, FrequencyChoice, MachineConfig, RamSize};
use crate::console::Console;
use crate::console::ports::Ports;
use crate::coordinator::{self, Begin, Control, Inbox, OnReset, Start, controls};
use crate::fleet::Fleet;
use crate::host::clock::Alarms;
use crate::outcome::Outcome;
use crate::state::Saved;
use crate::vcpu::chain;
pub use balloon::{GuestBalloon, ReclaimError, Reclaimed};
use contents::Contents;
use disk::OpenDisk;
use outputs::Beside;
use platform::{Platform, Wiring};
use reach::Reach;
pub use snapshot::Saver;
use snapshot::Shape;
use virtio::Wanted;
pub(crate) use virtio::place;

/// Why a machine cannot start. One line each, naming the thing and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// What the user gave is wrong.
    #[error("{0}")]
    Input(String),
    /// The host does not give what the machine needs.
    #[error("{0}")]
    Host(String),
}

/// The device tree of a machine of this configuration, with seeds of its own. It takes no
/// accelerator, and leaves the serial port's file alone.
///
/// # Errors
/// When a file is not what the configuration says.
pub fn device_tree(config: &MachineConfig) -> Result<Vec<u8>, StartError> {
    Contents::open(config)?.device_tree()
}

/// The files that a machine is made of. They are opened before anything else: what is wrong with
/// them does not depend on the host.
struct Files {
    contents: Contents,
    disks: Vec<OpenDisk>,
}

impl Files {
    fn open(config: &MachineConfig) -> Result<Self, StartError> {
        let devices = virtio::wanted(config).len();
        if devices > virtio::MAX_DEVICES {
            let most = virtio::MAX_DEVICES;
            let line = format!("{devices} virtio devices: a machine has {most} at most");
            return Err(StartError::Input(line));
        }
        outputs::check(config, Beside::default())?;
        Ok(Self {
            contents: Contents::open(config)?,
            disks: OpenDisk::open_all(config)?,
        })
    }
}

/// A machine that is ready to run.
pub struct Machine {
    shape: Shape,
    start: Start,
    begin: Begin,
    fleet: Arc<Fleet>,
    platform: Arc<Platform>,
    console: Console,
    ports: Ports,
    control: Control,
    inbox: Inbox,
    on_reset: OnReset,
    reach: Reach,
    /// Held for its thread.
    _alarms: Alarms,
}

impl Machine {
    /// Makes the machine: opens the accelerator and every file, and loads the guest.
    ///
    /// # Errors
    /// When a file, the accelerator or the host does not give what the configuration asks for.
    pub fn new(config: MachineConfig) -> Result<Self, StartError> {
        let files = Files::open(&config)?;
        let hypervisor = select(config.accel, |accel, why| {
            tracing::warn!("--accel auto does not use {accel}: {why}");
        })
        .map_err(|e| StartError::Input(chain(&e)))?;
        Self::compose(&*hypervisor, config, files, None)
    }

    /// Makes the machine on this accelerator, whichever the configuration names.
    ///
    /// # Errors
    /// As [`Machine::new`].
    pub fn on(hypervisor: &dyn Hypervisor, config: MachineConfig) -> Result<Self, StartError> {
        let files = Files::open(&config)?;
        Self::compose(hypervisor, config, files, None)
    }

    /// Makes a machine that goes on where another stood. Its kernel and initial RAM disk are those
    /// that a reset of the guest starts from.
    ///
    /// # Errors
    /// As [`Machine::new`], and when what was saved is not for this machine, or damaged. What only
    /// shows when registers are set ends the run, with [`Outcome::NotRestored`].
    pub fn restore(
        hypervisor: &dyn Hypervisor,
        config: MachineConfig,
        saved: Saved,
    ) -> Result<Self, StartError> {
        let files = Files::open(&config)?;
        Self::compose(hypervisor, config, files, Some(saved))
    }

    /// The same machine, but its vCPUs stand still until [`Control::resume`].
    #[must_use]
    pub fn paused(self) -> Self {
        Self {
            begin: Begin::Paused,
            ..self
        }
    }

    fn compose(
        hypervisor: &dyn Hypervisor,
        config: MachineConfig,
        files: Files,
        saved: Option<Saved>,
    ) -> Result<Self, StartError> {
        let Files { contents, disks } = files;
        let wanted = virtio::wanted(&config);
        let reach = Reach::open(&config, hypervisor.name())?;
        let MachineConfig {
            cpus,
            memory,
            mut cpu,
            counter_frequency,
            serial,
            consoles,
            on_reset,
            transport,
            ..
        } = config;
        let (name, caps) = (hypervisor.name(), hypervisor.caps());
        let mut vm_config = vm_config(name, caps, cpus, memory)?;
        vm_config.counter_frequency = frequency(name, caps, counter_frequency)?;
        let mut shape = Shape {
            cpu: vm_config.cpu,
            vcpus: vm_config.vcpus,
            ram: contents.ram(),
            address_bits: vm_config.address_bits,
            transport,
            virtio: wanted.iter().map(Wanted::kind).collect(),
        };
        if let Some(saved) = &saved {
            let asked = (cpu, vm_config.counter_frequency);
            let fits = snapshot::check(&saved.state.contract, &shape, asked, caps);
            cpu = fits.map_err(|error| StartError::Input(chain(&error)))?;
            vm_config.counter_frequency = Some(saved.state.contract.counter_frequency);
        }
        let (vm, cpu) = cpu::create_vm(hypervisor, vm_config, cpu)?;
        shape.cpu = cpu;
        let fleet = Arc::new(Fleet::new(Arc::from(vm), cpus.get()));
        let (control, inbox) = controls();
        let (console, sink) = Console::open(&serial, control.clone())?;
        let ports = Ports::open(&consoles)?;
        let no_thread = |error| StartError::Host(format!("cannot start a thread: {error}"));
        let alarms = Alarms::new().map_err(no_thread)?;
        let wiring = Wiring {
            fleet: fleet.clone(),
            serial: sink,
            alarms: &alarms,
            transport,
            virtio: &wanted,
            disks,
            console: ports.device().clone(),
        };
        let platform = Arc::new(Platform::new(wiring, contents)?);
        let start = match saved {
            None => {
                platform.power_on()?;
                Start::PowerOn
            }
            Some(saved) => platform.restore(saved)?,
        };
        Ok(Self {
            shape,
            start,
            begin: Begin::Running,
            fleet,
            platform,
            console,
            ports,
            control,
            inbox,
            on_reset,
            reach,
            _alarms: alarms,
        })
    }

    /// What the guest finds its processor to be.
    #[must_use]
    pub fn cpu_model(&self) -> CpuModel {
        self.shape.cpu
    }

    /// What saves the machine while it runs, or rather while it is paused.
    #[must_use]
    pub fn saver(&self) -> Saver {
        Saver {
            control: self.control.clone(),
            platform: self.platform.clone(),
            shape: self.shape.clone(),
        }
    }

    /// The machine's controls, for any thread.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Runs the guest to its end, and writes out what it printed.
    ///
    /// # Errors
    /// When the console cannot start.
    pub fn run(self) -> Result<Outcome, StartError> {
        let Self {
            shape,
            start,
            begin,
            fleet,
            platform,
            console,
            ports,
            control,
            inbox,
            on_reset,
            reach,
            _alarms,
        } = self;
        let server = reach.serve(control.clone(), shape.cpu, platform.balloon().cloned())?;
        let session = console.start(platform.uart().clone(), ports, control)?;
        let board = platform.clone();
        let outcome = coordinator::run_from((start, begin), fleet, board, on_reset, inbox);
        platform.finish();
        session.finish(&outcome);
        if let Some(server) = server {
            server.finish(&outcome);
        }
        Ok(outcome)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}

/// What to ask of the accelerator, if it can give that.
fn vm_config(
    name: &str,
    caps: &Caps,
    cpus: CpuCount,
    memory: RamSize,
) -> Result<VmConfig, StartError> {
    let Caps {
        max_vcpus,
        address_bits,
        counter_frequency: _,
        any_frequency_up_to: _,
    } = *caps;
    if cpus.get() > max_vcpus {
        let cpus = cpus.get();
        let line = format!("--cpus {cpus}: the accelerator {name} has at most {max_vcpus} CPUs");
        return Err(StartError::Input(line));
    }
    let needed = address_bits_for(memory);
    if needed > address_bits {
        let room = (1_u64 << address_bits) - machine::RAM_BASE.0;
        let line = format!(
            "--memory {memory}: the accelerator {name} has room for {} GiB at most",
            room >> 30
        );
        return Err(StartError::Input(line));
    }
    Ok(VmConfig {
        vcpus: cpus.get(),
        address_bits: needed,
        time: TimeSource::Host,
        counter_frequency: None,
        cpu: CpuModel::Portable,
    })
}

/// What to ask of the accelerator as the frequency of the guest's counter, if it can give that.
fn frequency(name: &str, caps: &Caps, choice: FrequencyChoice) -> Result<Option<u64>, StartError> {
    let hz = match choice {
        FrequencyChoice::Auto => return Ok(None),
        FrequencyChoice::Only(hz) => hz.get(),
    };
    if caps.gives_frequency(hz) {
        return Ok(Some(hz));
    }
    let given = match caps.any_frequency_up_to {
        Some(most) => format!("1 to {most} Hz"),
        None => format!(
            "{} Hz and no other, for the counter is the processor's; the accelerator soft gives any",
            caps.counter_frequency
        ),
    };
    let line = format!("--counter-frequency {hz}: the accelerator {name} gives {given}");
    Err(StartError::Input(line))
}

/// Bits of the highest address of a machine with this much RAM. Everything else lies below it.
fn address_bits_for(memory: RamSize) -> u8 {
    let last = machine::RAM_BASE.0 + memory.bytes() - 1;
    // At most 64.
    u8::try_from(u64::BITS - last.leading_zeros()).unwrap_or(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPS: Caps = Caps {
        max_vcpus: 4,
        address_bits: 36,
        counter_frequency: 1,
        any_frequency_up_to: None,
    };

    fn ask(cpus: &str, memory: &str) -> Result<VmConfig, StartError> {
        vm_config(
            "test",
            &CAPS,
            cpus.parse().unwrap(),
            memory.parse().unwrap(),
        )
    }

    #[test]
    fn address_bits_follow_the_memory() {
        assert_eq!(ask("1", "1G").unwrap().address_bits, 31);
        assert_eq!(ask("4", "63G").unwrap().address_bits, 36);
    }

    #[test]
    fn what_the_accelerator_cannot_do_is_refused_by_name() {
        for (cpus, memory, said) in [("5", "1G", "at most 4 CPUs"), ("1", "64G", "63 GiB")] {
            let Err(StartError::Input(line)) = ask(cpus, memory) else {
                panic!("accepted")
            };
            assert!(line.contains(said), "{line}");
        }
    }

    #[test]
    fn a_frequency_is_given_or_refused_with_those_that_are() {
        let ask = |caps: &Caps, text: &str| frequency("test", caps, text.parse().unwrap());
        let any = Caps {
            any_frequency_up_to: Some(1000),
            ..CAPS
        };
        assert_eq!(ask(&CAPS, "auto"), Ok(None));
        assert_eq!(ask(&CAPS, "1"), Ok(Some(1)));
        assert_eq!(ask(&any, "1000"), Ok(Some(1000)));
        for (caps, text, said) in [
            (CAPS, "24", "gives 1 Hz and no other"),
            (any, "1001", "gives 1 to 1000 Hz"),
        ] {
            let Err(StartError::Input(line)) = ask(&caps, text) else {
                panic!("accepted")
            };
            let start = format!("--counter-frequency {text}: the accelerator test {said}");
            assert!(line.starts_with(&start), "{line}");
        }
    }
}
