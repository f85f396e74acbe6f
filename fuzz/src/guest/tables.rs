//! Page tables that are partly sound and partly random.

use super::TABLES_AT;
use crate::random::Random;

/// Entries of a table with pages of 4 KiB.
const ENTRIES: usize = 512;
/// How many tables there are, one after the other.
pub const TABLES: usize = 8;

/// A block or page that is valid, accessed and inner shareable.
const LEAF: u64 = 0x701;
/// What attribute 1 of [`MAIR`] is used for.
const DEVICE: u64 = 1 << 2;
/// Normal write-back memory, Device-nGnRE, and normal non-cacheable.
pub const MAIR: u64 = 0x44_04ff;
/// 39 bits of address on both sides, 4 KiB pages, cacheable, 40 bits of physical address.
pub const TCR: u64 = 0x2_b519_3519;

/// Tables from [`TABLES_AT`] on. The first, of level 1, maps devices and RAM one to one; the others,
/// which random descriptors may lead to, hold what [`descriptor`] makes. So do some entries of the
/// first.
#[must_use]
pub fn random(random: &mut Random) -> Vec<u64> {
    let mut tables = vec![0; TABLES * ENTRIES];
    tables[0] = LEAF | DEVICE;
    tables[1] = 0x4000_0000 | LEAF;
    // RAM once more, for EL0.
    tables[2] = 0x4000_0000 | LEAF | 1 << 6;
    for entry in &mut tables[3..16] {
        *entry = descriptor(random);
    }
    for _ in 0..64 {
        let at = ENTRIES + random.below(tables.len() - ENTRIES);
        tables[at] = descriptor(random);
    }
    tables
}

/// A random descriptor that has a fair chance of meaning something.
fn descriptor(random: &mut Random) -> u64 {
    let attributes = random.next_u64() & 0xfff0_0000_0000_0ffc;
    let kind = random.pick(&[0, 1, 3, 3]);
    let table = TABLES_AT + 0x1000 * random.below(TABLES) as u64;
    let wild = random.next_u64() & 0xffff_ffff_f000;
    let output = random.pick(&[
        table,
        table,
        0x4000_0000,
        0x4008_0000,
        // Tables and pages in device memory, in no memory at all, and beyond the address space.
        0x0900_0000,
        0x0800_0000,
        0x7fff_f000,
        0xffff_ffff_f000,
        wild,
    ]);
    // Of the lower attributes, the access flag decides whether the rest is looked at.
    let access = if random.below(4) == 0 { 0 } else { 1 << 10 };
    match random.below(8) {
        0 => random.next_u64(),
        _ => output | attributes | access | kind,
    }
}
