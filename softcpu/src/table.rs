//! The opcode table: one row for each encoding armlet knows.
//!
//! A row's pattern is 32 characters, bit 31 first: `0` and `1` must match, anything else is an
//! operand; blanks are for the eye. The first row that matches decides. Its `args` function takes
//! the operands out of the instruction and refuses (`None`) what is unallocated within the row;
//! refused and unmatched encodings are undefined.

use std::fmt;

use crate::emitter::{Args, Emitter, Exec};

/// What kind of instruction a row is, for the block builder and for the random generator of the
/// differential test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Registers to registers.
    Plain,
    /// Loads and stores; may leave in the middle.
    Memory,
    /// Sets the PC; ends a block.
    Branch,
    /// Registers to registers, on FP and AdvSIMD registers.
    Simd,
    /// Loads and stores of FP and AdvSIMD registers.
    SimdMemory,
    /// System instructions that change nothing the translation of code depends on.
    Special,
    /// May change anything; ends a block.
    System,
}

impl Kind {
    /// Whether nothing after the instruction belongs to its block.
    #[must_use]
    pub fn ends_block(self) -> bool {
        matches!(self, Self::Branch | Self::System)
    }

    /// Whether the instruction traps while FP is disabled.
    #[must_use]
    pub fn needs_fp(self) -> bool {
        matches!(self, Self::Simd | Self::SimdMemory)
    }
}

/// One encoding.
pub struct Row<E: Emitter> {
    /// Name as in the manual, with the variant in brackets.
    pub name: &'static str,
    /// Which bits are fixed.
    pub mask: u32,
    /// Their values.
    pub value: u32,
    /// What kind of instruction it is.
    pub kind: Kind,
    /// Takes the operands out; `None` for unallocated encodings.
    pub args: fn(u32) -> Option<Args>,
    /// What it does.
    pub exec: Exec<E>,
}

impl<E: Emitter> fmt::Debug for Row<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:08x}/{:08x}", self.name, self.value, self.mask)
    }
}

/// All rows, and an index over their leading bits.
#[derive(Debug)]
pub struct Table<E: Emitter> {
    rows: Vec<Row<E>>,
    /// For each value of bits 31:21, the rows that may match, as a range of `candidates`.
    index: Vec<(u32, u32)>,
    candidates: Vec<u16>,
}

const INDEX_SHIFT: u32 = 21;

impl<E: Emitter> Table<E> {
    /// The table of the `portable` CPU model for an emitter.
    #[must_use]
    pub fn portable() -> Self {
        let mut table = Self {
            rows: Vec::new(),
            index: Vec::new(),
            candidates: Vec::new(),
        };
        crate::a64::rows(&mut table);
        table.build_index();
        table
    }

    /// Adds a row.
    pub fn row(
        &mut self,
        kind: Kind,
        name: &'static str,
        pattern: &str,
        args: fn(u32) -> Option<Args>,
        exec: Exec<E>,
    ) {
        let (mask, value) = parse(pattern);
        self.rows.push(Row {
            name,
            mask,
            value,
            kind,
            args,
            exec,
        });
    }

    /// Every row, in order of precedence.
    #[must_use]
    pub fn rows(&self) -> &[Row<E>] {
        &self.rows
    }

    /// The row and the operands of an instruction; `None` if it is undefined.
    #[must_use]
    pub fn decode(&self, insn: u32) -> Option<(&Row<E>, Args)> {
        let (from, to) = self.index[(insn >> INDEX_SHIFT) as usize];
        let row = self.candidates[from as usize..to as usize]
            .iter()
            .map(|&i| &self.rows[usize::from(i)])
            .find(|row| insn & row.mask == row.value)?;
        (row.args)(insn).map(|args| (row, args))
    }

    fn build_index(&mut self) {
        for top in 0..1u32 << (32 - INDEX_SHIFT) {
            let from = self.candidates.len();
            for (i, row) in self.rows.iter().enumerate() {
                let mask = row.mask >> INDEX_SHIFT;
                if top & mask == row.value >> INDEX_SHIFT {
                    self.candidates.push(u16::try_from(i).unwrap_or(u16::MAX));
                }
            }
            self.index.push((from as u32, self.candidates.len() as u32));
        }
    }
}

/// Mask and value of a pattern.
///
/// # Panics
/// When the pattern has not 32 bits: a mistake in the table.
fn parse(pattern: &str) -> (u32, u32) {
    let (mut mask, mut value, mut bits) = (0, 0, 0);
    for c in pattern.chars().filter(|c| *c != ' ') {
        mask = mask << 1 | u32::from(c == '0' || c == '1');
        value = value << 1 | u32::from(c == '1');
        bits += 1;
    }
    assert_eq!(bits, 32, "pattern `{pattern}` has {bits} bits");
    (mask, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_reached_by_some_encoding() {
        let table = Table::<crate::Cpu>::portable();
        let mut seed = 0x1234_5678_9abc_def0_u64;
        for (i, row) in table.rows.iter().enumerate() {
            let reached = (0..20_000).any(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(99);
                let insn = (seed >> 32) as u32 & !row.mask | row.value;
                table
                    .decode(insn)
                    .is_some_and(|(found, _)| std::ptr::eq(found, row))
            });
            assert!(reached, "row {i} {row:?} is hidden or refuses everything");
        }
    }
}
