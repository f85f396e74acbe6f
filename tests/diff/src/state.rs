//! What is set before and compared after: the registers of EL0.

use std::fmt;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ran to its last instruction, or a branch left it.
    Done,
    /// It got this signal, or on armlet's side the exception that Linux turns into it.
    Signal(Signal),
}

/// Signals, by their numbers on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Undefined instruction.
    Ill = 4,
    /// Breakpoint.
    Trap = 5,
    /// Misaligned access.
    Bus = 7,
    /// No such memory.
    Segv = 11,
    /// The program did not end.
    Alarm = 14,
    /// A system call (on armlet's side only).
    Sys = 31,
}

impl End {
    /// The wire format's `kind`; unknown signals count as endless.
    #[must_use]
    pub fn from_wire(kind: u64) -> Self {
        Self::Signal(match kind {
            0 => return Self::Done,
            4 => Signal::Ill,
            5 => Signal::Trap,
            7 => Signal::Bus,
            11 => Signal::Segv,
            _ => Signal::Alarm,
        })
    }
}

/// The registers of EL0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Stack pointer.
    pub sp: u64,
    /// Program counter; of no meaning before.
    pub pc: u64,
    /// Condition flags in bits 31:28.
    pub nzcv: u64,
    /// FP control.
    pub fpcr: u64,
    /// FP status.
    pub fpsr: u64,
    /// Software thread register; of no meaning after.
    pub tpidr: u64,
    /// V0 to V31.
    pub v: [u128; 32],
}

/// Bytes of a state on the wire.
pub const WIRE_BYTES: usize = 40 * 8 + 32 * 16;

impl State {
    /// Appends the wire format.
    pub fn put(&self, to: &mut Vec<u8>) {
        let Self {
            x,
            sp,
            pc,
            nzcv,
            fpcr,
            fpsr,
            tpidr,
            v,
        } = self;
        let rest = [*sp, *pc, *nzcv, *fpcr, *fpsr, 0, 0, *tpidr, 0];
        for word in x.iter().chain(&rest) {
            to.extend_from_slice(&word.to_le_bytes());
        }
        for word in v {
            to.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads the wire format: the state and how its program ended.
    #[must_use]
    pub fn take(from: &[u8; WIRE_BYTES]) -> (Self, End) {
        let word = |i: usize| u64::from_le_bytes(chunk(from, 8 * i));
        let state = Self {
            x: std::array::from_fn(word),
            sp: word(31),
            pc: word(32),
            nzcv: word(33),
            fpcr: word(34),
            fpsr: word(35),
            tpidr: word(38),
            v: std::array::from_fn(|i| u128::from_le_bytes(chunk(from, 320 + 16 * i))),
        };
        (state, End::from_wire(word(36)))
    }

    /// Every register by name, where they differ: name, self, other.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<(String, u128, u128)> {
        self.named()
            .into_iter()
            .zip(other.named())
            .filter(|((_, a), (_, b))| a != b)
            .map(|((name, a), (_, b))| (name, a, b))
            .collect()
    }

    /// Registers by name, but for those that have no meaning after.
    #[must_use]
    pub fn named(&self) -> Vec<(String, u128)> {
        let numbered = |letter: char, i: usize| format!("{letter}{i}");
        let x = self.x.iter().enumerate();
        let mut all: Vec<_> = x
            .map(|(i, value)| (numbered('X', i), u128::from(*value)))
            .collect();
        let single = [
            ("SP", self.sp),
            ("PC", self.pc),
            ("NZCV", self.nzcv),
            ("FPCR", self.fpcr),
            ("FPSR", self.fpsr),
        ];
        all.extend(single.map(|(name, value)| (name.to_owned(), u128::from(value))));
        let v = self.v.iter().enumerate();
        all.extend(v.map(|(i, value)| (numbered('V', i), *value)));
        all
    }
}

fn chunk<const N: usize>(from: &[u8; WIRE_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&from[at..at + N]);
    bytes
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Signal(signal) => write!(f, "{signal:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_format_keeps_every_register() {
        let state = State {
            x: std::array::from_fn(|i| i as u64 + 1),
            sp: 100,
            pc: 101,
            nzcv: 102,
            fpcr: 103,
            fpsr: 104,
            tpidr: 105,
            v: std::array::from_fn(|i| 1 << (i + 64)),
        };
        let mut wire = Vec::new();
        state.put(&mut wire);
        let wire: [u8; WIRE_BYTES] = wire.try_into().unwrap();
        assert_eq!(State::take(&wire), (state, End::Done));
    }

    #[test]
    fn a_difference_is_named() {
        let a = State::default();
        let mut b = a;
        b.v[31] = 7;
        b.sp = 1;
        let names = [("SP".to_owned(), 0, 1), ("V31".to_owned(), 0, 7)];
        assert_eq!(a.differences(&b), names);
    }
}
