//! What a snapshot holds of a PL061.

use super::registers::Registers;

/// The registers, one bit for each line. Any values are possible, so there is none to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Pl061State {
    /// What the outside drives. A key that was down when the state was saved stays down until it
    /// is released.
    pub input: u8,
    /// What the guest drives.
    pub output: u8,
    /// `GPIODIR`.
    pub direction: u8,
    /// `GPIOIS`.
    pub sense_level: u8,
    /// `GPIOIBE`.
    pub both_edges: u8,
    /// `GPIOIEV`.
    pub event_high: u8,
    /// `GPIOIE`.
    pub irq_enable: u8,
    /// Edges that were seen and not cleared.
    pub edges: u8,
    /// `GPIOAFSEL`.
    pub mode: u8,
}

impl From<Registers> for Pl061State {
    fn from(live: Registers) -> Self {
        let Registers {
            input,
            output,
            direction,
            sense_level,
            both_edges,
            event_high,
            irq_enable,
            edges,
            mode,
        } = live;
        Self {
            input,
            output,
            direction,
            sense_level,
            both_edges,
            event_high,
            irq_enable,
            edges,
            mode,
        }
    }
}

impl From<Pl061State> for Registers {
    fn from(saved: Pl061State) -> Self {
        let Pl061State {
            input,
            output,
            direction,
            sense_level,
            both_edges,
            event_high,
            irq_enable,
            edges,
            mode,
        } = saved;
        Self {
            input,
            output,
            direction,
            sense_level,
            both_edges,
            event_high,
            irq_enable,
            edges,
            mode,
        }
    }
}
