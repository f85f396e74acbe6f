//! From what a user wrote to a machine that can be built. The rest of the program takes
//! [`MachineConfig`], which holds only values that are possible.
//!
//! A setting may be a flag ([`RawConfig`]) or a line of a machine file ([`mod@file`]). Each becomes a
//! checked value on its own ([`Settings`]), with an error that names its place; flags go before
//! the file, and what neither says has a default.
//!
//! Checks that need the host (files, accelerators) come later, when the machine is made.
//!
//! To add a setting: its type here, with `FromStr` and a way to write it; a field in [`RawConfig`],
//! [`Settings`] and [`MachineConfig`] (the compiler then asks for the rest); a line in the table of
//! [`mod@file`] and one in [`mod@print`]. To add a device: its type is an [`options::OptionList`].

pub mod balloon;
pub mod console;
mod control;
mod cpu;
pub mod disk;
pub mod file;
mod memory;
pub mod options;
pub mod print;
pub mod rng;
mod serial;
mod settings;
mod size;
mod transport;

use std::path::PathBuf;

use aarch64::machine;
use hv_backend::Choice;
use hv_backend::select::UnknownAccel;

use crate::coordinator::OnReset;
pub use control::{MachineName, StopTimeout};
pub use cpu::{CpuChoice, CpuCount, FrequencyChoice};
pub use memory::{DEFAULT_MEMORY, MIN_MEMORY, RamSize};
pub use options::OptionError;
pub use serial::Serial;
pub use settings::{Cmdline, RawConfig, Settings};
pub use size::ByteSize;
pub use transport::Transport;

/// Linux on arm64 keeps this many bytes of its command line, the terminating zero included.
pub const MAX_CMDLINE: usize = 2048;

/// A machine that can be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// How many vCPUs.
    pub cpus: CpuCount,
    /// How much RAM.
    pub memory: RamSize,
    /// Which accelerator.
    pub accel: Choice,
    /// Which CPU model.
    pub cpu: CpuChoice,
    /// How fast its counter runs.
    pub counter_frequency: FrequencyChoice,
    /// Where the serial port goes.
    pub serial: Serial,
    /// Its disks, in their order.
    pub disks: Vec<disk::DiskConfig>,
    /// The ports of its virtio console.
    pub consoles: Vec<console::ConsoleConfig>,
    /// Its memory balloon.
    pub balloon: balloon::Balloon,
    /// Its source of entropy.
    pub rng: rng::Rng,
    /// What a reset does.
    pub on_reset: OnReset,
    /// What virtio devices sit behind.
    pub transport: Transport,
    /// How long the guest may take to shut down when it is asked to.
    pub stop_timeout: StopTimeout,
    /// By which name it is reached while it runs.
    pub name: Option<MachineName>,
    /// The socket by which it is reached while it runs, instead of the name's.
    pub control: Option<PathBuf>,
}

/// What a user wrote makes no machine. One line each, naming the thing and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A flag with a value that is not possible.
    #[error("--{0} {1}")]
    Flag(&'static str, ValueError),
    /// Ports of the console that cannot be together, or beside something else.
    #[error("--console {0}")]
    Consoles(String),
    /// A balloon that is to have more than there is.
    #[error(
        "--balloon size={size}: the guest has only {memory} of memory; give it more with --memory, or \
         the balloon less"
    )]
    Balloon {
        /// What it is to have.
        size: ByteSize,
        /// The guest's memory.
        memory: RamSize,
    },
    /// Nothing to boot.
    #[error("no kernel is given; use --kernel PATH, or a machine file with one")]
    NoKernel,
}

/// A value that is not possible. One line that begins with the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A number of vCPUs that the machine cannot have.
    #[error("{0}: a machine has 1 to {max} CPUs", max = machine::MAX_VCPUS)]
    Cpus(String),
    /// No size at all.
    #[error("{0}: this is no size; write it like 512M, 2G or 1GiB")]
    Size(String),
    /// More than a 64-bit number of bytes.
    #[error("{0}: too much; no size here is 16384P or more")]
    SizeTooBig(String),
    /// Less than is of use.
    #[error("{0}: too little; a machine has at least {min}", min = RamSize::MIN)]
    TooSmall(String),
    /// More than fits the address space.
    #[error("{0}: too much; a machine has at most {max}", max = RamSize::MAX)]
    TooBig(String),
    /// No whole pages.
    #[error("{0}: not a multiple of the page size, 4 KiB")]
    NoPages(String),
    /// No such accelerator.
    #[error(transparent)]
    Accel(#[from] UnknownAccel),
    /// No such CPU model.
    #[error("{0}: choose auto, portable or host")]
    Cpu(String),
    /// No frequency.
    #[error("{0}: choose auto, or a number of Hz such as 24000000")]
    CounterFrequency(String),
    /// Not a place for the serial port.
    #[error("{0}: choose stdio, file:PATH or none")]
    Serial(String),
    /// More than Linux reads.
    #[error("of {0} bytes: too long; Linux reads at most {max}", max = MAX_CMDLINE - 1)]
    Cmdline(usize),
    /// No such transport.
    #[error("{0}: choose pci or mmio")]
    Transport(String),
    /// No name for a machine.
    #[error("{0}: a name is 1 to {max} letters, digits, '.', '-' and '_', a letter or digit first", max = control::MAX_NAME)]
    Name(String),
    /// No time to wait for a guest.
    #[error("{0}: write whole seconds, at most {max}; 0 asks the guest for nothing", max = StopTimeout::MAX)]
    StopTimeout(String),
    /// Options of a device.
    #[error(transparent)]
    Options(#[from] OptionError),
}
