//! How a running machine is reached, and how patiently it is stopped.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::ValueError;

/// The longest name of a machine. With the directory before it, it has to fit the address of a
/// Unix socket, which is about a hundred bytes.
pub const MAX_NAME: usize = 48;

/// A machine's name: letters, digits, dots, dashes and underscores, beginning with a letter or
/// digit, so that it is one file's name and never an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineName(String);

impl MachineName {
    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !begins_well || text.len() > MAX_NAME || !text.chars().all(is_good) {
            return Err(ValueError::Name(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a guest may take to shut down, in whole seconds. With 0 it is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopTimeout(u32);

impl StopTimeout {
    /// The longest: a day.
    pub const MAX: Self = Self(86_400);

    /// As a time.
    #[must_use]
    pub fn time(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u32 {
        self.0
    }
}

impl Default for StopTimeout {
    fn default() -> Self {
        Self(30)
    }
}

impl TryFrom<u64> for StopTimeout {
    type Error = ValueError;

    fn try_from(seconds: u64) -> Result<Self, ValueError> {
        let seconds_32 = u32::try_from(seconds).ok().map(Self);
        let possible = seconds_32.filter(|timeout| timeout.0 <= Self::MAX.0);
        possible.ok_or_else(|| ValueError::StopTimeout(seconds.to_string()))
    }
}

impl FromStr for StopTimeout {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let seconds: Option<u64> = text.parse().ok();
        let possible = seconds.and_then(|seconds| Self::try_from(seconds).ok());
        possible.ok_or_else(|| ValueError::StopTimeout(text.to_owned()))
    }
}

impl fmt::Display for StopTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["web", "9", "a.b-c_d", &"x".repeat(MAX_NAME)] {
            let parsed = name.parse::<MachineName>().unwrap();
            assert_eq!(parsed.as_str(), name);
        }
        for name in [
            "",
            "-x",
            ".",
            "..",
            "a/b",
            "a b",
            "ü",
            &"x".repeat(MAX_NAME + 1),
        ] {
            assert!(name.parse::<MachineName>().is_err(), "{name}");
        }
    }

    #[test]
    fn timeouts_are_whole_seconds_up_to_a_day() {
        for (text, seconds) in [("0", 0), ("30", 30), ("86400", 86_400)] {
            assert_eq!(text.parse(), Ok(StopTimeout(seconds)));
        }
        for text in ["", "-1", "1.5", "86401", "soon", "30s"] {
            assert!(text.parse::<StopTimeout>().is_err(), "{text}");
        }
    }
}
