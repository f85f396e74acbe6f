//! Addresses that both sides use. `runner/runner.c` has the same numbers.

use std::ops::Range;

/// All of it, in one guest region: code, data pages, and what only armlet's side needs.
pub const BASE: u64 = 0x5000_0000;
/// Bytes of guest memory from [`BASE`].
pub const BYTES: u64 = 0x20_0000;
/// Executable memory, filled with [`BRK`] but for the slot.
pub const CODE: Range<u64> = BASE..BASE + 0x1_0000;
/// Where the instructions under test stand.
pub const SLOT: u64 = BASE + 0x8000;
/// Two pages of data; what lies around them is not mapped.
pub const PAGES: Range<u64> = BASE + 0x2_0000..BASE + 0x2_2000;
/// The part in their middle, across the page boundary, that is set anew for each case.
pub const WINDOW: Range<u64> = PAGES.start + 0xe00..PAGES.start + 0x1200;
/// Its size.
pub const WINDOW_BYTES: usize = 0x400;
/// The size of both pages.
pub const PAGES_BYTES: usize = 0x2000;
/// The oracle's own program, which no branch may hit.
pub const RUNNER: Range<u64> = 0x5400_0000..0x5420_0000;
/// `BRK #0`
pub const BRK: u32 = 0xd420_0000;
/// The most instructions of a program.
pub const MOST_WORDS: usize = 64;
/// The most cases of a batch.
pub const MOST_CASES: usize = 512;

/// The window's contents continued over both pages.
#[must_use]
pub fn spread(window: &[u8; WINDOW_BYTES]) -> Vec<u8> {
    let from = (WINDOW.start - PAGES.start) as usize;
    (0..PAGES_BYTES)
        .map(|at| window[(at + WINDOW_BYTES - from % WINDOW_BYTES) % WINDOW_BYTES])
        .collect()
}
