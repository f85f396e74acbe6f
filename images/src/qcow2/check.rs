//! Whether an image is consistent: every cluster of the file is used as often as its refcount says.
//!
//! Two kinds of faults are told apart. A cluster whose refcount is too high is lost: a nuisance.
//! Everything else is corruption, which can lose data when the image is written. [`super::repair`]
//! mends what can be mended.
//!
//! Memory is bounded by what is used in the file, time by its length and the number of snapshots.

use std::collections::{HashMap, HashSet};
use std::io;

use super::header::Header;
use super::snapshots;
use super::spec::{COPIED, Geometry, Mapping, OFFSET, refcount};
use super::tables::read_table;
use crate::storage::Storage;

/// Faults that are described; more are counted.
const MOST_DESCRIBED: usize = 20;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Faults that can lose data.
    pub corruptions: u64,
    /// Clusters that are in use and nobody uses.
    pub leaks: u64,
    /// The first faults, in words.
    pub faults: Vec<String>,
    /// Clusters of the disk that have a cluster of the file.
    pub allocated: u64,
    /// Those of them that are compressed.
    pub compressed: u64,
    /// Clusters of the disk.
    pub total: u64,
    /// Whether the image says that it was not closed.
    pub dirty: bool,
    /// Whether the image says that it is corrupt.
    pub marked_corrupt: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.corruptions == 0 && self.leaks == 0 && !self.dirty && !self.marked_corrupt
    }

    fn describe(&mut self, fault: String) {
        if self.faults.len() < MOST_DESCRIBED {
            self.faults.push(fault);
        }
    }
}

/// How often each cluster of the file is used.
#[derive(Debug, Default)]
pub(super) struct Uses {
    pages: HashMap<u64, [u32; 16]>,
}

impl Uses {
    pub fn of(&self, cluster: u64) -> u64 {
        let page = self.pages.get(&(cluster / 16));
        page.map_or(0, |page| u64::from(page[(cluster % 16) as usize]))
    }

    fn add(&mut self, cluster: u64) {
        let page = self.pages.entry(cluster / 16).or_default();
        let uses = &mut page[(cluster % 16) as usize];
        *uses = uses.saturating_add(1);
    }

    pub fn remove(&mut self, cluster: u64) {
        if let Some(page) = self.pages.get_mut(&(cluster / 16)) {
            let uses = &mut page[(cluster % 16) as usize];
            *uses = uses.saturating_sub(1);
        }
    }

    /// All clusters that are used.
    pub fn clusters(&self) -> impl Iterator<Item = u64> {
        self.pages.iter().flat_map(|(number, page)| {
            let used = (0..16).filter(|&n| page[n] > 0);
            used.map(move |n| number * 16 + n as u64)
        })
    }
}

/// A check under way.
#[derive(Debug)]
pub(super) struct Check<'a> {
    pub storage: &'a dyn Storage,
    pub header: &'a Header,
    pub geometry: Geometry,
    pub report: Report,
    pub uses: Uses,
    /// The refcount table.
    pub table: Vec<u64>,
    /// Whether a refcount is too low, or has no block.
    pub low: bool,
    /// Entries of the active tables whose flag is wrong.
    pub wrong_flags: u64,
    /// Whether something is wrong that refcounts and flags do not mend.
    pub hopeless: bool,
    /// Clusters of tables: a guest's cluster must not be among them.
    tables: HashSet<u64>,
    /// Bytes of tables that may still be read.
    budget: u64,
    /// Behind the last cluster of the file.
    end: u64,
    /// The first entry that points behind the end of the file.
    behind: Option<String>,
    /// Active entries that say that nobody else uses their cluster, or that do not.
    flags: Vec<(u64, bool)>,
}

/// Checks an image.
///
/// # Errors
/// The host's, or that the image's tables cannot be read at all.
pub fn check(storage: &dyn Storage, header: &Header) -> io::Result<Report> {
    let mut check = Check::new(storage, header)?;
    check.run()?;
    Ok(check.report)
}

/// The first entry of a table, of the disk or of a snapshot, that points behind the end of the file.
///
/// # Errors
/// As for [`check`].
pub(super) fn first_behind(storage: &dyn Storage, header: &Header) -> io::Result<Option<String>> {
    let mut check = Check::new(storage, header)?;
    check.run()?;
    Ok(check.behind)
}

