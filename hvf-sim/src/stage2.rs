//! The second stage of translation: which host memory backs which guest addresses, and what the
//! guest may do there, in pages of 16 KiB.

use std::sync::Arc;

use aarch64::Gpa;
use hv_backend::hvf::abi::PAGE_SIZE;
use memory::{Layout, Mapping, PageSet, Prot, Region, Rights};

use crate::host_memory;
use crate::lent::Lent;

/// Memory at guest addresses.
#[derive(Clone, Debug)]
struct Range {
    ipa: u64,
    size: u64,
    lent: Lent,
    region: Arc<Region>,
    rights: Arc<Rights>,
    /// Pages that the guest may have written: it had them at hand for that, and then an access may
    /// have failed for another reason.
    pending: PageSet,
    /// Pages that the guest wrote.
    written: PageSet,
}

impl Range {
    /// A range that is mapped now.
    fn new(ipa: u64, size: u64, lent: Lent, rights: Rights) -> std::io::Result<Self> {
        let region = lent.region()?;
        region.start_log();
        Ok(Self {
            ipa,
            size,
            lent,
            region,
            rights: Arc::new(rights),
            pending: PageSet::empty(size),
            written: PageSet::empty(size),
        })
    }

    /// Looks which pages the guest wrote since: those of the log that the host has something for.
    fn observe(&mut self) {
        self.pending.insert_all(&self.region.take_log());
        if self.pending.is_empty() {
            return;
        }
        let nothing = host_memory::given_back(self.lent.address(), self.pending.iter());
        let mut still = PageSet::empty(self.size);
        nothing.into_iter().for_each(|page| still.insert(page));
        for page in self.pending.iter().filter(|page| !still.contains(*page)) {
            self.written.insert(page);
        }
        self.pending = still;
    }

    fn end(&self) -> u64 {
        self.ipa + self.size
    }

    /// The part of it from `from` to `to`, if that is anything.
    fn cut(&self, from: u64, to: u64) -> Option<std::io::Result<Self>> {
        let (from, to) = (from.max(self.ipa), to.min(self.end()));
        if from >= to {
            return None;
        }
        let (offset, size) = (from - self.ipa, to - from);
        let lent = self.lent.part(offset, size);
        let part = Self::new(from, size, lent, self.rights.part(offset, size));
        Some(part.map(|mut part| {
            for page in self.written_in(offset, size) {
                part.written.insert(page - offset / aarch64::PAGE_SIZE);
            }
            part
        }))
    }

    /// The pages of a part of it that are known to be written, counted from its start.
    fn written_in(&self, offset: u64, size: u64) -> impl Iterator<Item = u64> {
        let pages = offset / aarch64::PAGE_SIZE..(offset + size) / aarch64::PAGE_SIZE;
        self.written.iter().filter(move |page| pages.contains(page))
    }
}

/// Why a change was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something is mapped there.
    Overlap,
    /// Not all of it is mapped.
    NotMapped,
    /// The memory cannot be used.
    Unusable,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Stage2 {
    /// Sorted by address, disjoint.
    ranges: Vec<Range>,
}

impl Stage2 {
    /// Maps lent memory. The range is of whole pages.
    pub fn map(&mut self, ipa: u64, size: u64, lent: Lent, rights: u8) -> Result<(), Refusal> {
        if self.overlapping(ipa, size).next().is_some() {
            return Err(Refusal::Overlap);
        }
        let range = Range::new(ipa, size, lent, Rights::new(size, PAGE_SIZE, rights));
        let range = range.map_err(|_| Refusal::Unusable)?;
        let at = self.ranges.partition_point(|r| r.ipa < ipa);
        self.ranges.insert(at, range);
        Ok(())
    }

