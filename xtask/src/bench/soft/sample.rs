//! What Linux's /proc tells of a process.

use std::fs;

/// Processor seconds that process `id` has used, in user and system mode.
pub fn processor_seconds(id: u32) -> Option<f64> {
    /// Linux counts in hundredths there on every machine.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Resident memory of process `id` in MiB without its guest's: the guest's memory is the largest
/// mapping, and at least `guest_mib` large.
pub fn own_memory_mib(id: u32, guest_mib: u64) -> Option<f64> {
    own_memory_of(
        &fs::read_to_string(format!("/proc/{id}/smaps")).ok()?,
        guest_mib,
    )
}

fn own_memory_of(smaps: &str, guest_mib: u64) -> Option<f64> {
    let sizes = kib_values(smaps, "Size:");
    let resident = kib_values(smaps, "Rss:");
    let (guest, size) = sizes
        .iter()
        .copied()
        .enumerate()
        .max_by_key(|&(_, size)| size)?;
    if size < guest_mib * 1024 || sizes.len() != resident.len() {
        return None;
    }
    let own: u64 = resident.iter().sum::<u64>() - resident[guest];
    Some(own as f64 / 1024.0)
}

/// The values of all lines `NAME   123 kB`.
fn kib_values(smaps: &str, name: &str) -> Vec<u64> {
    smaps
        .lines()
        .filter_map(|line| {
            line.strip_prefix(name)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mapping_is_the_guests() {
        let smaps = "a\nSize: 100 kB\nKernelPageSize: 4 kB\nRss: 60 kB\n\
                     b\nSize: 2048 kB\nRss: 1000 kB\nc\nSize: 2000 kB\nRss: 964 kB\n";
        assert_eq!(own_memory_of(smaps, 2), Some(1.0));
        assert_eq!(
            own_memory_of(smaps, 4),
            None,
            "the guest's memory is not there"
        );
    }
}
