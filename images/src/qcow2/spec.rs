//! Names of the format, from QEMU's `docs/interop/qcow2.txt`. All numbers in an image are big-endian.

/// The first bytes.
pub const MAGIC: u32 = 0x5146_49fb;
/// Bytes of a header of version 2.
pub const HEADER_V2: usize = 72;
/// The least bytes of a header of version 3.
pub const HEADER_V3: usize = 104;
/// Bytes of the header we write: with the compression type, padded.
pub const HEADER_OURS: usize = 112;

/// Bits of a cluster's size: what the format allows, and QEMU reads.
pub const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// The most bytes of an L1 table that we (and QEMU) read.
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// The most bytes of a refcount table that we (and QEMU) read.
pub const MAX_REFTABLE_BYTES: u64 = 8 << 20;
/// The most snapshots that we (and QEMU) read.
pub const MAX_SNAPSHOTS: u32 = 65_536;
/// Bytes of an entry of the snapshot table before its extra data, identifier and name.
pub const SNAPSHOT_ENTRY: usize = 40;
/// Entries of the snapshot table begin at multiples of this.
pub const SNAPSHOT_ALIGN: u64 = 8;
/// The most bytes of a snapshot table that we read.
pub const MAX_SNAPSHOT_BYTES: u64 = 16 << 20;
/// The longest name of a backing file.
pub const MAX_BACKING_NAME: u32 = 1023;

/// The bits of an incompatible feature.
pub mod incompatible {
    /// Refcounts may be wrong.
    pub const DIRTY: u64 = 1 << 0;
    /// Anything may be wrong.
    pub const CORRUPT: u64 = 1 << 1;
    /// Data are in another file.
    pub const EXTERNAL_DATA: u64 = 1 << 2;
    /// Compressed clusters are not zlib.
    pub const COMPRESSION: u64 = 1 << 3;
    /// L2 entries of 16 bytes.
    pub const EXTENDED_L2: u64 = 1 << 4;
}

/// The bit of `autoclear` that says the bitmaps are up to date.
pub const AUTOCLEAR_BITMAPS: u64 = 1 << 0;

/// Header extension: the end of them.
pub const EXT_END: u32 = 0;
/// Header extension: the format of the backing file.
pub const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
/// Header extension: names of feature bits.
pub const EXT_FEATURE_NAMES: u32 = 0x6803_f857;
/// Header extension: bitmaps of what changed.
pub const EXT_BITMAPS: u32 = 0x2385_2875;

/// Bits 9 to 55 of an entry: a place in the file.
pub const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Of an entry of L1 or L2: nobody else uses what it points to.
pub const COPIED: u64 = 1 << 63;
/// Of an entry of L2: the cluster is compressed.
pub const COMPRESSED: u64 = 1 << 62;
/// Of an entry of L2: the cluster reads as zeroes.
pub const ZERO: u64 = 1;
/// The unit of a compressed cluster's length.
pub const SECTOR: u64 = 512;

/// Sizes that the header chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bits of a cluster's size.
    pub cluster_bits: u32,
    /// A refcount has `1 << refcount_order` bits.
    pub refcount_order: u32,
    /// Whether the version is 3 (or 2).
    pub v3: bool,
}

impl Geometry {
    /// Bytes of a cluster.
    pub fn cluster(self) -> u64 {
        1 << self.cluster_bits
    }

    /// The same, as a length.
    pub fn cluster_len(self) -> usize {
        1 << self.cluster_bits
    }

    /// Entries of an L2 table.
    pub fn l2_entries(self) -> u64 {
        self.cluster() / 8
    }

    /// Bytes of the disk that an L2 table describes.
    pub fn l2_span(self) -> u64 {
        self.cluster() * self.l2_entries()
    }

    /// Refcounts in a block of them.
    pub fn block_entries(self) -> u64 {
        (self.cluster() * 8) >> self.refcount_order
    }

    /// The largest refcount.
    pub fn max_refcount(self) -> u64 {
        u64::MAX >> (64 - (1 << self.refcount_order))
    }

    /// Clusters that hold so many bytes.
    pub fn clusters_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.cluster())
    }

    /// Entries of an L1 table for a disk of so many bytes.
    pub fn l1_entries(self, size: u64) -> u64 {
        size.div_ceil(self.l2_span())
    }

    /// The largest disk.
    pub fn max_size(self) -> u64 {
        let entries = u128::from(MAX_L1_BYTES / 8);
        let bytes = entries * u128::from(self.l2_span());
        u64::try_from(bytes).unwrap_or(u64::MAX).min(1 << 62)
    }
}

/// What an entry of an L2 table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The backing file's, or zeroes.
    Unallocated,
    /// Zeroes, whatever is in the cluster that is kept for later.
    Zero {
        /// Where that cluster is.
        kept: Option<u64>,
    },
    /// In this file.
    Data {
        /// Where.
        host: u64,
        /// Whether nobody else uses it.
        copied: bool,
    },
    /// In this file, compressed.
    Compressed {
        /// Where.
        host: u64,
        /// Bytes up to the end of the last sector, at most.
        len: u64,
    },
}

