//! What the host's kernel says of the memory that a guest is given.
//!
//! The framework refuses memory that is not mapped as a whole, and shared mappings of files that
//! were opened read-only. Here `/proc/self/maps` tells; where there is none, everything passes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use aarch64::PAGE_SIZE;

/// What is at a range of addresses of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Memory, all over.
    Whole,
    /// Memory that is shared and may not be written.
    SharedReadOnly,
    /// Something is missing.
    Missing,
}

/// What is at `bytes` bytes from `base` on.
pub(crate) fn backing(base: u64, bytes: u64) -> Backing {
    match fs::read_to_string("/proc/self/maps") {
        Ok(maps) => judge(&maps, base, bytes),
        Err(_) => Backing::Whole,
    }
}

/// The bits of `/proc/self/pagemap` that say that a page is in memory or was swapped out.
const EXISTS: u64 = 0b11 << 62;

/// Of these pages, counted from `base` on, those that the host has nothing for: it was given them back.
/// None where `/proc/self/pagemap` does not tell, or hosts have larger pages.
pub(crate) fn given_back(base: u64, pages: impl Iterator<Item = u64>) -> Vec<u64> {
    let Ok(map) = File::open("/proc/self/pagemap") else {
        return Vec::new();
    };
    let exists = |page: u64| {
        let mut entry = [0; 8];
        let read = map.read_exact_at(&mut entry, (base / PAGE_SIZE + page) * 8);
        read.is_err() || u64::from_ne_bytes(entry) & EXISTS != 0
    };
    pages.filter(|page| !exists(*page)).collect()
}

fn judge(maps: &str, base: u64, bytes: u64) -> Backing {
    let Some(end) = base.checked_add(bytes) else {
        return Backing::Missing;
    };
    let mut reached = base;
    for (from, to, flags) in maps.lines().filter_map(parse) {
        if to <= reached || reached >= end {
            continue;
        }
        if from > reached || !flags.starts_with('r') {
            return Backing::Missing;
        }
        if flags.starts_with("r-") && flags.ends_with('s') {
            return Backing::SharedReadOnly;
        }
        reached = to;
    }
    if reached >= end {
        Backing::Whole
    } else {
        Backing::Missing
    }
}

/// First address, end and flags of a line.
fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    Some((address(from)?, address(to)?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
        1000-3000 r--p 00000000 00:00 0\n\
        3000-5000 rw-p 00000000 00:00 0\n\
        6000-8000 rw-s 00000000 08:01 5 /ram\n\
        8000-9000 r--s 00000000 08:01 5 /rom\n\
        9000-a000 ---p 00000000 00:00 0\n";

    #[test]
    fn ranges_are_whole_across_lines_and_end_at_holes() {
        for (base, bytes, expected) in [
            (0x1000, 0x4000, Backing::Whole),
            (0x2000, 0x1000, Backing::Whole),
            (0x4000, 0x2000, Backing::Missing),
            (0x5000, 0x1000, Backing::Missing),
            (0x6000, 0x2000, Backing::Whole),
            (0x7000, 0x2000, Backing::SharedReadOnly),
            (0x9000, 0x1000, Backing::Missing),
            (0xb000, 0x1000, Backing::Missing),
            (u64::MAX, 2, Backing::Missing),
        ] {
            assert_eq!(judge(MAPS, base, bytes), expected, "{base:#x}");
        }
    }

    #[test]
    fn this_process_has_its_own_memory() {
        let value = Box::new([0u8; 64]);
        assert_eq!(backing(value.as_ptr() as u64, 64), Backing::Whole);
        assert_eq!(backing(0, 64), Backing::Missing);
    }
}
