//! The two interrupt groups. With one security state, group 0 is signalled as FIQ and group 1 as
//! IRQ.

/// One of the two groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// Signalled as FIQ.
    Zero,
    /// Signalled as IRQ.
    One,
}

/// A set of groups, such as those that are enabled somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Groups {
    pub(super) group0: bool,
    pub(super) group1: bool,
}

impl Groups {
    /// Group 0 alone.
    pub(super) const ZERO: Self = Self {
        group0: true,
        group1: false,
    };
    /// Group 1 alone.
    pub(super) const ONE: Self = Self {
        group0: false,
        group1: true,
    };
    /// Both groups.
    pub(super) const BOTH: Self = Self {
        group0: true,
        group1: true,
    };

    /// The interrupts of a bank that belong to one of these groups, given which are in group 1.
    pub(super) const fn select(self, group1: u32) -> u32 {
        (if self.group1 { group1 } else { 0 }) | (if self.group0 { !group1 } else { 0 })
    }
}
