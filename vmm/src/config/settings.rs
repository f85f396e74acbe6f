//! Settings, wherever they come from: what flags say goes before what a file says.

use std::path::PathBuf;
use std::str::FromStr;

use hv_backend::Choice;

use super::balloon::{Balloon, BalloonConfig};
use super::console::{self, ConsoleConfig};
use super::disk::DiskConfig;
use super::rng::Rng;
use super::{
    ConfigError, CpuChoice, CpuCount, FrequencyChoice, MAX_CMDLINE, MachineConfig, MachineName,
    RamSize, Serial, StopTimeout, Transport, ValueError,
};
use crate::coordinator::OnReset;

/// What a user wrote on the command line; `None` for what was not written.
#[derive(Clone, Debug, Default)]
pub struct RawConfig {
    /// The kernel's file.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: Option<String>,
    /// How many vCPUs.
    pub cpus: Option<String>,
    /// How much RAM.
    pub memory: Option<String>,
    /// Which accelerator.
    pub accel: Option<String>,
    /// Which CPU model.
    pub cpu: Option<String>,
    /// How fast its counter runs.
    pub counter_frequency: Option<String>,
    /// Where the serial port goes.
    pub serial: Option<String>,
    /// Its disks; none for what was not written.
    pub disks: Vec<String>,
    /// The ports of its virtio console; none for what was not written.
    pub consoles: Vec<String>,
    /// Its memory balloon.
    pub balloon: Option<String>,
    /// Its source of entropy.
    pub rng: Option<String>,
    /// Whether a reset ends the machine.
    pub no_reboot: Option<bool>,
    /// What virtio devices sit behind.
    pub transport: Option<String>,
    /// How long the guest may take to shut down.
    pub stop_timeout: Option<String>,
    /// The machine's name.
    pub name: Option<String>,
    /// The machine's control socket.
    pub control: Option<PathBuf>,
}

/// Checked values; `None` for what was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The kernel's file.
    pub kernel: Option<PathBuf>,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: Option<Cmdline>,
    /// How many vCPUs.
    pub cpus: Option<CpuCount>,
    /// How much RAM.
    pub memory: Option<RamSize>,
    /// Which accelerator.
    pub accel: Option<Choice>,
    /// Which CPU model.
    pub cpu: Option<CpuChoice>,
    /// How fast its counter runs.
    pub counter_frequency: Option<FrequencyChoice>,
    /// Where the serial port goes.
    pub serial: Option<Serial>,
    /// Its disks.
    pub disks: Option<Vec<DiskConfig>>,
    /// The ports of its virtio console.
    pub consoles: Option<Vec<ConsoleConfig>>,
    /// Its memory balloon.
    pub balloon: Option<Balloon>,
    /// Its source of entropy.
    pub rng: Option<Rng>,
    /// Whether a reset ends the machine.
    pub no_reboot: Option<bool>,
    /// What virtio devices sit behind.
    pub transport: Option<Transport>,
    /// How long the guest may take to shut down.
    pub stop_timeout: Option<StopTimeout>,
    /// The machine's name.
    pub name: Option<MachineName>,
    /// The machine's control socket.
    pub control: Option<PathBuf>,
}

/// A command line that Linux reads to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline(pub(super) String);

