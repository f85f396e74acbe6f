//! The header of an image, and what we refuse because of it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::compress::Compression;
use super::fields::{u32_at, u64_at};
use super::spec::{
    AUTOCLEAR_BITMAPS, CLUSTER_BITS, EXT_BACKING_FORMAT, EXT_BITMAPS, EXT_END, EXT_FEATURE_NAMES,
    Geometry, HEADER_OURS, HEADER_V2, HEADER_V3, MAGIC, MAX_BACKING_NAME, MAX_L1_BYTES,
    MAX_REFTABLE_BYTES, MAX_SNAPSHOTS, SNAPSHOT_ENTRY, incompatible,
};
use crate::error::Problem;
use crate::storage::Storage;

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sizes.
    pub geometry: Geometry,
    /// Bytes of the disk.
    pub size: u64,
    /// The backing file.
    pub backing: Option<BackingName>,
    /// Entries of the L1 table.
    pub l1_size: u32,
    /// Where the L1 table is.
    pub l1_offset: u64,
    /// Where the refcount table is.
    pub reftable_offset: u64,
    /// Its clusters.
    pub reftable_clusters: u32,
    /// Internal snapshots.
    pub snapshots: u32,
    /// Where their table is.
    pub snapshots_offset: u64,
    /// Incompatible features.
    pub incompatible: u64,
    /// Compatible features.
    pub compatible: u64,
    /// Features that who does not know them clears.
    pub autoclear: u64,
    /// How compressed clusters are compressed.
    pub compression: Compression,
    /// Whether there are bitmaps of what changed.
    pub has_bitmaps: bool,
}

/// The backing file, as the image names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingName {
    /// Its name.
    pub name: OsString,
    /// Its format, if the image says it.
    pub format: Option<String>,
}

fn corrupt(what: impl Into<String>) -> Problem {
    Problem::Corrupt(what.into())
}

impl Header {
    /// Reads the header of an image, refusing what we do not support by name.
    pub fn read(storage: &dyn Storage) -> Result<Self, Problem> {
        let read = |len: usize, at: u64| {
            let mut bytes = vec![0; len];
            let done = storage.read_at(&mut bytes, at);
            done.map(|()| bytes).map_err(Problem::host("read it"))
        };
        let file_len = storage.len().map_err(Problem::host("look at it"))?;
        let fixed = read(HEADER_OURS, 0)?;
        if file_len < HEADER_V2 as u64 || u32_at(&fixed, 0)? != MAGIC {
            return Err(Problem::NotQcow2);
        }
        let v3 = match u32_at(&fixed, 4)? {
            2 => false,
            3 => true,
            version => {
                let what = format!("version {version} of qcow2");
                return Err(Problem::Unsupported(what, "2 and 3 are"));
            }
        };
        let cluster_bits = u32_at(&fixed, 20)?;
        if !CLUSTER_BITS.contains(&cluster_bits) {
            let what = format!("clusters of 2^{cluster_bits} bytes; it has to be 2^9 to 2^21");
            return Err(corrupt(what));
        }
        let (length, order) = if v3 {
            (u32_at(&fixed, 100)? as usize, u32_at(&fixed, 96)?)
        } else {
            (HEADER_V2, 4)
        };
        if order > 6 {
            return Err(corrupt(format!("refcounts of 2^{order} bits")));
        }
        let least = if v3 { HEADER_V3 } else { HEADER_V2 };
        if length < least || length > 1 << cluster_bits || !length.is_multiple_of(8) {
            return Err(corrupt(format!("a header of {length} bytes")));
        }
        let geometry = Geometry {
            cluster_bits,
            refcount_order: order,
            v3,
        };
        let first = read(geometry.cluster_len(), 0)?;
        let feature = |at: usize| if v3 { u64_at(&first, at) } else { Ok(0) };
        let mut header = Self {
            geometry,
            size: u64_at(&first, 24)?,
            backing: None,
            l1_size: u32_at(&first, 36)?,
            l1_offset: u64_at(&first, 40)?,
            reftable_offset: u64_at(&first, 48)?,
            reftable_clusters: u32_at(&first, 56)?,
            snapshots: u32_at(&first, 60)?,
            snapshots_offset: u64_at(&first, 64)?,
            incompatible: feature(72)?,
            compatible: feature(80)?,
            autoclear: feature(88)?,
            compression: Compression::Zlib,
            has_bitmaps: false,
        };
        let names = header.extensions(&first, length)?;
        header.refuse(&first, length, &names)?;
        header.read_backing(&first)?;
        header.bounds(file_len)?;
        Ok(header)
    }

