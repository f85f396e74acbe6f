//! Which memory is meant when a range of guest addresses is given back to the host. Pure, but for the
//! giving.
//!
//! The range is the guest's wish, so it may be anything; what is given back is whole pages, inside of
//! it, of memory that the guest may write.

use std::sync::Arc;

use aarch64::Gpa;
use memory::{Layout, Prot, Region};

use crate::api::HostError;

/// Whole pages of one region.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where the guest has them.
    pub gpa: Gpa,
    /// The region.
    pub region: Arc<Region>,
    /// The first byte in it.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

impl Part {
    /// Gives it back; see [`Region::discard`].
    pub fn discard(&self) -> Result<(), HostError> {
        let given = self.region.discard(self.offset, self.bytes);
        given.map_err(|source| HostError::Os {
            call: "giving guest memory back to the host",
            source,
        })
    }
}

/// The parts of a range that are pages of `unit` bytes, a power of two; lowest address first.
///
/// # Errors
/// When not all of the range is memory that the guest may write.
pub fn parts(layout: &Layout, gpa: Gpa, bytes: u64, unit: u64) -> Result<Vec<Part>, HostError> {
    let refused = |at: Gpa, reason: &str| HostError::Discard {
        gpa: at,
        reason: reason.into(),
    };
    let end = gpa.checked_add(bytes);
    let end = end.ok_or_else(|| refused(gpa, "it ends beyond all addresses"))?;
    let mut parts = Vec::new();
    let mut at = gpa;
    while at < end {
        let Some((mapping, offset)) = layout.find(at) else {
            return Err(refused(at, "no memory is mapped there"));
        };
        if mapping.prot == Prot::ReadOnly {
            return Err(refused(at, "the guest may not write there"));
        }
        let left = (mapping.region.size() - offset).min(end.0 - at.0);
        let first = at.0.checked_next_multiple_of(unit);
        let last = Gpa(at.0 + left).align_down(unit).0;
        if let Some(first) = first.filter(|first| *first < last) {
            parts.push(Part {
                gpa: Gpa(first),
                region: Arc::clone(&mapping.region),
                offset: offset + (first - at.0),
                bytes: last - first,
            });
        }
        at = Gpa(at.0 + left);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 0x4000;
    const BASE: Gpa = Gpa(0x4000_0000);
    const ROM: Gpa = Gpa(0x5000_0000);

    /// Two regions side by side, and a read-only one elsewhere.
    fn layout() -> Layout {
        let region = || Arc::new(Region::new(0x1_0000).unwrap());
        let next = Gpa(BASE.0 + 0x1_0000);
        let layout = Layout::default().with(BASE, region(), Prot::ReadWrite);
        let layout = layout.and_then(|l| l.with(next, region(), Prot::ReadWrite));
        let layout = layout.and_then(|l| l.with(ROM, region(), Prot::ReadOnly));
        layout.unwrap()
    }

    fn found(gpa: u64, bytes: u64) -> Vec<(u64, u64, u64)> {
        let parts = parts(&layout(), Gpa(gpa), bytes, UNIT).unwrap();
        let numbers = |part: &Part| (part.gpa.0 - BASE.0, part.offset, part.bytes);
        parts.iter().map(numbers).collect()
    }

    #[test]
    fn only_whole_pages_inside_of_the_range_are_meant() {
        let base = BASE.0;
        assert_eq!(found(base, 0x8000), [(0, 0, 0x8000)]);
        assert_eq!(found(base + 1, 0x8000), [(0x4000, 0x4000, 0x4000)]);
        assert_eq!(found(base + 1, 0x7ffe), []);
        assert_eq!(found(base + 0x2000, 0x1000), []);
        assert_eq!(found(base, 0), []);
        let both = [(0xc000, 0xc000, 0x4000), (0x1_0000, 0, 0x4000)];
        assert_eq!(found(base + 0xb000, 0x9001), both);
    }

    #[test]
    fn what_is_not_all_writable_memory_is_refused() {
        let layout = layout();
        for (gpa, bytes, said) in [
            (BASE.0 - 0x4000, 0x8000, "no memory"),
            (BASE.0, 0x2_4000, "no memory"),
            (ROM.0, 0x4000, "may not write"),
            (u64::MAX, 2, "beyond all"),
        ] {
            let refused = parts(&layout, Gpa(gpa), bytes, UNIT).unwrap_err();
            assert!(refused.to_string().contains(said), "{refused}");
        }
    }
}
