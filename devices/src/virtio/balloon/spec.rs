//! Names of the traditional memory balloon (Virtio 1.2, section 5.5).

/// Bytes of the pages it counts in, whatever the pages of guest and host are.
pub const PAGE: u64 = 4096;
/// As a shift: a page frame number is an address without these bits.
pub const PFN_SHIFT: u32 = 12;
/// Bytes of a page frame number in a buffer.
pub const PFN_BYTES: u64 = 4;

/// Feature bits (section 5.5.3).
pub mod feature {
    /// The guest uses pages of the balloon again only after the host has heard of it.
    pub const MUST_TELL_HOST: u64 = 1 << 0;
    /// There is a queue of statistics.
    pub const STATS_VQ: u64 = 1 << 1;
    /// The guest may take pages back when it runs out of memory.
    pub const DEFLATE_ON_OOM: u64 = 1 << 2;
    /// The guest tells, when asked, which pages are free. It may use them again at any time.
    pub const FREE_PAGE_HINT: u64 = 1 << 3;
    /// The guest tells, of itself, which pages are free.
    pub const REPORTING: u64 = 1 << 5;
    /// All of them.
    pub const ALL: u64 = MUST_TELL_HOST | STATS_VQ | DEFLATE_ON_OOM | FREE_PAGE_HINT | REPORTING;
}

/// The configuration's fields, four bytes each (section 5.5.4).
pub mod config {
    /// Pages that the host wants the balloon to have.
    pub const TARGET: u64 = 0;
    /// Pages that it has.
    pub const ACTUAL: u64 = 4;
    /// The hints that the host asks for.
    pub const HINT_ID: u64 = 8;
}

/// Numbers of a round of hints (section 5.5.6.5).
pub mod hint {
    /// The guest's: there are no more.
    pub const STOP: u32 = 0;
    /// The host's: it does nothing more with hints, and the guest has its pages again.
    pub const DONE: u32 = 1;
    /// The host's: the lowest of a round.
    pub const FIRST: u32 = 0x8000_0000;
}

/// Statistics: a tag, and a value of eight bytes (section 5.5.6.3).
pub mod stat {
    /// Bytes of an entry.
    pub const BYTES: u64 = 10;
    /// Bytes swapped in.
    pub const SWAP_IN: u16 = 0;
    /// Bytes swapped out.
    pub const SWAP_OUT: u16 = 1;
    /// Major page faults.
    pub const MAJOR_FAULTS: u16 = 2;
    /// Minor page faults.
    pub const MINOR_FAULTS: u16 = 3;
    /// Bytes of free memory.
    pub const FREE: u16 = 4;
    /// Bytes of memory.
    pub const TOTAL: u16 = 5;
    /// Bytes that can be had without swapping.
    pub const AVAILABLE: u16 = 6;
    /// Bytes of files in memory.
    pub const CACHES: u16 = 7;
}
