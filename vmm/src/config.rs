//! From what a user wrote to a machine that can be built: [`RawConfig`] holds texts, and
//! [`MachineConfig`] only values that are possible. The rest of the program takes the latter.
//!
//! Checks that need the host (files, accelerators) come later, when the machine is made.

use std::fmt;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

use aarch64::cpu_model::CpuModel;
use aarch64::{PAGE_SIZE, machine};
use hv_backend::Choice;
use hv_backend::select::UnknownAccel;

use crate::coordinator::OnReset;

/// The smallest machine that is of any use.
pub const MIN_MEMORY: u64 = 16 << 20;
/// Memory of a machine whose user asked for none.
pub const DEFAULT_MEMORY: &str = "512M";
/// Linux on arm64 keeps this many bytes of its command line, the terminating zero included.
pub const MAX_CMDLINE: usize = 2048;

/// What a user wrote.
#[derive(Clone, Debug)]
pub struct RawConfig {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// How many vCPUs.
    pub cpus: String,
    /// How much RAM.
    pub memory: String,
    /// Which accelerator.
    pub accel: String,
    /// Which CPU model.
    pub cpu: String,
    /// Where the serial port goes.
    pub serial: String,
    /// Whether a reset ends the machine.
    pub no_reboot: bool,
}

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
    /// Where the serial port goes.
    pub serial: Serial,
    /// What a reset does.
    pub on_reset: OnReset,
}

/// What a user wrote makes no machine. One line each, naming the thing and the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number of vCPUs that the machine cannot have.
    #[error("--cpus {0}: a machine has 1 to {max} CPUs", max = machine::MAX_VCPUS)]
    Cpus(String),
    /// No size at all.
    #[error("--memory {0}: this is no size; write it like 512M, 2G or 1GiB")]
    Size(String),
    /// Less than is of use.
    #[error("--memory {0}: too little; a machine has at least {min}", min = RamSize(MIN_MEMORY))]
    TooSmall(String),
    /// More than fits the address space.
    #[error("--memory {0}: too much; a machine has at most {max}", max = RamSize(machine::MAX_RAM))]
    TooBig(String),
    /// No whole pages.
    #[error("--memory {0}: not a multiple of the page size, 4 KiB")]
    NoPages(String),
    /// No such accelerator.
    #[error("--accel: {0}")]
    Accel(#[from] UnknownAccel),
    /// No such CPU model.
    #[error("--cpu {0}: choose auto, portable or host")]
    Cpu(String),
    /// Not a place for the serial port.
    #[error("--serial {0}: choose stdio, file:PATH or none")]
    Serial(String),
    /// More than Linux reads.
    #[error("--cmdline: {0} bytes are too long; Linux reads at most {max}", max = MAX_CMDLINE - 1)]
    Cmdline(usize),
}

impl TryFrom<RawConfig> for MachineConfig {
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
            serial,
            no_reboot,
        } = raw;
        if cmdline.len() >= MAX_CMDLINE {
            return Err(ConfigError::Cmdline(cmdline.len()));
        }
        Ok(Self {
            kernel,
            initrd,
            cmdline,
            cpus: cpus.parse()?,
            memory: memory.parse()?,
            accel: accel.parse()?,
            cpu: cpu.parse()?,
            serial: serial.parse()?,
            on_reset: if no_reboot {
                OnReset::End
            } else {
                OnReset::Restart
            },
        })
    }
}

/// A number of vCPUs that the machine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuCount(NonZeroU16);

impl CpuCount {
    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for CpuCount {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let count = text
            .parse()
            .ok()
            .filter(|n: &NonZeroU16| n.get() <= machine::MAX_VCPUS);
        count
            .map(Self)
            .ok_or_else(|| ConfigError::Cpus(text.into()))
    }
}

/// Which CPU model a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CpuChoice {
    /// `portable` where it can be enforced, `host` elsewhere.
    #[default]
    Auto,
    /// This one or none.
    Only(CpuModel),
}

impl FromStr for CpuChoice {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let model = CpuModel::named(text).map(Self::Only);
        model.ok_or_else(|| ConfigError::Cpu(text.into()))
    }
}

/// An amount of RAM that the machine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamSize(u64);

