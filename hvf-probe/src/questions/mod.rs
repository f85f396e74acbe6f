//! The questions, in groups.

mod clocks;
mod codes;
pub mod host;
mod instructions;
mod kicks;
mod registers;

use serde_json::Value;

use crate::Options;
use crate::raw::Raw;

/// Asks one group of questions.
pub type Ask = fn(Raw, &Options) -> Value;

/// Every group but the host, by its name in the report.
pub const ALL: &[(&str, Ask)] = &[
    ("clocks", clocks::ask),
    ("sleep", clocks::sleep),
    ("return_codes", codes::ask),
    ("initial_registers", registers::initial),
    ("identification_registers", registers::identification),
    ("simd_register", registers::simd),
    ("system_registers_seen_by_guests", registers::forwarded),
    ("interrupts", instructions::interrupts),
    ("calls", instructions::calls),
    ("accesses_to_nothing", instructions::accesses),
    ("memory_without_mmu", instructions::coherence),
    ("kicks", kicks::ask),
];
