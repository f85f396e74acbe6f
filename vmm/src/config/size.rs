//! Numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let size = parse_size(text).ok_or_else(|| ValueError::Size(text.into()))?;
        let size = u64::try_from(size).map_err(|_| ValueError::SizeTooBig(text.into()))?;
        Ok(Self(size))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(50, "P"), (40, "T"), (30, "G"), (20, "M"), (10, "K")];
        let whole = units
            .into_iter()
            .find(|(shift, _)| self.0 != 0 && self.0.is_multiple_of(1 << shift));
        match whole {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number with an optional unit (`K`, `KiB`, up to `P`; powers of 1024) in bytes. Units of 1000
/// (`MB`) are refused rather than guessed at.
pub(super) fn parse_size(text: &str) -> Option<u128> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_written_short() {
        for (bytes, text) in [
            (0, "0"),
            (1, "1"),
            (1 << 20, "1M"),
            (1536, "1536"),
            (3 << 50, "3P"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert!("lots".parse::<ByteSize>().is_err());
        assert!("16384P".parse::<ByteSize>().is_err(), "2^64");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(bytes: u64, shift in 0_u32..64) {
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
