//! Programs and the states to run them from.

use softcpu::Cpu;
use softcpu::table::{Kind, Row, Table};

use crate::address::{Form, field, inside, signed};
use crate::place::{CODE, PAGES, RUNNER, SLOT, WINDOW, WINDOW_BYTES};
use crate::rng::Rng;
use crate::skip::{self, is_store_exclusive};
use crate::state::State;
use crate::values;

/// A program and the states it runs from.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What it is about: a row's name.
    pub name: String,
    /// The program.
    pub words: Vec<u32>,
    /// The states.
    pub cases: Vec<State>,
    /// The window's contents before each case, if memory is accessed.
    pub window: Option<Box<[u8; WINDOW_BYTES]>>,
}

/// Registers that EL0 can read, and some it cannot: bits 20:5 of `MRS`.
const READABLE: [u32; 10] = [
    0xda10, // NZCV
    0xda11, // DAIF
    0xda20, // FPCR
    0xda21, // FPSR
    0xde82, // TPIDR_EL0
    0xde83, // TPIDRRO_EL0
    0xd807, // DCZID_EL0
    0xc212, // CurrentEL
    0xc208, // SP_EL0
    0xc080, // SCTLR_EL1
];

/// `CLREX`
const CLREX: u32 = 0xd503_3f5f;

/// How often a random encoding is tried before the row is given up.
const TRIES: usize = 2000;
/// The base register of sequences, which nothing in them may change but by writeback.
const SEQUENCE_BASE: u32 = 28;

/// A random encoding of a row that is not skipped, with the rule that skipped the last if none is.
///
/// # Errors
/// The name and reason of the rule.
pub fn encoding(table: &Table<Cpu>, row: &Row<Cpu>, rng: &mut Rng) -> Result<u32, &'static str> {
    let mut why = "no encoding decodes to it";
    for _ in 0..TRIES {
        let insn = shape(row, rng);
        let found = table.decode(insn);
        if !found.is_some_and(|(found, _)| std::ptr::eq(found, row)) {
            continue;
        }
        match skip::of(row.kind, row.name, insn) {
            Some(rule) => why = rule.name,
            None if !branches_into_harness(insn) => return Ok(insn),
            None => {}
        }
    }
    Err(why)
}

/// Random operand bits, with registers equal more often than by chance.
fn shape(row: &Row<Cpu>, rng: &mut Rng) -> u32 {
    let mut insn = rng.word();
    let copy = |insn: u32, from: u32, to: u32| insn & !(0x1f << to) | field(insn, from, 5) << to;
    if rng.one_in(8) {
        insn = copy(insn, 5, 16);
    }
    if rng.one_in(8) {
        insn = copy(insn, 5, 0);
    }
    if rng.one_in(16) {
        insn = copy(insn, 16, 0);
    }
    insn = insn & !row.mask | row.value;
    if row.name == "MRS" && !rng.one_in(4) {
        insn = insn & !0x1f_ffe0 | rng.pick(&READABLE) << 5;
    }
    if is_memory(row.kind) && Form::of(insn) == Form::Literal {
        let at = WINDOW.start + 4 * rng.below(WINDOW_BYTES as u64 / 4 - 4);
        let offset = (at.wrapping_sub(SLOT) >> 2) as u32 & 0x7_ffff;
        insn = insn & !(0x7_ffff << 5) | offset << 5;
    }
    insn
}

/// Whether loads and stores make up the kind.
#[must_use]
pub fn is_memory(kind: Kind) -> bool {
    matches!(kind, Kind::Memory | Kind::SimdMemory)
}

/// Where a relative branch in the slot goes.
fn branch_offset(insn: u32) -> Option<i64> {
    if insn & 0x7c00_0000 == 0x1400_0000 {
        Some(signed(insn, 0, 26) << 2)
    } else if insn & 0xfe00_0000 == 0x5400_0000 || insn & 0x7e00_0000 == 0x3400_0000 {
        Some(signed(insn, 5, 19) << 2)
    } else if insn & 0x7e00_0000 == 0x3600_0000 {
        Some(signed(insn, 5, 14) << 2)
    } else {
        None
    }
}

/// Branches to themselves or into the oracle's own code do not end.
#[must_use]
pub fn branches_into_harness(insn: u32) -> bool {
    branch_offset(insn)
        .is_some_and(|offset| offset == 0 || RUNNER.contains(&SLOT.wrapping_add_signed(offset)))
}

/// A batch for one instruction.
pub fn single(row: &Row<Cpu>, insn: u32, count: usize, rng: &mut Rng) -> Batch {
    let mut words = vec![insn];
    if is_store_exclusive(row.name) && !rng.one_in(8) {
        words.insert(0, matching_load(insn));
        if rng.one_in(8) {
            words.insert(1, CLREX);
        }
    }
    let aligned =
        skip::needs_alignment(row.name) || words.len() == 1 && is_store_exclusive(row.name);
    let cases = (0..count).map(|_| {
        let mut state = values::state(rng);
        match row.kind {
            Kind::Memory | Kind::SimdMemory => Form::of(insn).aim(&mut state, aligned, rng),
            Kind::Branch => aim_branch(insn, &mut state, rng),
            Kind::Special | Kind::System => aim_system(insn, &mut state, rng),
            Kind::Plain | Kind::Simd => {}
        }
        state
    });
    Batch {
        name: row.name.to_owned(),
        cases: cases.collect(),
        words,
        window: (is_memory(row.kind) || is_maintenance(insn)).then(|| window(rng)),
    }
}

