//! The CPU interface of one vCPU: masking, preemption and running priority, as functions of its
//! system registers alone.
//!
//! Priorities are 8 bits of which the upper five exist; a smaller number is more urgent. What is
//! active shows only in the two active-priority registers, one bit for each group priority.

use aarch64::gic::{CTLR_CBPR, CTLR_EOIMODE, CTLR_FIXED, IDLE_PRIORITY, MIN_BPR0, MIN_BPR1};
use aarch64::gic::{PRIORITY_MASK, SPURIOUS};
use aarch64::gic_state::IccState;

use super::groups::{Group, Groups};

/// The most urgent interrupt that a vCPU could be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    /// The interrupt.
    pub(super) intid: u32,
    /// Its priority.
    pub(super) priority: u8,
    /// Its group.
    pub(super) group: Group,
}

/// The interrupt inputs of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Outputs {
    /// Level of IRQ.
    pub irq: bool,
    /// Level of FIQ.
    pub fiq: bool,
}

/// A CPU interface.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuInterface {
    regs: IccState,
}

impl CpuInterface {
    /// An interface with these registers, which hold what they can.
    pub(super) fn from_state(regs: IccState) -> Self {
        Self { regs }
    }

    /// The registers.
    pub(super) fn state(&self) -> IccState {
        self.regs
    }

    /// Groups it takes interrupts of.
    pub(super) fn enabled(&self) -> Groups {
        Groups {
            group0: self.regs.igrpen0,
            group1: self.regs.igrpen1,
        }
    }

    /// Turns a group on or off.
    pub(super) fn set_enabled(&mut self, group: Group, on: bool) {
        match group {
            Group::Zero => self.regs.igrpen0 = on,
            Group::One => self.regs.igrpen1 = on,
        }
    }

    /// Whether `pending` is urgent enough to be signalled now: it passes the priority mask and its
    /// group priority is above what is running.
    pub(super) fn signals(&self, pending: Pending) -> bool {
        pending.priority < self.regs.pmr && self.group_priority(pending) < self.running_priority()
    }

    /// Levels of the outputs while `best` is the most urgent interrupt.
    pub(super) fn outputs(&self, best: Option<Pending>) -> Outputs {
        match best {
            Some(pending) if self.signals(pending) => Outputs {
                irq: pending.group == Group::One,
                fiq: pending.group == Group::Zero,
            },
            Some(_) | None => Outputs::default(),
        }
    }

    /// The part of the priority that counts for preemption, by the binary point of the group.
    fn group_priority(&self, pending: Pending) -> u8 {
        // The binary point of group 1 counts one bit higher than that of group 0.
        let bpr = match pending.group {
            Group::One if self.regs.ctlr & CTLR_CBPR == 0 => self.regs.bpr1 - 1,
            Group::One | Group::Zero => self.regs.bpr0,
        };
        let mask = 0xff_u32 << (bpr + 1);
        pending.priority & mask.to_le_bytes()[0]
    }

    /// `ICC_RPR_EL1`.
    pub(super) fn running_priority(&self) -> u8 {
        match (self.regs.ap0r0 | self.regs.ap1r0).trailing_zeros() {
            bit @ 0..32 => (bit as u8) << 3,
            _ => IDLE_PRIORITY,
        }
    }

    /// Takes note that `pending` is being handled.
    pub(super) fn activate(&mut self, pending: Pending) {
        let bit = 1 << (self.group_priority(pending) >> 3);
        *self.active_priorities(pending.group) |= bit;
    }

    /// Drops the most urgent active priority of a group: the handler said that it is done.
    pub(super) fn drop_priority(&mut self, group: Group) {
        let active = self.active_priorities(group);
        *active &= active.wrapping_sub(1);
    }

    /// `ICC_AP0R0_EL1` or `ICC_AP1R0_EL1`.
    pub(super) fn active_priorities(&mut self, group: Group) -> &mut u32 {
        match group {
            Group::Zero => &mut self.regs.ap0r0,
            Group::One => &mut self.regs.ap1r0,
        }
    }

    /// What `ICC_HPPIR<group>_EL1` reads while `best` is the most urgent interrupt: it regards
    /// neither the mask nor what is running.
    pub(super) fn highest_pending(best: Option<Pending>, group: Group) -> u32 {
        best.filter(|pending| pending.group == group)
            .map_or(SPURIOUS, |pending| pending.intid)
    }

    /// `ICC_PMR_EL1`.
    pub(super) fn priority_mask(&self) -> u8 {
        self.regs.pmr
    }

    /// Sets `ICC_PMR_EL1`.
    pub(super) fn set_priority_mask(&mut self, value: u8) {
        self.regs.pmr = value & PRIORITY_MASK;
    }

