//! The host's random numbers.

use devices::virtio::host::Random;

/// The host's random numbers, for devices.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostRandom;

impl Random for HostRandom {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        fill(bytes)
    }
}

/// Fills `bytes`.
///
/// # Errors
/// When the host has none.
pub fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(std::io::Error::other)
}
