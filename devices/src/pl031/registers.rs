//! The behaviour of a PL031, without locks, wires or a host.

use std::time::Duration;

use super::spec::{self, reg};

/// The registers. The counter is not one of them: it is the wall clock plus `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub offset: u32,
    pub load: u32,
    pub matches: u32,
    pub irq_mask: bool,
    pub irq_raw: bool,
    /// The counter when it was last compared with `matches`.
    pub compared: u32,
}

/// Whole seconds, as the 32-bit counter holds them.
fn seconds(wall: Duration) -> u32 {
    let bytes = wall.as_secs().to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

impl Registers {
    pub fn new(wall: Duration) -> Self {
        Self {
            offset: 0,
            load: 0,
            matches: 0,
            irq_mask: false,
            irq_raw: false,
            compared: seconds(wall),
        }
    }

    /// Level of the interrupt output.
    pub fn irq(&self) -> bool {
        self.irq_raw && self.irq_mask
    }

    /// Catches up with the clock: raises the interrupt if the counter has come to the match value
    /// since the last time. A wall clock that was set back meets it again later.
    pub fn advance(&mut self, wall: Duration) {
        let now = self.count(wall);
        let elapsed = now.wrapping_sub(self.compared);
        let until_match = self.matches.wrapping_sub(self.compared);
        let forward = elapsed < 1 << 31;
        if forward && 0 < until_match && until_match <= elapsed {
            self.irq_raw = true;
        }
        self.compared = now;
    }

    /// How long until the interrupt output rises, if it will.
    pub fn alarm(&self, wall: Duration) -> Option<Duration> {
        if !self.irq_mask || self.irq_raw {
            return None;
        }
        let secs = match self.matches.wrapping_sub(self.count(wall)) {
            0 => 1 << 32,
            n => u64::from(n),
        };
        Some(Duration::from_secs(secs) - Duration::from_nanos(u64::from(wall.subsec_nanos())))
    }

    pub fn read(&self, offset: u16, wall: Duration) -> u32 {
        match offset {
            reg::DR => self.count(wall),
            reg::MR => self.matches,
            reg::LR => self.load,
            reg::CR => spec::CR_START,
            reg::IMSC => u32::from(self.irq_mask),
            reg::RIS => u32::from(self.irq_raw),
            reg::MIS => u32::from(self.irq()),
            _ => spec::ID.register(offset).unwrap_or(0),
        }
    }

    pub fn write(&mut self, offset: u16, value: u32, wall: Duration) {
        match offset {
            reg::MR => self.matches = value,
            reg::LR => {
                self.load = value;
                self.offset = value.wrapping_sub(seconds(wall));
                self.compared = value;
            }
            reg::IMSC => self.irq_mask = value & spec::IRQ != 0,
            reg::ICR => {
                self.irq_raw &= value & spec::IRQ == 0;
                return;
            }
            _ => return,
        }
        // Setting the match to the present second, or the present to the match, is a match.
        if matches!(offset, reg::MR | reg::LR) {
            self.irq_raw |= self.matches == self.count(wall);
        }
    }

    fn count(&self, wall: Duration) -> u32 {
        seconds(wall).wrapping_add(self.offset)
    }
}
