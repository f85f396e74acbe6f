//! Names from Virtio 1.2, section 5.2 (block device).

/// Bytes of a sector, the unit of places and lengths whatever the disk's blocks are.
pub const SECTOR: u64 = 512;

/// Feature bits (section 5.2.3).
pub mod feature {
    /// A segment has a most of bytes.
    pub const SIZE_MAX: u64 = 1 << 1;
    /// A request has a most of segments.
    pub const SEG_MAX: u64 = 1 << 2;
    /// The disk cannot be written.
    pub const RO: u64 = 1 << 5;
    /// The size of its blocks is known.
    pub const BLK_SIZE: u64 = 1 << 6;
    /// Writes last when they have been flushed, and not before.
    pub const FLUSH: u64 = 1 << 9;
    /// Its physical blocks are known.
    pub const TOPOLOGY: u64 = 1 << 10;
    /// The driver chooses whether writes last without a flush.
    pub const CONFIG_WCE: u64 = 1 << 11;
    /// It has more than one queue.
    pub const MQ: u64 = 1 << 12;
    /// Sectors can be discarded.
    pub const DISCARD: u64 = 1 << 13;
    /// Sectors can be zeroed without data.
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Offsets of the configuration (section 5.2.4).
pub mod config {
    /// Sectors of the disk (8 bytes).
    pub const CAPACITY: usize = 0;
    /// The most bytes of a segment (4).
    pub const SIZE_MAX: usize = 8;
    /// The most segments of a request (4).
    pub const SEG_MAX: usize = 12;
    /// Bytes of a block (4).
    pub const BLK_SIZE: usize = 20;
    /// Blocks of a physical block, as a power of two (1).
    pub const PHYSICAL_BLOCK_EXP: usize = 24;
    /// Blocks that a request should at least have (2).
    pub const MIN_IO_SIZE: usize = 26;
    /// Whether writes last only once flushed (1); the driver writes it.
    pub const WRITEBACK: usize = 32;
    /// Queues (2).
    pub const NUM_QUEUES: usize = 34;
    /// The most sectors of a segment of a discard (4).
    pub const MAX_DISCARD_SECTORS: usize = 36;
    /// The most segments of a discard (4).
    pub const MAX_DISCARD_SEG: usize = 40;
    /// Sectors that are discarded together (4).
    pub const DISCARD_SECTOR_ALIGNMENT: usize = 44;
    /// The most sectors of a segment to zero (4).
    pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
    /// The most segments to zero (4).
    pub const MAX_WRITE_ZEROES_SEG: usize = 52;
    /// Whether space of zeroed sectors may be given back (1).
    pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
    /// Bytes in all.
    pub const LEN: usize = 60;
}

/// Types of requests (section 5.2.6).
pub mod request {
    /// Reads.
    pub const IN: u32 = 0;
    /// Writes.
    pub const OUT: u32 = 1;
    /// Makes what was written last.
    pub const FLUSH: u32 = 4;
    /// Reads the serial number.
    pub const GET_ID: u32 = 8;
    /// Discards sectors.
    pub const DISCARD: u32 = 11;
    /// Zeroes sectors.
    pub const WRITE_ZEROES: u32 = 13;
    /// Bytes before the data: type, a reserved word, the first sector.
    pub const HEADER: u64 = 16;
    /// Bytes of a serial number.
    pub const ID_BYTES: usize = 20;
    /// Bytes of a segment of a discard or of sectors to zero.
    pub const SEGMENT: usize = 16;
    /// Flag of such a segment: space may be given back.
    pub const UNMAP: u32 = 1;
}

/// How a request ended: its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It is done.
    Ok = 0,
    /// It is not, or not all of it.
    IoError = 1,
    /// The device knows no such request.
    Unsupported = 2,
}

impl Status {
    /// As the driver reads it.
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }
}
