//! How many CPUs a machine has, of which model, and how fast their counter runs.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU64};
use std::str::FromStr;

use aarch64::cpu_model::CpuModel;
use aarch64::machine;

use super::ValueError;

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

impl Default for CpuCount {
    fn default() -> Self {
        Self(NonZeroU16::MIN)
    }
}

impl fmt::Display for CpuCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CpuCount {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let count = text
            .parse()
            .ok()
            .filter(|n: &NonZeroU16| n.get() <= machine::MAX_VCPUS);
        count.map(Self).ok_or_else(|| ValueError::Cpus(text.into()))
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

impl fmt::Display for CpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Only(model) => model.name(),
        })
    }
}

impl FromStr for CpuChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let model = CpuModel::named(text).map(Self::Only);
        model.ok_or_else(|| ValueError::Cpu(text.into()))
    }
}

/// Which frequency of the guest's counter (`CNTFRQ_EL0`) a user asked for. A guest keeps the one it
/// booted with, so one that is to move later boots with that of the host it will move to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FrequencyChoice {
    /// The accelerator's own; of a machine that was saved, its.
    #[default]
    Auto,
    /// So many Hz or none.
    Only(NonZeroU64),
}

impl fmt::Display for FrequencyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Only(hz) => hz.fmt(f),
        }
    }
}

impl FromStr for FrequencyChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let hz = text.parse().map(Self::Only);
        hz.map_err(|_| ValueError::CounterFrequency(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_1_to_123() {
        assert_eq!("1".parse::<CpuCount>().map(CpuCount::get), Ok(1));
        assert_eq!("123".parse::<CpuCount>().map(CpuCount::get), Ok(123));
        for text in ["0", "124", "65537", "-1", "two", ""] {
            let refused = text.parse::<CpuCount>().unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("{text}: a machine has 1 to 123 CPUs")
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
            let line = format!("{text}: choose auto, portable or host");
            assert_eq!(refused, line);
        }
    }

    #[test]
    fn counter_frequencies() {
        assert_eq!("auto".parse(), Ok(FrequencyChoice::Auto));
        for text in ["auto", "1", "24000000", "18446744073709551615"] {
            let choice = text
                .parse()
                .map(|choice: FrequencyChoice| choice.to_string());
            assert_eq!(choice.as_deref(), Ok(text));
        }
        for text in ["", "0", "-1", "24M", "1e9", "18446744073709551616"] {
            let refused = text.parse::<FrequencyChoice>().unwrap_err().to_string();
            let line = format!("{text}: choose auto, or a number of Hz such as 24000000");
            assert_eq!(refused, line);
        }
    }
}
