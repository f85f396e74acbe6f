//! The configuration that a driver reads.

use super::disk::Shape;
use super::request::{
    MAX_DISCARD_SECTORS, MAX_SEGMENTS, MAX_ZEROES_SECTORS, SEG_MAX, SEGMENT_BYTES,
};
use super::spec::{SECTOR, config, feature};

/// The least that a physical block is said to have: the page of guests' and hosts' file systems.
const PHYSICAL_BLOCK: u32 = 4096;

/// The features of a disk.
pub fn features(shape: &Shape, queues: u16) -> u64 {
    let mut bits = feature::SIZE_MAX
        | feature::SEG_MAX
        | feature::BLK_SIZE
        | feature::TOPOLOGY
        | feature::FLUSH
        | feature::CONFIG_WCE;
    if queues > 1 {
        bits |= feature::MQ;
    }
    if shape.read_only {
        return bits | feature::RO;
    }
    if shape.discard {
        bits |= feature::DISCARD;
    }
    bits | feature::WRITE_ZEROES
}

/// The bytes of the configuration.
pub fn bytes(shape: &Shape, queues: u16, sectors: u64, writeback: bool) -> [u8; config::LEN] {
    let mut bytes = [0; config::LEN];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    // Blocks are sectors, so that a disk can be moved to and from any other program; what is larger
    // is said as physical block.
    let blocks = shape.block.max(PHYSICAL_BLOCK) / SECTOR as u32;
    put(config::CAPACITY, &sectors.to_le_bytes());
    put(config::SIZE_MAX, &SEGMENT_BYTES.to_le_bytes());
    put(config::SEG_MAX, &SEG_MAX.to_le_bytes());
    put(config::BLK_SIZE, &(SECTOR as u32).to_le_bytes());
    put(config::PHYSICAL_BLOCK_EXP, &[blocks.ilog2() as u8]);
    let least = u16::try_from(blocks).unwrap_or(u16::MAX);
    put(config::MIN_IO_SIZE, &least.to_le_bytes());
    put(config::WRITEBACK, &[writeback.into()]);
    put(config::NUM_QUEUES, &queues.to_le_bytes());
    let features = features(shape, queues);
    if features & feature::DISCARD != 0 {
        let unit = shape.discard_unit.max(SECTOR as u32) / SECTOR as u32;
        put(
            config::MAX_DISCARD_SECTORS,
            &MAX_DISCARD_SECTORS.to_le_bytes(),
        );
        put(config::MAX_DISCARD_SEG, &MAX_SEGMENTS.to_le_bytes());
        put(config::DISCARD_SECTOR_ALIGNMENT, &unit.to_le_bytes());
    }
    if features & feature::WRITE_ZEROES != 0 {
        put(
            config::MAX_WRITE_ZEROES_SECTORS,
            &MAX_ZEROES_SECTORS.to_le_bytes(),
        );
        put(config::MAX_WRITE_ZEROES_SEG, &MAX_SEGMENTS.to_le_bytes());
        put(config::WRITE_ZEROES_MAY_UNMAP, &[shape.discard.into()]);
    }
    bytes
}
