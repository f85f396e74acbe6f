//! The generic timers of EL1 (D12.2.4): when an output is high, and when it next will be.
//!
//! Models the `CompareValue` view, to which the `TVAL` registers are only another window. Event
//! streams are the CPU's business, not a timer's.

use crate::sysreg::Saved;
use crate::{Intid, machine};

/// `CNTx_CTL_EL0.ENABLE`
pub const CTL_ENABLE: u64 = 1 << 0;
/// `CNTx_CTL_EL0.IMASK`
pub const CTL_IMASK: u64 = 1 << 1;
/// `CNTx_CTL_EL0.ISTATUS`
pub const CTL_ISTATUS: u64 = 1 << 2;

/// Where one of a vCPU's timers is found: its registers and its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerSpec {
    /// Control register.
    pub ctl: Saved,
    /// Compare value register.
    pub cval: Saved,
    /// The PPI its output drives.
    pub intid: Intid,
}

/// Every timer of a vCPU.
pub const TIMERS: [TimerSpec; 2] = [
    TimerSpec {
        ctl: Saved::CntvCtlEl0,
        cval: Saved::CntvCvalEl0,
        intid: machine::VIRTUAL_TIMER_INTID,
    },
    TimerSpec {
        ctl: Saved::CntpCtlEl0,
        cval: Saved::CntpCvalEl0,
        intid: machine::PHYSICAL_TIMER_INTID,
    },
];

/// The registers of one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Timer {
    /// Control.
    pub ctl: u64,
    /// The counter value from which on the condition is met.
    pub cval: u64,
}

impl Timer {
    /// Whether the output is high at counter value `now`.
    #[must_use]
    pub fn output(self, now: u64) -> bool {
        self.drives() && now >= self.cval
    }

    /// The counter value, later than `now`, at which the output goes high by itself.
    #[must_use]
    pub fn deadline(self, now: u64) -> Option<u64> {
        (self.drives() && now < self.cval).then_some(self.cval)
    }

    fn drives(self) -> bool {
        self.ctl & (CTL_ENABLE | CTL_IMASK) == CTL_ENABLE
    }
}

/// Nanoseconds in `ticks` of a counter that runs at `frequency` Hz, rounded up and saturating, so
/// that who sleeps so long does not wake before the tick.
#[must_use]
pub fn nanoseconds(ticks: u64, frequency: u64) -> u64 {
    let nanos = (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(frequency.max(1)));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_deadline_follow_enable_mask_and_compare_value() {
        let timer = |ctl| Timer { ctl, cval: 100 };
        for (ctl, now, output, deadline) in [
            (0, 200, false, None),
            (CTL_ENABLE, 99, false, Some(100)),
            (CTL_ENABLE, 100, true, None),
            (CTL_ENABLE | CTL_ISTATUS, 100, true, None),
            (CTL_ENABLE | CTL_IMASK, 99, false, None),
            (CTL_ENABLE | CTL_IMASK, 101, false, None),
        ] {
            assert_eq!(timer(ctl).output(now), output, "ctl {ctl:#x} at {now}");
            assert_eq!(timer(ctl).deadline(now), deadline, "ctl {ctl:#x} at {now}");
        }
    }

    #[test]
    fn a_compare_value_of_all_ones_never_wraps() {
        let timer = Timer {
            ctl: CTL_ENABLE,
            cval: u64::MAX,
        };
        assert!(!timer.output(u64::MAX - 1));
        assert_eq!(nanoseconds(timer.cval, 1), u64::MAX);
    }

    #[test]
    fn nanoseconds_round_up() {
        assert_eq!(nanoseconds(1, 62_500_000), 16);
        assert_eq!(nanoseconds(1, 3), 333_333_334);
        assert_eq!(nanoseconds(0, 24_000_000), 0);
    }
}