impl Mapping {
    /// Reads an entry; what cannot be is an error, in words.
    pub fn read(entry: u64, geometry: Geometry) -> Result<Self, String> {
        if entry & COMPRESSED != 0 {
            let x = 62 - (geometry.cluster_bits - 8);
            let host = entry & ((1 << x) - 1);
            let sectors = (entry & !(COPIED | COMPRESSED)) >> x;
            if host >> 56 != 0 {
                return Err(format!("the place of a compressed cluster is {host:#x}"));
            }
            let len = (sectors + 1) * SECTOR - host % SECTOR;
            return Ok(Self::Compressed { host, len });
        }
        let host = entry & OFFSET;
        if !host.is_multiple_of(geometry.cluster()) {
            return Err(format!(
                "the place of a cluster is {host:#x}, not a multiple"
            ));
        }
        let zero = entry & ZERO != 0 && geometry.v3;
        Ok(match (zero, host) {
            (true, 0) => Self::Zero { kept: None },
            (true, host) => Self::Zero { kept: Some(host) },
            (false, 0) => Self::Unallocated,
            (false, host) => Self::Data {
                host,
                copied: entry & COPIED != 0,
            },
        })
    }

    /// Where in the file its bytes begin, if they come from there.
    pub fn read_from(self) -> Option<u64> {
        match self {
            Self::Unallocated | Self::Zero { .. } => None,
            Self::Data { host, .. } | Self::Compressed { host, .. } => Some(host),
        }
    }

    /// The clusters of the file that it uses, by number.
    pub fn clusters(self, geometry: Geometry) -> std::ops::Range<u64> {
        let bits = geometry.cluster_bits;
        match self {
            Self::Unallocated | Self::Zero { kept: None } => 0..0,
            Self::Zero { kept: Some(host) } | Self::Data { host, .. } => {
                host >> bits..(host >> bits) + 1
            }
            Self::Compressed { host, len } => host >> bits..((host + len - 1) >> bits) + 1,
        }
    }
}

/// The entry of a compressed cluster.
pub fn compressed_entry(host: u64, len: u64, geometry: Geometry) -> u64 {
    let x = 62 - (geometry.cluster_bits - 8);
    let sectors = (host + len - 1) / SECTOR - host / SECTOR;
    COMPRESSED | sectors << x | host
}

/// The `n`th refcount in `bytes`.
pub fn refcount(bytes: &[u8], n: usize, order: u32) -> u64 {
    match order {
        0..=2 => {
            let bits = 1 << order;
            let value = bytes[n * bits / 8] >> (n * bits % 8);
            u64::from(value) & ((1 << bits) - 1)
        }
        _ => {
            let width = 1 << (order - 3);
            let field = &bytes[n * width..(n + 1) * width];
            field
                .iter()
                .fold(0, |value, &byte| value << 8 | u64::from(byte))
        }
    }
}

/// Sets the `n`th refcount in `bytes`.
pub fn set_refcount(bytes: &mut [u8], n: usize, order: u32, value: u64) {
    match order {
        0..=2 => {
            let bits = 1 << order;
            let shift = n * bits % 8;
            let mask = ((1u8 << bits) - 1) << shift;
            let byte = &mut bytes[n * bits / 8];
            *byte = *byte & !mask | (value.to_le_bytes()[0] << shift) & mask;
        }
        _ => {
            let width = 1 << (order - 3);
            bytes[n * width..(n + 1) * width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(cluster_bits: u32) -> Geometry {
        Geometry {
            cluster_bits,
            refcount_order: 4,
            v3: true,
        }
    }

    #[test]
    fn refcounts_of_all_widths_are_apart() {
        for order in 0..=6 {
            let max = u64::MAX >> (64 - (1 << order));
            let mut bytes = vec![0; 64];
            let count = (64 * 8) >> order;
            for n in 0..count {
                set_refcount(&mut bytes, n, order, (n as u64 * 7 + 1) & max);
            }
            for n in 0..count {
                assert_eq!(refcount(&bytes, n, order), (n as u64 * 7 + 1) & max);
            }
        }
        let mut bytes = [0; 2];
        set_refcount(&mut bytes, 1, 0, 1);
        assert_eq!(bytes, [2, 0], "bit 0 comes first");
    }

    #[test]
    fn compressed_entries_read_back() {
        for bits in CLUSTER_BITS {
            for (host, len) in [(512, 1), (0x1_0001, 511), (0x1_01ff, 2), (1 << 30, 300)] {
                let entry = compressed_entry(host, len, geometry(bits));
                let Ok(Mapping::Compressed {
                    host: at,
                    len: most,
                }) = Mapping::read(entry, geometry(bits))
                else {
                    panic!("{entry:x}")
                };
                assert!(at == host && most >= len && most < len + SECTOR);
            }
        }
    }
}