impl FromStr for Cmdline {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.len() >= MAX_CMDLINE {
            return Err(ValueError::Cmdline(text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<RawConfig> for Settings {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        let RawConfig {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            disks,
            consoles,
            balloon,
            rng,
            no_reboot,
            transport,
            stop_timeout,
            name,
            control,
        } = raw;
        Ok(Self {
            kernel,
            initrd,
            cmdline: flag("cmdline", cmdline)?,
            cpus: flag("cpus", cpus)?,
            memory: flag("memory", memory)?,
            accel: flag("accel", accel)?,
            cpu: flag("cpu", cpu)?,
            counter_frequency: flag("counter-frequency", counter_frequency)?,
            serial: flag("serial", serial)?,
            disks: flags("disk", disks)?,
            consoles: flags("console", consoles)?,
            balloon: flag("balloon", balloon)?,
            rng: flag("rng", rng)?,
            no_reboot,
            transport: flag("transport", transport)?,
            stop_timeout: flag("stop-timeout", stop_timeout)?,
            name: flag("name", name)?,
            control,
        })
    }
}

/// The value of a flag, if it was given.
fn flag<T: FromStr<Err: Into<ValueError>>>(
    name: &'static str,
    text: Option<String>,
) -> Result<Option<T>, ConfigError> {
    let parse = |text: String| {
        let value = text.parse();
        value.map_err(|why: T::Err| ConfigError::Flag(name, why.into()))
    };
    text.map(parse).transpose()
}

/// The values of a flag that may be repeated, if it was given at all.
fn flags<T: FromStr<Err: Into<ValueError>>>(
    name: &'static str,
    texts: Vec<String>,
) -> Result<Option<Vec<T>>, ConfigError> {
    let values = texts.into_iter().map(|text| flag(name, Some(text)));
    let values: Option<Vec<T>> = values.collect::<Result<_, _>>()?;
    Ok(values.filter(|values| !values.is_empty()))
}

impl Settings {
    /// These, and for what they do not say those of `base`.
    #[must_use]
    pub fn or(self, base: Self) -> Self {
        let Self {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            disks,
            consoles,
            balloon,
            rng,
            no_reboot,
            transport,
            stop_timeout,
            name,
            control,
        } = self;
        Self {
            kernel: kernel.or(base.kernel),
            initrd: initrd.or(base.initrd),
            cmdline: cmdline.or(base.cmdline),
            cpus: cpus.or(base.cpus),
            memory: memory.or(base.memory),
            accel: accel.or(base.accel),
            cpu: cpu.or(base.cpu),
            counter_frequency: counter_frequency.or(base.counter_frequency),
            serial: serial.or(base.serial),
            disks: disks.or(base.disks),
            consoles: consoles.or(base.consoles),
            balloon: balloon.or(base.balloon),
            rng: rng.or(base.rng),
            no_reboot: no_reboot.or(base.no_reboot),
            transport: transport.or(base.transport),
            stop_timeout: stop_timeout.or(base.stop_timeout),
            name: name.or(base.name),
            control: control.or(base.control),
        }
    }
}

impl TryFrom<Settings> for MachineConfig {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let Settings {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory,
            accel,
            cpu,
            counter_frequency,
            serial,
            disks,
            consoles,
            balloon,
            rng,
            no_reboot,
            transport,
            stop_timeout,
            name,
            control,
        } = settings;
        let Cmdline(cmdline) = cmdline.unwrap_or_default();
        let serial = serial.unwrap_or_default();
        let consoles = consoles.unwrap_or_default();
        console::check(&consoles, &serial).map_err(ConfigError::Consoles)?;
        let memory = memory.unwrap_or_default();
        let balloon = balloon.unwrap_or_default();
        if let Balloon::On(BalloonConfig { size, .. }) = balloon
            && size.0 > memory.bytes()
        {
            return Err(ConfigError::Balloon { size, memory });
        }
        Ok(Self {
            kernel: kernel.ok_or(ConfigError::NoKernel)?,
            initrd,
            cmdline,
            cpus: cpus.unwrap_or_default(),
            memory,
            accel: accel.unwrap_or_default(),
            cpu: cpu.unwrap_or_default(),
            counter_frequency: counter_frequency.unwrap_or_default(),
            serial,
            disks: disks.unwrap_or_default(),
            consoles,
            balloon,
            rng: rng.unwrap_or_default(),
            on_reset: match no_reboot {
                Some(true) => OnReset::End,
                Some(false) | None => OnReset::Restart,
            },
            transport: transport.unwrap_or_default(),
            stop_timeout: stop_timeout.unwrap_or_default(),
            name,
            control,
        })
    }
}

impl TryFrom<RawConfig> for MachineConfig {
    type Error = ConfigError;

    fn try_from(raw: RawConfig) -> Result<Self, ConfigError> {
        Settings::try_from(raw)?.try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(cpus: &str, memory: &str) -> RawConfig {
        RawConfig {
            kernel: Some("Image".into()),
            cpus: Some(cpus.into()),
            memory: Some(memory.into()),
            ..RawConfig::default()
        }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let raw = RawConfig {
            kernel: Some("Image".into()),
            ..RawConfig::default()
        };
        let config = MachineConfig::try_from(raw).unwrap();
        assert_eq!((config.cpus.get(), config.memory.bytes()), (1, 512 << 20));
        assert_eq!(
            (config.serial, config.cpu),
            (Serial::Stdio, CpuChoice::Auto)
        );
        assert_eq!(config.on_reset, OnReset::Restart);
    }

    #[test]
    fn mistakes_name_their_flag() {
        for (raw, said) in [
            (raw("0", "1G"), "--cpus 0: a machine has 1 to 123 CPUs"),
            (
                raw("1", "1M"),
                "--memory 1M: too little; a machine has at least 16 MiB",
            ),
            (
                RawConfig {
                    balloon: Some("size=1537M".into()),
                    ..raw("1", "1536M")
                },
                "--balloon size=1537M: the guest has only 1536 MiB of memory; give it more with \
                 --memory, or the balloon less",
            ),
            (
                RawConfig::default(),
                "no kernel is given; use --kernel PATH, or a machine file with one",
            ),
        ] {
            assert_eq!(MachineConfig::try_from(raw).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn what_is_said_first_counts() {
        let settings = |cpus, memory| Settings::try_from(raw(cpus, memory)).unwrap();
        let base = Settings {
            initrd: Some("initrd".into()),
            no_reboot: Some(true),
            ..settings("4", "1G")
        };
        let flags = Settings {
            memory: None,
            no_reboot: Some(false),
            ..settings("2", "2G")
        };
        let config = MachineConfig::try_from(flags.or(base)).unwrap();
        assert_eq!((config.cpus.get(), config.memory.bytes()), (2, 1 << 30));
        assert_eq!(config.initrd, Some("initrd".into()));
        assert_eq!(config.on_reset, OnReset::Restart);
    }
}
