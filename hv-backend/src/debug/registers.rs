//! The debug registers for what a debugger set (D17.3: `DBGBVRn_EL1`, `DBGBCRn_EL1`, `DBGWVRn_EL1`,
//! `DBGWCRn_EL1`).
//!
//! A watchpoint register covers bytes of one aligned doubleword (BAS), or an aligned power of two
//! (MASK). Other ranges take several registers.

use crate::api::{DebugControl, HostError, WatchKind};

/// How many registers the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Pairs for breakpoints.
    pub breakpoints: usize,
    /// Pairs for watchpoints.
    pub watchpoints: usize,
}

/// A value register and its control register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pair {
    /// `DBGBVRn_EL1` or `DBGWVRn_EL1`
    pub value: u64,
    /// `DBGBCRn_EL1` or `DBGWCRn_EL1`
    pub control: u64,
}

/// The registers in use, from number 0 on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Registers {
    /// Breakpoints.
    pub breakpoints: Vec<Pair>,
    /// Watchpoints.
    pub watchpoints: Vec<Pair>,
}

impl Registers {
    /// Whether none is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.breakpoints.is_empty() && self.watchpoints.is_empty()
    }
}

/// E: enabled.
const ENABLED: u64 = 1;
/// PMC and PAC: EL1 and EL0.
const EL1_AND_EL0: u64 = 3 << 1;
/// BAS of a breakpoint: all of an A64 instruction.
const INSTRUCTION: u64 = 0xf << 5;
/// BAS of a watchpoint: the doubleword.
const BAS_SHIFT: u32 = 5;
const ALL_BYTES: u64 = 0xff;
const MASK_SHIFT: u32 = 24;
/// The largest MASK.
const MOST_MASK: u32 = 31;
/// The smallest power of two that MASK can say, as its logarithm.
const DOUBLEWORD: u32 = 3;

/// The registers that stop the vCPU as `control` says.
///
/// # Errors
/// When there are too few of them.
pub fn encode(control: &DebugControl, slots: Slots) -> Result<Registers, HostError> {
    let breakpoints: Vec<Pair> = control
        .breakpoints
        .iter()
        .map(|va| breakpoint(*va))
        .collect();
    enough("breakpoints", breakpoints.len(), slots.breakpoints)?;
    let mut watchpoints = Vec::new();
    for (va, bytes, kind) in &control.watchpoints {
        let most = slots.watchpoints - watchpoints.len().min(slots.watchpoints);
        // One more than there are is enough to know that they do not suffice.
        watchpoints.extend(
            pieces(*va, *bytes)
                .take(most + 1)
                .map(|p| watchpoint(p, *kind)),
        );
    }
    enough("watchpoints", watchpoints.len(), slots.watchpoints)?;
    Ok(Registers {
        breakpoints,
        watchpoints,
    })
}

fn enough(what: &str, asked: usize, most: usize) -> Result<(), HostError> {
    if asked <= most {
        return Ok(());
    }
    Err(HostError::Limit(format!(
        "this host's processor has registers for {most} {what}, which is too few"
    )))
}

fn breakpoint(va: u64) -> Pair {
    Pair {
        value: va & !3,
        control: INSTRUCTION | EL1_AND_EL0 | ENABLED,
    }
}

/// Part of a watched range that one register covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// So many bytes from an address on, within a doubleword.
    Bytes(u64, u64),
    /// An aligned block of 2 to this power.
    Block(u64, u32),
}

/// Cuts a range into pieces, from its start. It ends at the end of the address space.
fn pieces(va: u64, bytes: u64) -> impl Iterator<Item = Piece> {
    let mut rest = (bytes != 0).then(|| (va, va.saturating_add(bytes - 1)));
    std::iter::from_fn(move || {
        let (va, last) = rest?;
        let piece = first_piece(va, last);
        let covered = match piece {
            Piece::Bytes(_, count) => count,
            Piece::Block(_, log2) => 1 << log2,
        };
        let next = va.checked_add(covered).filter(|next| *next <= last);
        rest = next.map(|next| (next, last));
        Some(piece)
    })
}