impl<'a> Check<'a> {
    pub fn new(storage: &'a dyn Storage, header: &'a Header) -> io::Result<Self> {
        let geometry = header.geometry;
        let len = storage.len()?;
        let report = Report {
            total: geometry.clusters_for(header.size),
            dirty: header.incompatible & super::spec::incompatible::DIRTY != 0,
            marked_corrupt: header.incompatible & super::spec::incompatible::CORRUPT != 0,
            ..Report::default()
        };
        Ok(Self {
            storage,
            header,
            geometry,
            report,
            uses: Uses::default(),
            table: Vec::new(),
            low: false,
            wrong_flags: 0,
            hopeless: false,
            tables: HashSet::new(),
            budget: (64 << 20) + len.saturating_mul(u64::from(header.snapshots) + 2),
            end: geometry.clusters_for(len),
            behind: None,
            flags: Vec::new(),
        })
    }

    pub fn run(&mut self) -> io::Result<()> {
        self.count_tables()?;
        let header = self.header;
        let active = self.read(header.l1_offset, u64::from(header.l1_size))?;
        for &entry in &active {
            self.note_l2(entry);
        }
        self.walk(&active, true)?;
        let (snapshots, _) = snapshots::read(self.storage, header)?;
        for snapshot in snapshots {
            let l1 = self.read(snapshot.l1_offset, u64::from(snapshot.l1_size))?;
            self.walk(&l1, false)?;
        }
        self.compare()
    }

    fn corruption(&mut self, fault: String) {
        self.report.corruptions += 1;
        self.report.describe(fault);
    }

    /// What refcounts do not mend.
    fn broken(&mut self, fault: String) {
        self.hopeless = true;
        self.corruption(fault);
    }

    /// What points to where the file does not go.
    fn outside(&mut self, fault: String) {
        self.behind.get_or_insert_with(|| fault.clone());
        self.broken(fault);
    }

    fn read(&mut self, at: u64, entries: u64) -> io::Result<Vec<u64>> {
        let left = self.budget.checked_sub(entries * 8);
        self.budget = left.ok_or_else(|| {
            super::tables::corrupt("its tables say more than a file of this length can")
        })?;
        read_table(self.storage, at, entries)
    }

    /// Counts a table of the image itself.
    fn count_table(&mut self, what: &str, at: u64, len: u64) {
        let first = at >> self.geometry.cluster_bits;
        for cluster in first..first + self.geometry.clusters_for(len) {
            self.uses.add(cluster);
            if !self.tables.insert(cluster) {
                self.broken(format!("the {what} at {at:#x} overlaps another table"));
            }
        }
    }

    fn count_tables(&mut self) -> io::Result<()> {
        let header = self.header;
        let cluster = self.geometry.cluster();
        self.count_table("header", 0, 1);
        self.count_table("L1 table", header.l1_offset, u64::from(header.l1_size) * 8);
        let len = u64::from(header.reftable_clusters) * cluster;
        self.count_table("refcount table", header.reftable_offset, len);
        for (at, len) in snapshots::places(self.storage, header)? {
            self.count_table("table of snapshots", at, len);
        }
        self.table = self.read(header.reftable_offset, len / 8)?;
        for index in 0..self.table.len() {
            let at = self.table[index];
            if at == 0 {
                continue;
            }
            if !at.is_multiple_of(cluster) || at >> self.geometry.cluster_bits >= self.end {
                self.corruption(format!("refcount block {index} is at {at:#x}"));
                self.low = true;
                self.table[index] = 0;
            } else if self.tables.contains(&(at >> self.geometry.cluster_bits)) {
                self.corruption(format!(
                    "refcount block {index} overlaps a table at {at:#x}"
                ));
                self.low = true;
                self.table[index] = 0;
            } else {
                self.count_table("refcount block", at, cluster);
            }
        }
        Ok(())
    }

    /// Notes that a cluster is an L2 table's.
    fn note_l2(&mut self, entry: u64) {
        let cluster = (entry & OFFSET) >> self.geometry.cluster_bits;
        if cluster != 0 && !self.tables.insert(cluster) {
            self.broken(format!(
                "the L2 table in cluster {cluster} overlaps another table"
            ));
        }
    }

