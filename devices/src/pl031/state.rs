//! What a snapshot holds of a PL031.

use super::registers::Registers;

/// The registers. The counter is saved as its distance from the wall clock, so that a guest that
/// slept in a file wakes to the right time. Any values are possible, so there is none to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pl031State {
    /// The counter minus the seconds of the wall clock.
    pub offset: u32,
    /// `RTCLR`.
    pub load: u32,
    /// `RTCMR`.
    pub matches: u32,
    /// `RTCIMSC`.
    pub irq_mask: bool,
    /// `RTCRIS`.
    pub irq_raw: bool,
    /// The counter when it was last compared with `matches`.
    pub compared: u32,
}

impl From<Registers> for Pl031State {
    fn from(live: Registers) -> Self {
        let Registers {
            offset,
            load,
            matches,
            irq_mask,
            irq_raw,
            compared,
        } = live;
        Self {
            offset,
            load,
            matches,
            irq_mask,
            irq_raw,
            compared,
        }
    }
}

impl From<Pl031State> for Registers {
    fn from(saved: Pl031State) -> Self {
        let Pl031State {
            offset,
            load,
            matches,
            irq_mask,
            irq_raw,
            compared,
        } = saved;
        Self {
            offset,
            load,
            matches,
            irq_mask,
            irq_raw,
            compared,
        }
    }
}
