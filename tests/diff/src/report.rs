//! What a run comes to, for people to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::process::Command;

use crate::place::WINDOW_BYTES;
use crate::state::State;

/// One case in which the sides differ.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// The row.
    pub name: String,
    /// The program.
    pub words: Vec<u32>,
    /// The state before.
    pub case: State,
    /// Memory before.
    pub window: Option<Box<[u8; WINDOW_BYTES]>>,
    /// What differs after.
    pub what: Vec<String>,
}

impl Mismatch {
    /// All about it.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut text = format!("MISMATCH in {}\n", self.name);
        for (word, assembly) in self.words.iter().zip(disassemble(&self.words)) {
            let _ = writeln!(text, "  {word:08x}  {assembly}");
        }
        text.push_str("  before:\n");
        for (name, value) in self.before() {
            let _ = writeln!(text, "    {name} {value:#x}");
        }
        text.push_str("  after:\n");
        for line in self.what.iter().take(12) {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    /// The registers that the words can name, and the special ones.
    fn before(&self) -> Vec<(String, u128)> {
        let named = |name: &str| {
            let Some(number) = name.get(1..).and_then(|n| n.parse::<u32>().ok()) else {
                return name != "PC";
            };
            self.words
                .iter()
                .any(|word| [0, 5, 10, 16].iter().any(|low| word >> low & 31 == number))
        };
        let mut all = self.case.named();
        all.retain(|(name, _)| named(name));
        all
    }
}

/// Assembly text by the cross tools, if they are there.
fn disassemble(words: &[u32]) -> Vec<String> {
    let path = std::env::temp_dir().join(format!("armlet-diff-{}.bin", std::process::id()));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let output = std::fs::write(&path, bytes).and_then(|()| {
        Command::new("aarch64-linux-gnu-objdump")
            .args(["-D", "-b", "binary", "-m", "aarch64"])
            .arg(&path)
            .output()
    });
    let _ = std::fs::remove_file(&path);
    let Ok(output) = output else {
        return vec![String::new(); words.len()];
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once(":\t")?.1.split_once('\t'))
        .map(|(_, text)| text.replace('\t', " "))
        .collect()
}

/// What a run comes to.
#[derive(Debug, Default)]
pub struct Report {
    /// Instructions executed and compared.
    pub executions: u64,
    /// Different encodings or programs among them.
    pub programs: u64,
    /// Encodings tried for being refused.
    pub encodings: u64,
    /// Rows compared.
    pub rows: usize,
    /// Rows not compared, by the reason.
    pub skipped: BTreeMap<String, String>,
    /// Rows of which no case ran to its end: what EL0 may not do, if all is well.
    pub refused: BTreeSet<String>,
    /// Where the sides differ.
    pub mismatches: Vec<Mismatch>,
}

impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        let Self {
            executions,
            programs,
            encodings,
            rows,
            skipped,
            refused,
            mismatches,
        } = other;
        self.executions += executions;
        self.programs += programs;
        self.encodings += encodings;
        self.rows += rows;
        self.skipped.extend(skipped);
        self.refused.extend(refused);
        self.mismatches.extend(mismatches);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, reason) in &self.skipped {
            writeln!(f, "not compared: {row}: {reason}")?;
        }
        let refused: Vec<&str> = self.refused.iter().map(String::as_str).collect();
        if !refused.is_empty() {
            writeln!(f, "refused at EL0 by both: {}", refused.join(", "))?;
        }
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for mismatch in &self.mismatches {
            *names.entry(&mismatch.name).or_default() += 1;
        }
        for (name, count) in names {
            writeln!(f, "mismatch: {name} ({count})")?;
        }
        write!(
            f,
            "{} instructions executed, {} programs, {} encodings tried, {} rows compared, {} rows not, {} mismatches",
            self.executions,
            self.programs,
            self.encodings,
            self.rows,
            self.skipped.len(),
            self.mismatches.len()
        )
    }
}