    fn is_inside(&self, at: u64) -> bool {
        at.is_multiple_of(self.geometry.cluster()) && at >> self.geometry.cluster_bits < self.end
    }

    /// Counts what an L1 table reaches.
    fn walk(&mut self, l1: &[u64], active: bool) -> io::Result<()> {
        for (index, &entry) in l1.iter().enumerate() {
            let at = entry & OFFSET;
            if entry & !(OFFSET | COPIED) != 0 {
                self.broken(format!("L1 entry {index} is {entry:#x}"));
            }
            if at == 0 {
                continue;
            }
            if !self.is_inside(at) {
                self.outside(format!(
                    "L1 entry {index} points to {at:#x}, outside of the file"
                ));
                continue;
            }
            self.uses.add(at >> self.geometry.cluster_bits);
            if active {
                self.flags.push((at, entry & COPIED != 0));
            }
            let l2 = self.read(at, self.geometry.l2_entries())?;
            for (within, entry) in (0..).zip(l2) {
                if entry != 0 {
                    let guest = index as u64 * self.geometry.l2_entries() + within;
                    self.count_entry(guest, entry, active);
                }
            }
        }
        Ok(())
    }

    fn count_entry(&mut self, guest: u64, entry: u64, active: bool) {
        let mapping = match Mapping::read(entry, self.geometry) {
            Ok(mapping) => mapping,
            Err(what) => return self.broken(format!("guest cluster {guest}: {what}")),
        };
        let clusters = mapping.clusters(self.geometry);
        if clusters.end > self.end {
            let place = clusters.start << self.geometry.cluster_bits;
            return self.outside(format!(
                "guest cluster {guest} is at {place:#x}, outside of the file"
            ));
        }
        for cluster in clusters {
            if self.tables.contains(&cluster) {
                self.broken(format!("guest cluster {guest} overlaps a table"));
            }
            self.uses.add(cluster);
        }
        if !active {
            return;
        }
        match mapping {
            Mapping::Data { host, copied } => {
                self.report.allocated += 1;
                self.flags.push((host, copied));
            }
            Mapping::Compressed { .. } => {
                self.report.allocated += 1;
                self.report.compressed += 1;
                if entry & COPIED != 0 {
                    self.corruption(format!("guest cluster {guest} is compressed and COPIED"));
                    self.wrong_flags += 1;
                }
            }
            Mapping::Zero { kept: Some(host) } => self.flags.push((host, entry & COPIED != 0)),
            Mapping::Zero { kept: None } | Mapping::Unallocated => {}
        }
    }

    /// Compares refcounts with uses.
    fn compare(&mut self) -> io::Result<()> {
        let entries = self.geometry.block_entries();
        let mut described = HashSet::new();
        for index in 0..self.table.len() {
            let at = self.table[index];
            if at == 0 {
                continue;
            }
            described.insert(index as u64);
            let mut block = vec![0; self.geometry.cluster_len()];
            self.storage.read_at(&mut block, at)?;
            for n in 0..usize::try_from(entries).map_err(io::Error::other)? {
                let count = refcount(&block, n, self.geometry.refcount_order);
                self.judge(index as u64 * entries + n as u64, count);
            }
        }
        let mut bare: Vec<u64> = self.uses.clusters().collect();
        bare.retain(|cluster| !described.contains(&(cluster / entries)));
        bare.sort_unstable();
        for cluster in bare {
            self.judge(cluster, 0);
        }
        for (at, copied) in std::mem::take(&mut self.flags) {
            let cluster = at >> self.geometry.cluster_bits;
            if copied != (self.uses.of(cluster) == 1) {
                self.wrong_flags += 1;
                self.corruption(format!("the COPIED flag of cluster {cluster} is {copied}"));
            }
        }
        Ok(())
    }

    fn judge(&mut self, cluster: u64, count: u64) {
        let uses = self.uses.of(cluster);
        if count > uses {
            self.report.leaks += 1;
            let fault =
                format!("cluster {cluster} is used {uses} times, and counted {count} times");
            self.report.describe(fault);
        } else if count < uses {
            self.low = true;
            self.corruption(format!(
                "cluster {cluster} is used {uses} times, and counted only {count} times"
            ));
        }
    }
}