    /// Unmaps any part of what is mapped.
    pub fn unmap(&mut self, ipa: u64, size: u64) -> Result<(), Refusal> {
        self.check_mapped(ipa, size)?;
        let mut ranges = Vec::new();
        for range in &self.ranges {
            let parts = [range.cut(0, ipa), range.cut(ipa + size, u64::MAX)];
            let untouched = range.end() <= ipa || ipa + size <= range.ipa;
            if untouched {
                ranges.push(range.clone());
                continue;
            }
            for part in parts.into_iter().flatten() {
                ranges.push(part.map_err(|_| Refusal::Unusable)?);
            }
        }
        self.ranges = ranges;
        Ok(())
    }

    /// Changes rights in any part of what is mapped. Whether any were lost.
    pub fn protect(&mut self, ipa: u64, size: u64, rights: u8) -> Result<bool, Refusal> {
        self.check_mapped(ipa, size)?;
        let mut lost = false;
        for range in self.overlapping(ipa, size) {
            let (from, to) = (ipa.max(range.ipa), (ipa + size).min(range.end()));
            lost |= range.rights.set(from - range.ipa, to - from, rights);
        }
        Ok(lost)
    }

    /// Guest memory as the software CPU takes it.
    pub fn layout(&self) -> Arc<Layout> {
        let mut layout = Layout::default();
        for range in &self.ranges {
            let mapping = Mapping {
                gpa: Gpa(range.ipa),
                region: Arc::clone(&range.region),
                prot: Prot::ReadWrite,
                rights: Some(Arc::clone(&range.rights)),
            };
            // Ranges are disjoint, aligned and below the end of guest addresses.
            layout = layout.with_mapping(mapping).unwrap_or(layout);
        }
        Arc::new(layout)
    }

    /// What is mapped in a part of guest addresses: address, size, address in the host.
    pub fn host_ranges(&self, ipa: u64, size: u64) -> Vec<(u64, u64, u64)> {
        let cut = |range: &Range| {
            let (from, to) = (
                ipa.max(range.ipa),
                ipa.saturating_add(size).min(range.end()),
            );
            (from, to - from, range.lent.address() + (from - range.ipa))
        };
        self.overlapping(ipa, size).map(cut).collect()
    }

    /// Looks which pages guests wrote since. A page that they wrote and that the host was given back
    /// between two looks is not noticed.
    pub fn observe(&mut self) {
        self.ranges.iter_mut().for_each(Range::observe);
    }

    /// The pages in a part of guest addresses that the guest was seen to have written, and that the
    /// host was given back since: the guest addresses.
    pub fn given_back(&self, ipa: u64, size: u64) -> Vec<u64> {
        let end = ipa.saturating_add(size);
        let mut all = Vec::new();
        let inside = |range: &&Range| range.ipa < end && ipa < range.end();
        for range in self.ranges.iter().filter(inside) {
            let (from, to) = (ipa.max(range.ipa), end.min(range.end()));
            let pages = range.written_in(from - range.ipa, to - from);
            let gone = host_memory::given_back(range.lent.address(), pages);
            let address = |page| range.ipa + page * aarch64::PAGE_SIZE;
            all.extend(gone.into_iter().map(address));
        }
        all
    }

    /// How many ranges there are.
    pub fn count(&self) -> usize {
        self.ranges.len()
    }

    fn overlapping(&self, ipa: u64, size: u64) -> impl Iterator<Item = &Range> {
        let first = self.ranges.partition_point(|r| r.end() <= ipa);
        let end = ipa.saturating_add(size);
        self.ranges[first..].iter().take_while(move |r| r.ipa < end)
    }

    fn check_mapped(&self, ipa: u64, size: u64) -> Result<(), Refusal> {
        let mut reached = ipa;
        for range in self.overlapping(ipa, size) {
            if range.ipa > reached {
                return Err(Refusal::NotMapped);
            }
            reached = range.end();
        }
        if reached < ipa.saturating_add(size) {
            return Err(Refusal::NotMapped);
        }
        Ok(())
    }
}
