//! New images: a header, a refcount table with the blocks for what is there, an empty L1 table.

use std::io;

use super::compress::Compression;
use super::header::{BackingName, Header};
use super::spec::{CLUSTER_BITS, Geometry, incompatible, set_refcount};
use crate::error::Problem;
use crate::storage::Storage;

/// What a new image is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// Whether the version is 3 (or 2).
    pub v3: bool,
    /// How clusters will be compressed.
    pub compression: Compression,
    /// The backing file.
    pub backing: Option<BackingName>,
}

impl Layout {
    /// The usual image of this size.
    #[must_use]
    pub fn of_size(size: u64) -> Self {
        Self {
            size,
            cluster: 64 << 10,
            refcount_bits: 16,
            v3: true,
            compression: Compression::Zlib,
            backing: None,
        }
    }

    fn geometry(&self) -> Result<Geometry, Problem> {
        let wrong = |line: String| Err(Problem::Wrong(line));
        let cluster_bits = self.cluster.trailing_zeros();
        if !self.cluster.is_power_of_two() || !CLUSTER_BITS.contains(&cluster_bits) {
            let given = self.cluster;
            return wrong(format!(
                "clusters of {given} bytes: give a power of two from 512 to 2M"
            ));
        }
        let refcount_order = self.refcount_bits.trailing_zeros();
        if !self.refcount_bits.is_power_of_two() || refcount_order > 6 {
            let given = self.refcount_bits;
            return wrong(format!(
                "refcounts of {given} bits: give 1, 2, 4, 8, 16, 32 or 64"
            ));
        }
        if !self.v3 && (refcount_order != 4 || self.compression != Compression::Zlib) {
            return wrong("version 2 has refcounts of 16 bits and compresses with zlib".into());
        }
        let geometry = Geometry {
            cluster_bits,
            refcount_order,
            v3: self.v3,
        };
        if self.size > geometry.max_size() {
            let most = geometry.max_size();
            return wrong(format!(
                "with clusters of this size, a disk has {most} bytes at most"
            ));
        }
        Ok(geometry)
    }
}

/// Makes an image in empty storage.
///
/// # Errors
/// What is wrong with the layout, or the host's.
pub fn create(storage: &dyn Storage, layout: &Layout) -> Result<(), Problem> {
    let geometry = layout.geometry()?;
    let l1_entries = geometry.l1_entries(layout.size);
    let l1_clusters = geometry.clusters_for(l1_entries * 8).max(1);
    // Header, table, blocks, L1: the blocks describe themselves too.
    let (mut table, mut blocks) = (1, 1);
    let total = loop {
        let total = 1 + table + blocks + l1_clusters;
        let wanted = (
            geometry.clusters_for(blocks * 8),
            total.div_ceil(geometry.block_entries()),
        );
        if wanted == (table, blocks) {
            break total;
        }
        (table, blocks) = wanted;
    };
    let at = |cluster: u64| cluster << geometry.cluster_bits;
    let zstd = layout.compression == Compression::Zstd;
    let header = Header {
        geometry,
        size: layout.size,
        backing: layout.backing.clone(),
        l1_size: u32::try_from(l1_entries).unwrap_or(u32::MAX),
        l1_offset: at(1 + table + blocks),
        reftable_offset: at(1),
        reftable_clusters: u32::try_from(table).unwrap_or(u32::MAX),
        snapshots: 0,
        snapshots_offset: 0,
        incompatible: if zstd { incompatible::COMPRESSION } else { 0 },
        compatible: 0,
        autoclear: 0,
        compression: layout.compression,
        has_bitmaps: false,
    };
    let first = header.write()?;
    write(storage, geometry, (table, blocks, total), &first)
        .map_err(Problem::host("write the image"))
}

fn write(
    storage: &dyn Storage,
    geometry: Geometry,
    (table, blocks, total): (u64, u64, u64),
    header: &[u8],
) -> io::Result<()> {
    let at = |cluster: u64| cluster << geometry.cluster_bits;
    storage.set_len(at(total))?;
    for block in 0..blocks {
        let mut bytes = vec![0; geometry.cluster_len()];
        let first = block * geometry.block_entries();
        let used = total.saturating_sub(first).min(geometry.block_entries());
        for n in 0..usize::try_from(used).map_err(io::Error::other)? {
            set_refcount(&mut bytes, n, geometry.refcount_order, 1);
        }
        let place = at(1 + table + block);
        storage.write_at(&bytes, place)?;
        storage.write_at(&place.to_be_bytes(), at(1) + block * 8)?;
    }
    // Without a header it is no image: so it comes last.
    storage.sync()?;
    storage.write_at(header, 0)?;
    storage.sync()
}