impl RamSize {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for RamSize {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let size = parse_size(text).ok_or_else(|| ConfigError::Size(text.into()))?;
        match u64::try_from(size)
            .ok()
            .filter(|bytes| *bytes <= machine::MAX_RAM)
        {
            None => Err(ConfigError::TooBig(text.into())),
            Some(bytes) if bytes < MIN_MEMORY => Err(ConfigError::TooSmall(text.into())),
            Some(bytes) if !bytes.is_multiple_of(PAGE_SIZE) => {
                Err(ConfigError::NoPages(text.into()))
            }
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for RamSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
        let whole = units
            .into_iter()
            .find(|(shift, _)| self.0.is_multiple_of(1 << shift));
        match whole {
            Some((shift, unit)) => write!(f, "{} {unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// A number with an optional unit (`K`, `KiB`, up to `P`; powers of 1024) in bytes. Units of 1000
/// (`MB`) are refused rather than guessed at.
fn parse_size(text: &str) -> Option<u128> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    // At most 2^64 times 2^50: it cannot overflow.
    let number = u128::from(number.parse::<u64>().ok()?);
    let unit = unit.trim_start().to_ascii_uppercase();
    let letter = unit.strip_suffix("IB").unwrap_or(&unit);
    let shift = match letter {
        "" if unit.is_empty() => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return None,
    };
    Some(number << shift)
}

/// Where the serial port goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serial {
    /// Standard input and output.
    Stdio,
    /// Its output to a file; no input.
    File(PathBuf),
    /// Nowhere.
    None,
}

impl FromStr for Serial {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match (text, text.strip_prefix("file:")) {
            ("stdio", _) => Ok(Self::Stdio),
            ("none", _) => Ok(Self::None),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(ConfigError::Serial(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_in_powers_of_1024() {
        for (text, bytes) in [
            ("512M", 512 << 20),
            ("2G", 2 << 30),
            ("1GiB", 1 << 30),
            ("1 gib", 1 << 30),
            ("65536k", 64 << 20),
            ("16777216", 16 << 20),
            ("1023G", 1023 << 30),
        ] {
            assert_eq!(text.parse(), Ok(RamSize(bytes)), "{text}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_with_their_reason() {
        use ConfigError::{NoPages, Size, TooBig, TooSmall};
        let refused = |text: &str| text.parse::<RamSize>().unwrap_err();
        for text in [
            "",
            "M",
            "lots",
            "-1G",
            "1.5G",
            "1MB",
            "0x40000000",
            "iB",
            "1 G G",
            "1e9",
        ] {
            assert_eq!(refused(text), Size(text.into()));
        }
        for text in ["0", "1M", "512"] {
            assert_eq!(refused(text), TooSmall(text.into()));
        }
        for text in ["1P", "1PiB", "1T", "18446744073709551615P"] {
            assert_eq!(refused(text), TooBig(text.into()));
        }
        assert_eq!(refused("16777217"), NoPages("16777217".into()));
        assert_eq!(
            refused("1M").to_string(),
            "--memory 1M: too little; a machine has at least 16 MiB"
        );
        assert!(refused("1P").to_string().ends_with("at most 1023 GiB"));
    }

    #[test]
    fn cpus_are_1_to_123() {
        assert_eq!("1".parse::<CpuCount>().map(CpuCount::get), Ok(1));
        assert_eq!("123".parse::<CpuCount>().map(CpuCount::get), Ok(123));
        for text in ["0", "124", "65537", "-1", "two", ""] {
            let refused = text.parse::<CpuCount>().unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("--cpus {text}: a machine has 1 to 123 CPUs")
            );
        }
    }

    #[test]
    fn cpu_models() {
        assert_eq!("auto".parse(), Ok(CpuChoice::Auto));
        for model in CpuModel::ALL {
            assert_eq!(model.name().parse(), Ok(CpuChoice::Only(model)));
        }
        for text in ["", "max", "Host"] {
            let refused = text.parse::<CpuChoice>().unwrap_err().to_string();
            let line = format!("--cpu {text}: choose auto, portable or host");
            assert_eq!(refused, line);
        }
    }

    #[test]
    fn serial_places() {
        assert_eq!("stdio".parse(), Ok(Serial::Stdio));
        assert_eq!("none".parse(), Ok(Serial::None));
        assert_eq!("file:a:b".parse(), Ok(Serial::File("a:b".into())));
        for text in ["file:", "pty", ""] {
            assert_eq!(
                text.parse::<Serial>(),
                Err(ConfigError::Serial(text.into()))
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_machine_that_cannot_be(text in "[0-9]{0,20} ?[kKmMgGtTpPiB]{0,3}") {
            if let Ok(size) = text.parse::<RamSize>() {
                prop_assert!((MIN_MEMORY..=machine::MAX_RAM).contains(&size.bytes()));
                prop_assert!(size.bytes().is_multiple_of(PAGE_SIZE));
            }
        }
    }
}
