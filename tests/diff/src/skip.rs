//! What is not compared, and why: choices the architecture leaves open, and what one of the two
//! sides cannot do. Every rule has a name and a reason; [`of`] tells which one holds.

use softcpu::table::Kind;

use crate::address::field;
use crate::decode::{ARMLET_LACKS, ORACLE_LACKS};

/// A rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// What it is called.
    pub name: &'static str,
    /// Why it is there.
    pub reason: &'static str,
    /// Whether it holds for an instruction of a row.
    holds: fn(kind: Kind, row: &str, insn: u32) -> bool,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

const RULES: [Rule; 9] = [
    Rule {
        name: "writeback over a transferred register",
        reason: "CONSTRAINED UNPREDICTABLE: the base is also loaded or stored (K1.2)",
        holds: |kind, row, insn| {
            let (t, n, t2) = (field(insn, 0, 5), field(insn, 5, 5), field(insn, 10, 5));
            let pair = row.contains('P') && is_pair(insn);
            kind == Kind::Memory
                && n != 31
                && (row.contains("post-index") || row.contains("pre-index"))
                && (t == n || pair && t2 == n)
        },
    },
    Rule {
        name: "a pair loaded into one register",
        reason: "CONSTRAINED UNPREDICTABLE (K1.2)",
        holds: |_, row, insn| {
            let pair = row.starts_with("LD") && is_pair(insn) || row.starts_with("LDXP");
            pair && field(insn, 0, 5) == field(insn, 10, 5)
        },
    },
    Rule {
        name: "store-exclusive whose status overlaps",
        reason: "CONSTRAINED UNPREDICTABLE: Rs is also Rn, Rt or Rt2 (K1.2)",
        holds: |_, row, insn| {
            let (t, n, t2, s) = (
                field(insn, 0, 5),
                field(insn, 5, 5),
                field(insn, 10, 5),
                field(insn, 16, 5),
            );
            is_store_exclusive(row)
                && (s == t || s == n && n != 31 || row.starts_with("STXP") && s == t2)
        },
    },
    Rule {
        name: "SVC",
        reason: "the emulator would carry out a system call of the host",
        holds: |_, row, _| row == "SVC",
    },
    Rule {
        name: "CTR_EL0",
        reason: "caches differ between CPU models",
        holds: |_, _, insn| insn & 0xffff_ffe0 == 0xd53b_0020,
    },
    Rule {
        name: "cache maintenance at address 0, where nothing is mapped",
        reason: "the emulator does not look whether anything is mapped",
        holds: |_, row, insn| {
            (row.starts_with("DC C") || row.starts_with("IC I")) && field(insn, 0, 5) == 31
        },
    },
    Rule {
        name: "what only one side has",
        reason: "system instructions and registers that decode.rs lists",
        holds: |kind, _, insn| {
            let lists = ARMLET_LACKS.iter().chain(&ORACLE_LACKS);
            matches!(kind, Kind::Special | Kind::System)
                && lists.into_iter().any(|e| insn & e.mask == e.value)
        },
    },
    Rule {
        name: "FCVTZS (fixed-point, H)",
        reason: "QEMU 7.2 extends the sign of the result beyond its 16 bits",
        holds: |_, row, _| row == "FCVTZS (fixed-point, H)",
    },
    Rule {
        name: "timers",
        reason: "time goes on, and the emulator lets EL0 see less of it",
        holds: |_, _, insn| insn & 0xffdf_f000 == 0xd51b_e000,
    },
];

/// Loads and stores of pairs, but for the exclusive ones.
fn is_pair(insn: u32) -> bool {
    insn & 0x3a00_0000 == 0x2800_0000
}

/// `STXR`, `STXP` and their kin.
#[must_use]
pub fn is_store_exclusive(row: &str) -> bool {
    row.starts_with("STXR") || row.starts_with("STXP")
}

/// Loads that the emulator lets be misaligned, where the architecture has them fault without
/// FEAT_LSE2. Nor does it look at the alignment of a store-exclusive that fails for other reasons.
#[must_use]
pub fn needs_alignment(row: &str) -> bool {
    row.starts_with("LDAPR")
}

/// The rule by which an instruction is not compared.
#[must_use]
pub fn of(kind: Kind, row: &str, insn: u32) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.holds)(kind, row, insn))
}