    /// `ICC_BPR<group>_EL1`.
    pub(super) fn binary_point(&self, group: Group) -> u8 {
        match group {
            Group::Zero => self.regs.bpr0,
            Group::One if self.regs.ctlr & CTLR_CBPR != 0 => (self.regs.bpr0 + 1).min(7),
            Group::One => self.regs.bpr1,
        }
    }

    /// Sets `ICC_BPR<group>_EL1`. With a common binary point, that of group 1 is read-only.
    pub(super) fn set_binary_point(&mut self, group: Group, value: u8) {
        match group {
            Group::Zero => self.regs.bpr0 = (value & 7).max(MIN_BPR0),
            Group::One if self.regs.ctlr & CTLR_CBPR != 0 => (),
            Group::One => self.regs.bpr1 = (value & 7).max(MIN_BPR1),
        }
    }

    /// `ICC_CTLR_EL1`.
    pub(super) fn control(&self) -> u32 {
        self.regs.ctlr | CTLR_FIXED
    }

    /// Sets `ICC_CTLR_EL1`.
    pub(super) fn set_control(&mut self, value: u32) {
        self.regs.ctlr = value & (CTLR_CBPR | CTLR_EOIMODE);
    }

    /// Whether the end of an interrupt leaves its deactivation to `ICC_DIR_EL1`.
    pub(super) fn split_eoi(&self) -> bool {
        self.regs.ctlr & CTLR_EOIMODE != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> CpuInterface {
        let mut cpu = CpuInterface::default();
        cpu.set_priority_mask(0xff);
        cpu.set_enabled(Group::One, true);
        cpu
    }

    fn group1(priority: u8) -> Pending {
        Pending {
            intid: 40,
            priority,
            group: Group::One,
        }
    }

    #[test]
    fn mask_is_exclusive() {
        let mut cpu = interface();
        cpu.set_priority_mask(0xa7);
        assert_eq!(cpu.priority_mask(), 0xa0);
        assert!(cpu.signals(group1(0x98)));
        assert!(!cpu.signals(group1(0xa0)));
    }

    #[test]
    fn lowest_priority_is_never_signalled() {
        assert!(
            !interface().signals(group1(0xf8)),
            "the mask cannot exceed 0xf8"
        );
    }

    #[test]
    fn binary_point_decides_preemption() {
        let mut cpu = interface();
        cpu.activate(group1(0x88));
        assert_eq!(cpu.running_priority(), 0x88);
        assert!(cpu.signals(group1(0x80)));
        cpu.drop_priority(Group::One);
        cpu.set_binary_point(Group::One, 4);
        cpu.activate(group1(0x88));
        assert_eq!(cpu.running_priority(), 0x80);
        assert!(!cpu.signals(group1(0x80)), "same group priority");
        assert!(cpu.signals(group1(0x78)));
    }

    #[test]
    fn binary_point_7_of_group_0_allows_no_preemption() {
        let mut cpu = interface();
        cpu.set_binary_point(Group::Zero, 7);
        let urgent = Pending {
            intid: 1,
            priority: 0,
            group: Group::Zero,
        };
        cpu.activate(Pending {
            priority: 0xf0,
            ..urgent
        });
        assert_eq!(cpu.running_priority(), 0);
        assert!(!cpu.signals(urgent));
    }

    #[test]
    fn common_binary_point_shows_in_group_1() {
        let mut cpu = interface();
        cpu.set_binary_point(Group::One, 6);
        cpu.set_control(u32::MAX);
        assert_eq!(cpu.control(), 0x8403);
        for (bpr0, bpr1) in [(2, 3), (6, 7), (7, 7)] {
            cpu.set_binary_point(Group::Zero, bpr0);
            assert_eq!(cpu.binary_point(Group::One), bpr1);
            cpu.set_binary_point(Group::One, 4);
            assert_eq!(cpu.binary_point(Group::One), bpr1, "read-only");
        }
        cpu.set_control(0);
        assert_eq!(cpu.binary_point(Group::One), 6);
    }

    #[test]
    fn binary_points_have_minima() {
        let mut cpu = interface();
        cpu.set_binary_point(Group::Zero, 0);
        cpu.set_binary_point(Group::One, 8);
        assert_eq!(
            (cpu.binary_point(Group::Zero), cpu.binary_point(Group::One)),
            (2, 3)
        );
    }

    #[test]
    fn priorities_nest_and_drop_in_order() {
        let mut cpu = interface();
        for priority in [0xc0, 0x80, 0x10] {
            cpu.activate(group1(priority));
        }
        for running in [0x10, 0x80, 0xc0, IDLE_PRIORITY] {
            assert_eq!(cpu.running_priority(), running);
            cpu.drop_priority(Group::One);
        }
    }
}
