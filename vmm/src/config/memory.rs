//! How much memory a machine has.

use std::fmt;
use std::str::FromStr;

use aarch64::{PAGE_SIZE, machine};

use super::ValueError;
use super::size::parse_size;

/// The smallest machine that is of any use.
pub const MIN_MEMORY: u64 = 16 << 20;
/// Memory of a machine whose user asked for none.
pub const DEFAULT_MEMORY: RamSize = RamSize(512 << 20);

/// An amount of RAM that the machine can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamSize(u64);

impl RamSize {
    /// The least that a machine has.
    pub(super) const MIN: Self = Self(MIN_MEMORY);
    /// The most that fits the address space.
    pub(super) const MAX: Self = Self(machine::MAX_RAM);

    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for RamSize {
    fn default() -> Self {
        DEFAULT_MEMORY
    }
}

impl FromStr for RamSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let size = parse_size(text).ok_or_else(|| ValueError::Size(text.into()))?;
        match u64::try_from(size)
            .ok()
            .filter(|bytes| *bytes <= machine::MAX_RAM)
        {
            None => Err(ValueError::TooBig(text.into())),
            Some(bytes) if bytes < MIN_MEMORY => Err(ValueError::TooSmall(text.into())),
            Some(bytes) if !bytes.is_multiple_of(PAGE_SIZE) => {
                Err(ValueError::NoPages(text.into()))
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
        use ValueError::{NoPages, Size, TooBig, TooSmall};
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
            "1M: too little; a machine has at least 16 MiB"
        );
        assert!(refused("1P").to_string().ends_with("at most 1023 GiB"));
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