    /// Reads the extensions, and returns the table of feature names.
    fn extensions(&mut self, first: &[u8], mut at: usize) -> Result<Vec<u8>, Problem> {
        let mut names = Vec::new();
        let backing = usize::try_from(u64_at(first, 8)?).unwrap_or(usize::MAX);
        let end = if backing > 0 {
            backing.min(first.len())
        } else {
            first.len()
        };
        let mut format = None;
        while at + 8 <= end {
            let (kind, len) = (u32_at(first, at)?, u32_at(first, at + 4)? as usize);
            if kind == EXT_END {
                break;
            }
            let Some(data) = first.get(at + 8..(at + 8).saturating_add(len)) else {
                return Err(corrupt("a header extension beyond the header"));
            };
            match kind {
                EXT_BACKING_FORMAT => format = Some(String::from_utf8_lossy(data).into_owned()),
                EXT_FEATURE_NAMES => names = data.to_owned(),
                EXT_BITMAPS => self.has_bitmaps = true,
                _ => {}
            }
            at += 8 + len.next_multiple_of(8);
        }
        self.backing = Some(BackingName {
            name: OsString::new(),
            format,
        });
        Ok(names)
    }

    /// Refuses what we do not support.
    fn refuse(&mut self, first: &[u8], length: usize, names: &[u8]) -> Result<(), Problem> {
        const CONVERT: &str = "convert it with qemu-img";
        match u32_at(first, 32)? {
            0 => {}
            1 => return Err(Problem::Unsupported("encryption (AES)".into(), CONVERT)),
            2 => return Err(Problem::Unsupported("encryption (LUKS)".into(), CONVERT)),
            other => return Err(corrupt(format!("encryption of kind {other}"))),
        }
        use incompatible::{COMPRESSION, CORRUPT, DIRTY, EXTENDED_L2, EXTERNAL_DATA};
        for (bit, what) in [
            (EXTERNAL_DATA, "an external data file"),
            (EXTENDED_L2, "subclusters (extended L2 entries)"),
        ] {
            if self.incompatible & bit != 0 {
                return Err(Problem::Unsupported(what.into(), CONVERT));
            }
        }
        let unknown = self.incompatible & !(DIRTY | CORRUPT | COMPRESSION);
        if unknown != 0 {
            let bit = unknown.trailing_zeros();
            let name = feature_name(names, bit).unwrap_or_default();
            let what = format!("the incompatible feature {bit}{name}");
            return Err(Problem::Unsupported(what, CONVERT));
        }
        let kind = if length > 104 { first[104] } else { 0 };
        self.compression = match (self.incompatible & COMPRESSION != 0, kind) {
            (false, 0) => Compression::Zlib,
            (true, 1) => Compression::Zstd,
            (_, kind) => {
                let what = format!("compression of kind {kind}");
                return Err(Problem::Unsupported(what, CONVERT));
            }
        };
        Ok(())
    }

