//! The virtual timer without an interrupt controller in the host: who knows that its output is high.
//! Pure.
//!
//! The timer itself runs in the processor. When its output goes high while the guest runs, the
//! framework ends the run once and masks the timer; until it is unmasked there are no more of these
//! exits. The guest makes the output low again without any exit, by writing to the timer's registers.
//! The VMM's interrupt controller wants to know of both, and in time: before the VMM acts on another
//! exit, since that may be the guest asking the controller which interrupts are pending.
//!
//! So the timer is masked exactly while the VMM believes that the output is high:
//!
//! | masked | output | what to do |
//! |--------|--------|------------|
//! | no     | low    | nothing: the framework tells when it goes high |
//! | no     | high   | mask, and tell the VMM: it may have seen the output before the framework did |
//! | yes    | high   | nothing: the VMM knows; unmasked, every run would end at once |
//! | yes    | low    | unmask, or there will be no more interrupts, and tell the VMM |

/// What to do about the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Mask it, and have the VMM look at it.
    Rose,
    /// Unmask it, and have the VMM look at it.
    Fell,
}

/// Whether the timer is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VirtualTimer {
    masked: bool,
}

impl VirtualTimer {
    /// Whether it is masked.
    #[must_use]
    pub fn is_masked(self) -> bool {
        self.masked
    }

    /// The framework masked it.
    pub fn fired(&mut self) {
        self.masked = true;
    }

    /// Compares what the VMM believes with the output as it is.
    pub fn look(&mut self, output: bool) -> Option<Change> {
        let change = match (self.masked, output) {
            (false, false) | (true, true) => None,
            (false, true) => Some(Change::Rose),
            (true, false) => Some(Change::Fell),
        };
        self.masked = output;
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_masked_while_its_output_is_known_to_be_high() {
        let mut timer = VirtualTimer::default();
        assert_eq!(timer.look(false), None);
        timer.fired();
        assert_eq!(timer.look(true), None);
        assert_eq!(timer.look(false), Some(Change::Fell));
        assert!(!timer.is_masked());
        assert_eq!(timer.look(true), Some(Change::Rose));
        assert_eq!(timer.look(true), None);
        assert!(timer.is_masked());
    }
}
