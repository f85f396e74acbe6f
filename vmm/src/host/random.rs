//! The host's random numbers.

/// Fills `bytes`.
///
/// # Errors
/// When the host has none.
pub fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(bytes).map_err(std::io::Error::other)
}