    fn read_backing(&mut self, first: &[u8]) -> Result<(), Problem> {
        let (at, len) = (u64_at(first, 8)?, u32_at(first, 16)?);
        let found = self.backing.take();
        if at == 0 {
            return Ok(());
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let name = first.get(at..at.saturating_add(len as usize));
        let Some(name) = name.filter(|_| len <= MAX_BACKING_NAME) else {
            return Err(corrupt("the backing file's name is not in the header"));
        };
        if name.is_empty() {
            return Ok(());
        }
        self.backing = Some(BackingName {
            name: OsString::from_vec(name.to_owned()),
            format: found.and_then(|found| found.format),
        });
        Ok(())
    }

    /// Refuses tables that cannot be.
    fn bounds(&self, file_len: u64) -> Result<(), Problem> {
        let cluster = self.geometry.cluster();
        if self.size > self.geometry.max_size() {
            return Err(corrupt(format!("a disk of {} bytes", self.size)));
        }
        if u64::from(self.l1_size) * 8 > MAX_L1_BYTES
            || self.geometry.l1_entries(self.size) > u64::from(self.l1_size)
        {
            let what = format!("an L1 table of {} entries for its size", self.l1_size);
            return Err(corrupt(what));
        }
        if u64::from(self.reftable_clusters) * cluster > MAX_REFTABLE_BYTES.max(cluster) {
            return Err(corrupt("the refcount table is too large"));
        }
        if self.reftable_clusters == 0 {
            return Err(corrupt("there is no refcount table"));
        }
        if self.snapshots > MAX_SNAPSHOTS {
            return Err(corrupt(format!("{} snapshots", self.snapshots)));
        }
        for (what, at, len) in [
            ("L1 table", self.l1_offset, u64::from(self.l1_size) * 8),
            (
                "refcount table",
                self.reftable_offset,
                u64::from(self.reftable_clusters) * cluster,
            ),
            (
                "snapshot table",
                self.snapshots_offset,
                u64::from(self.snapshots) * SNAPSHOT_ENTRY as u64,
            ),
        ] {
            let fits = at.checked_add(len).is_some_and(|end| end <= file_len);
            if len > 0 && (at == 0 || !at.is_multiple_of(cluster) || !fits) {
                return Err(corrupt(format!(
                    "the {what} at {at:#x} is not in the file; it may be cut short"
                )));
            }
        }
        Ok(())
    }

    /// Why the image may not be written, if so.
    pub fn refuse_writing(&self) -> Result<(), Problem> {
        if self.incompatible & incompatible::CORRUPT != 0 {
            return Err(Problem::NeedsRepair("the image is marked as corrupt"));
        }
        if self.incompatible & incompatible::DIRTY != 0 {
            return Err(Problem::NeedsRepair(
                "the image was not closed by who wrote it",
            ));
        }
        if self.has_bitmaps && self.autoclear & AUTOCLEAR_BITMAPS != 0 {
            return Err(Problem::Unsupported(
                "bitmaps of what changed".into(),
                "remove them with 'qemu-img bitmap --remove', or open it read-only",
            ));
        }
        Ok(())
    }

    /// The first cluster of an image.
    pub fn write(&self) -> Result<Vec<u8>, Problem> {
        let v3 = self.geometry.v3;
        let length = if v3 { HEADER_OURS } else { HEADER_V2 };
        let mut out = Vec::with_capacity(self.geometry.cluster_len());
        let put32 = |out: &mut Vec<u8>, value: u32| out.extend(value.to_be_bytes());
        let put64 = |out: &mut Vec<u8>, value: u64| out.extend(value.to_be_bytes());
        put32(&mut out, MAGIC);
        put32(&mut out, if v3 { 3 } else { 2 });
        put64(&mut out, 0); // the backing file's name: below
        put32(&mut out, 0);
        put32(&mut out, self.geometry.cluster_bits);
        put64(&mut out, self.size);
        put32(&mut out, 0);
        put32(&mut out, self.l1_size);
        put64(&mut out, self.l1_offset);
        put64(&mut out, self.reftable_offset);
        put32(&mut out, self.reftable_clusters);
        put32(&mut out, self.snapshots);
        put64(&mut out, self.snapshots_offset);
        if v3 {
            put64(&mut out, self.incompatible);
            put64(&mut out, self.compatible);
            put64(&mut out, self.autoclear);
            put32(&mut out, self.geometry.refcount_order);
            put32(&mut out, HEADER_OURS as u32);
            out.push(self.compression.number());
        }
        out.resize(length, 0);
        if let Some(backing) = &self.backing {
            if let Some(format) = &backing.format {
                put32(&mut out, EXT_BACKING_FORMAT);
                put32(&mut out, u32::try_from(format.len()).unwrap_or(u32::MAX));
                out.extend(format.as_bytes());
                out.resize(out.len().next_multiple_of(8), 0);
            }
            out.extend([0; 8]);
            let name = backing.name.as_encoded_bytes();
            let at = out.len() as u64;
            out.extend(name);
            out[8..16].copy_from_slice(&at.to_be_bytes());
            let len = u32::try_from(name.len()).unwrap_or(u32::MAX);
            out[16..20].copy_from_slice(&len.to_be_bytes());
            if len > MAX_BACKING_NAME {
                return Err(Problem::Wrong("the backing file's name is too long".into()));
            }
        }
        if out.len() > self.geometry.cluster_len() {
            let line = "the backing file's name does not fit: give larger clusters";
            return Err(Problem::Wrong(line.into()));
        }
        out.resize(self.geometry.cluster_len(), 0);
        Ok(out)
    }
}

/// What the image calls an incompatible feature.
fn feature_name(names: &[u8], bit: u32) -> Option<String> {
    const ENTRY: usize = 48;
    let entry = names
        .chunks_exact(ENTRY)
        .find(|entry| entry[0] == 0 && u32::from(entry[1]) == bit)?;
    let name = entry[2..].split(|&byte| byte == 0).next()?;
    let name: String = String::from_utf8_lossy(name)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    Some(format!(" ({name})"))
}
