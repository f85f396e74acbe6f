//! Statistics that a guest's driver sends (Virtio 1.2, section 5.5.6.3).

use memory::Pieces;

use super::spec::stat;

/// Entries that are read of a buffer. Drivers send about ten.
const MOST: u64 = 64;

/// What the guest says of its memory. What it does not say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes swapped in since it started.
    pub swap_in: Option<u64>,
    /// Bytes swapped out since it started.
    pub swap_out: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    pub minor_faults: Option<u64>,
    /// Bytes that nothing is in.
    pub free: Option<u64>,
    /// Bytes of memory.
    pub total: Option<u64>,
    /// Bytes that programs could get without swapping.
    pub available: Option<u64>,
    /// Bytes of files in memory.
    pub caches: Option<u64>,
}

impl Stats {
    /// What lies in a driver's buffer. Unknown entries are ignored, of equal ones the last counts.
    pub(super) fn read(buffer: &Pieces) -> Self {
        let mut stats = Self::default();
        for n in 0..(buffer.len() / stat::BYTES).min(MOST) {
            let mut entry = [0; stat::BYTES as usize];
            if buffer.copy_to(n * stat::BYTES, &mut entry).is_err() {
                break;
            }
            let [t0, t1, value @ ..] = entry;
            stats.set(u16::from_le_bytes([t0, t1]), u64::from_le_bytes(value));
        }
        stats
    }

    fn set(&mut self, tag: u16, value: u64) {
        let field = match tag {
            stat::SWAP_IN => &mut self.swap_in,
            stat::SWAP_OUT => &mut self.swap_out,
            stat::MAJOR_FAULTS => &mut self.major_faults,
            stat::MINOR_FAULTS => &mut self.minor_faults,
            stat::FREE => &mut self.free,
            stat::TOTAL => &mut self.total,
            stat::AVAILABLE => &mut self.available,
            stat::CACHES => &mut self.caches,
            _ => return,
        };
        *field = Some(value);
    }
}