fn first_piece(va: u64, last: u64) -> Piece {
    let largest = (DOUBLEWORD..=MOST_MASK).rev().find(|log2| {
        let beyond = (1_u64 << log2) - 1;
        va & beyond == 0 && last - va >= beyond
    });
    match largest {
        Some(log2) => Piece::Block(va, log2),
        None => Piece::Bytes(va, (last - va + 1).min(8 - va % 8)),
    }
}

fn watchpoint(piece: Piece, kind: WatchKind) -> Pair {
    let (value, mask, bytes) = match piece {
        Piece::Bytes(va, count) => (va & !7, 0, ((1 << count) - 1) << (va % 8)),
        Piece::Block(va, DOUBLEWORD) => (va, 0, ALL_BYTES),
        Piece::Block(va, log2) => (va, u64::from(log2), ALL_BYTES),
    };
    let accesses = match kind {
        WatchKind::Read => 1 << 3,
        WatchKind::Write => 2 << 3,
        WatchKind::Access => 3 << 3,
    };
    Pair {
        value,
        control: mask << MASK_SHIFT | bytes << BAS_SHIFT | accesses | EL1_AND_EL0 | ENABLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOTS: Slots = Slots {
        breakpoints: 2,
        watchpoints: 4,
    };

    fn watch(va: u64, bytes: u64, kind: WatchKind) -> Result<Vec<Pair>, HostError> {
        let control = DebugControl {
            watchpoints: vec![(va, bytes, kind)],
            ..DebugControl::default()
        };
        encode(&control, SLOTS).map(|registers| registers.watchpoints)
    }

    /// As QEMU and the kernel's own debugger set them.
    #[test]
    fn values_are_those_of_the_manual() {
        let control = DebugControl {
            breakpoints: vec![0xffff_8000_0800_1234],
            ..DebugControl::default()
        };
        let value = 0xffff_8000_0800_1234;
        let control_bits = 0x1e7;
        let breakpoints = encode(&control, SLOTS).unwrap().breakpoints;
        assert_eq!(
            breakpoints,
            [Pair {
                value,
                control: control_bits
            }]
        );
        let one = |va, bytes, kind| watch(va, bytes, kind).unwrap();
        let pair = |value, control| vec![Pair { value, control }];
        assert_eq!(one(0x1000, 8, WatchKind::Access), pair(0x1000, 0x1fff));
        assert_eq!(one(0x1004, 4, WatchKind::Write), pair(0x1000, 0x1e17));
        assert_eq!(one(0x1003, 1, WatchKind::Read), pair(0x1000, 0x10f));
        let page = 12 << 24 | 0x1ff7;
        assert_eq!(one(0x7000, 0x1000, WatchKind::Write), pair(0x7000, page));
    }

    #[test]
    fn too_many_are_refused() {
        let control = DebugControl {
            breakpoints: vec![0, 4, 8],
            ..DebugControl::default()
        };
        let said = encode(&control, SLOTS).unwrap_err().to_string();
        assert!(said.contains("2 breakpoints"), "{said}");
        let said = watch(1, 0x1_0000, WatchKind::Read).unwrap_err().to_string();
        assert!(said.contains("4 watchpoints"), "{said}");
        assert!(watch(0, u64::MAX, WatchKind::Read).is_err());
    }

    proptest! {
        /// Every byte of a range is covered, and none beside it.
        #[test]
        fn pieces_make_up_the_range(va in prop_oneof![0_u64..64, u64::MAX - 64..], bytes in 0_u64..300) {
            let covers = |at: u64| pieces(va, bytes).any(|piece| match piece {
                Piece::Bytes(from, count) => at >= from && at - from < count,
                Piece::Block(from, log2) => at >= from && at - from < 1 << log2,
            });
            let last = va.saturating_add(bytes.saturating_sub(1));
            for at in (va.saturating_sub(9)..=last.saturating_add(9)).take(400) {
                prop_assert_eq!(covers(at), bytes > 0 && (va..=last).contains(&at), "{:#x}", at);
            }
        }
    }
}