/// The load-exclusive that a store-exclusive belongs to, into registers it does not need.
fn matching_load(store: u32) -> u32 {
    let used = [0, 5, 10].map(|low| field(store, low, 5));
    let mut free = (0..31).filter(|r| !used.contains(r));
    let (t, t2) = (free.next().unwrap_or(0), free.next().unwrap_or(1));
    let pair = field(store, 21, 1) != 0;
    let t2 = if pair { t2 } else { 31 };
    store & 0xffe0_83e0 | 1 << 22 | 31 << 16 | t2 << 10 | t
}

/// `SYS`: maintenance of caches and TLBs, translation of addresses, `DC ZVA`.
fn is_maintenance(insn: u32) -> bool {
    insn & 0xfff8_0000 == 0xd508_0000
}

/// `MSR FPCR` and the bits that armlet's model has; the oracle's has also AArch32.
const MSR_FPCR: (u32, u64) = (0xd51b_4400, 0x07c8_0000);
/// The same for `MSR FPSR`.
const MSR_FPSR: (u32, u64) = (0xd51b_4420, 0x0800_009f);

/// Gives system instructions addresses in the window, and bits that both sides have.
fn aim_system(insn: u32, state: &mut State, rng: &mut Rng) {
    let Some(x) = state.x.get_mut(field(insn, 0, 5) as usize) else {
        return;
    };
    if is_maintenance(insn) {
        *x = inside(rng);
    }
    for (msr, bits) in [MSR_FPCR, MSR_FPSR] {
        if insn & !0x1f == msr {
            *x &= bits;
        }
    }
}

/// Gives a branch to a register somewhere to go.
fn aim_branch(insn: u32, state: &mut State, rng: &mut Rng) {
    if branch_offset(insn).is_some() {
        // Compare-and-branch: a zero or a single bit now and then.
        let t = field(insn, 0, 5) as usize;
        if let Some(x) = state.x.get_mut(t) {
            match rng.below(4) {
                0 => *x = 0,
                1 => *x &= !0xffff_ffff,
                _ => {}
            }
        }
        return;
    }
    let target = match rng.below(6) {
        0 => SLOT + 4,
        1 => CODE.start + 4 * rng.below(16),
        2 => PAGES.start + 4 * rng.below(16),
        3 => 0x5100_0000 + rng.below(0x10_0000),
        4 => 0x4000_0000_0000 + 4 * rng.below(1 << 40),
        _ => 0x5100_0000 + 4 * rng.below(0x10_0000),
    };
    if let Some(x) = state.x.get_mut(field(insn, 5, 5) as usize) {
        *x = target;
    }
}

fn window(rng: &mut Rng) -> Box<[u8; WINDOW_BYTES]> {
    let mut window = Box::new([0; WINDOW_BYTES]);
    let kind = rng.below(14);
    for chunk in window.chunks_exact_mut(16) {
        chunk.copy_from_slice(&values::vector(rng, kind).to_le_bytes());
    }
    window
}

/// A batch for a random straight-line sequence.
pub fn sequence(table: &Table<Cpu>, count: usize, rng: &mut Rng) -> Batch {
    let length = 5 + rng.below(16) as usize;
    let mut words = Vec::new();
    while words.len() < length {
        let row = &table.rows()[rng.below(table.rows().len() as u64) as usize];
        if let Some(insn) = part(table, row, rng) {
            words.push(insn);
        }
    }
    let cases = (0..count).map(|_| {
        let mut state = values::state(rng);
        let n = SEQUENCE_BASE as usize;
        Form::Base { n, offset: 0 }.aim(&mut state, false, rng);
        state
    });
    Batch {
        name: "sequence".to_owned(),
        cases: cases.collect(),
        words,
        window: Some(window(rng)),
    }
}

/// An instruction that may stand in a sequence.
fn part(table: &Table<Cpu>, row: &Row<Cpu>, rng: &mut Rng) -> Option<u32> {
    if matches!(row.kind, Kind::Branch | Kind::Special | Kind::System)
        || skip::needs_alignment(row.name)
        || is_store_exclusive(row.name)
    {
        return None;
    }
    let mut insn = encoding(table, row, rng).ok()?;
    if is_memory(row.kind) {
        insn = match Form::of(insn) {
            Form::Literal => return None,
            // SP-sized offsets would leave the window; small ones stay.
            Form::Base { offset, .. } if offset.abs() > 256 => return None,
            Form::Base { .. } => insn & !(0x1f << 5) | SEQUENCE_BASE << 5,
            Form::Index { .. } => insn & !(0x1f << 5 | 0x1f << 16) | SEQUENCE_BASE << 5 | 31 << 16,
        };
        // An indexed structure moves the base by a register; 31 means by its size.
        if insn & 0xbe80_0000 == 0x0c80_0000 {
            insn |= 31 << 16;
        }
    }
    let written: &[u32] = match row.kind {
        Kind::Memory => &[0, 10, 16],
        Kind::Plain => &[0],
        Kind::Simd | Kind::SimdMemory | Kind::Branch | Kind::Special | Kind::System => &[0],
    };
    let spoils = written
        .iter()
        .any(|&low| field(insn, low, 5) == SEQUENCE_BASE);
    let same = table
        .decode(insn)
        .is_some_and(|(found, _)| std::ptr::eq(found, row));
    (same && !spoils && skip::of(row.kind, row.name, insn).is_none()).then_some(insn)
}
