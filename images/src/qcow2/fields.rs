//! Big-endian numbers in bytes of an image. Where there are too few bytes that is said: a number that
//! is not there is not 0.

use std::io;

use super::tables::corrupt;
use crate::error::Problem;

/// There are too few bytes for a field at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a field at byte {0} is beyond the end of its table")]
pub struct Beyond(usize);

impl From<Beyond> for Problem {
    fn from(beyond: Beyond) -> Self {
        Self::Corrupt(beyond.to_string())
    }
}

impl From<Beyond> for io::Error {
    fn from(beyond: Beyond) -> Self {
        corrupt(beyond)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Beyond> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or(Beyond(at))
}

/// The number of 16 bits at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Beyond> {
    field(bytes, at).map(u16::from_be_bytes)
}

/// The number of 32 bits at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Beyond> {
    field(bytes, at).map(u32::from_be_bytes)
}

/// The number of 64 bits at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Result<u64, Beyond> {
    field(bytes, at).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_no_number() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(u16_at(&bytes, 7), Ok(0x0708));
        assert_eq!(u32_at(&bytes, 5), Ok(0x0506_0708));
        assert_eq!(u64_at(&bytes, 1), Ok(0x0102_0304_0506_0708));
        assert_eq!(u16_at(&bytes, 8), Err(Beyond(8)));
        assert_eq!(u32_at(&bytes, 6), Err(Beyond(6)));
        assert_eq!(u64_at(&bytes, 2), Err(Beyond(2)));
        assert_eq!(u64_at(&bytes, usize::MAX), Err(Beyond(usize::MAX)));
    }
}
