//! Saved state of a GICv3: what the architecture's registers and the input wires hold, and nothing
//! that can be derived from them.
//!
//! The layout follows the register banks, so that it converts to and from a kernel's GIC register
//! by register. A file may hold anything; whoever builds a live GIC from it calls
//! [`GicState::check`] first.

use crate::gic::gicd::CTLR_ENABLE;
use crate::gic::{
    self, BANKS, CTLR_CBPR, CTLR_EOIMODE, IROUTER_MASK, MIN_BPR0, MIN_BPR1, PRIORITY_MASK, SGIS,
};
use crate::ids::VcpuId;
use crate::machine::{MAX_VCPUS, SPIS};

/// A whole GIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicState {
    /// The writable bit of `GICD_CTLR`, [`gic::gicd::CTLR_ENABLE`].
    pub ctlr: u32,
    /// SPIs: element n is INTIDs `32 * (n + 1)` to `32 * (n + 1) + 31`. [`BANKS`] - 1 elements.
    pub spis: Vec<GicBank>,
    /// `GICD_IROUTER` of INTIDs 32 to 255, [`SPIS`] elements.
    pub routes: Vec<u64>,
    /// What belongs to one vCPU each.
    pub vcpus: Vec<GicVcpuState>,
}

/// The redistributor and CPU interface of one vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicVcpuState {
    /// SGIs and PPIs.
    pub private: GicBank,
    /// System registers.
    pub icc: IccState,
}

/// 32 interrupts, one bit or byte for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GicBank {
    /// `IGROUPR`: set for group 1.
    pub group: u32,
    /// `ISENABLER`.
    pub enabled: u32,
    /// Latched pending: an edge, an SGI or a write to `ISPENDR` not yet taken. For a
    /// level-sensitive interrupt `ISPENDR` reads this or the wire.
    pub latch: u32,
    /// Levels of the input wires.
    pub level: u32,
    /// `ISACTIVER`.
    pub active: u32,
    /// The upper bits of `ICFGR`: set for edge-triggered.
    pub edge: u32,
    /// `IPRIORITYR`.
    pub priority: [u8; gic::BANK as usize],
}

/// A CPU interface's system registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IccState {
    /// `ICC_PMR_EL1`.
    pub pmr: u8,
    /// `ICC_BPR0_EL1`.
    pub bpr0: u8,
    /// `ICC_BPR1_EL1`, its own value also while `ICC_CTLR_EL1.CBPR` hides it.
    pub bpr1: u8,
    /// The writable bits of `ICC_CTLR_EL1`: CBPR and EOImode.
    pub ctlr: u32,
    /// `ICC_IGRPEN0_EL1`.
    pub igrpen0: bool,
    /// `ICC_IGRPEN1_EL1`.
    pub igrpen1: bool,
    /// `ICC_AP0R0_EL1`.
    pub ap0r0: u32,
    /// `ICC_AP1R0_EL1`.
    pub ap1r0: u32,
}

impl Default for IccState {
    /// The values at reset.
    fn default() -> Self {
        Self {
            pmr: 0,
            bpr0: MIN_BPR0,
            bpr1: MIN_BPR1,
            ctlr: 0,
            igrpen0: false,
            igrpen1: false,
            ap0r0: 0,
            ap1r0: 0,
        }
    }
}

/// Which 32 interrupts a bank holds; it decides what its registers can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BankKind {
    /// SGIs (always edge-triggered, no wire) and PPIs (always level-sensitive).
    Private,
    /// SPIs.
    Spi,
}

impl BankKind {
    /// Interrupts that are SGIs.
    #[must_use]
    pub const fn sgis(self) -> u32 {
        match self {
            Self::Private => SGIS,
            Self::Spi => 0,
        }
    }

    /// Interrupts that a guest may choose to be edge-triggered or level-sensitive.
    #[must_use]
    pub const fn configurable(self) -> u32 {
        match self {
            Self::Private => 0,
            Self::Spi => u32::MAX,
        }
    }

    /// A bank at reset: all in group 1, level-sensitive and off but for SGIs.
    #[must_use]
    pub fn at_reset(self) -> GicBank {
        GicBank {
            group: u32::MAX,
            enabled: self.sgis(),
            edge: self.sgis(),
            ..GicBank::default()
        }
    }

    /// Whether the registers of `bank` hold what such a bank can.
    #[must_use]
    pub fn allows(self, bank: &GicBank) -> bool {
        let GicBank {
            group: _,
            enabled: _,
            latch: _,
            level,
            active: _,
            edge,
            priority,
        } = bank;
        edge & !self.configurable() == self.sgis()
            && level & self.sgis() == 0
            && priority.iter().all(|p| p & !PRIORITY_MASK == 0)
    }
}

impl IccState {
    /// Whether every register holds what it can.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        let Self {
            pmr,
            bpr0,
            bpr1,
            ctlr,
            igrpen0: _,
            igrpen1: _,
            ap0r0: _,
            ap1r0: _,
        } = self;
        pmr & !PRIORITY_MASK == 0
            && (MIN_BPR0..=7).contains(bpr0)
            && (MIN_BPR1..=7).contains(bpr1)
            && ctlr & !(CTLR_CBPR | CTLR_EOIMODE) == 0
    }
}

/// A saved state that no GIC can have been in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGicState {
    /// The number of vCPUs.
    #[error("the GIC state has {0} vCPUs, not 1 to {MAX_VCPUS}")]
    Vcpus(usize),
    /// The number of vCPUs is possible, but not that of this machine.
    #[error("the GIC state has {found} vCPUs, the machine has {expected}")]
    OtherVcpus {
        /// In the state.
        found: u16,
        /// In the machine.
        expected: u16,
    },
    /// `GICD_CTLR`.
    #[error("the GIC state's GICD_CTLR has reserved bits: {0:#x}")]
    Control(u32),
    /// The number of banks.
    #[error("the GIC state has {0} banks of SPIs")]
    Banks(usize),
    /// A bank of SPIs.
    #[error("bank {0} of the GIC state's SPIs has bits that cannot be set")]
    Bank(usize),
    /// The routing registers.
    #[error("the GIC state's routes are too few, too many or have reserved bits")]
    Routes,
    /// A vCPU's SGIs and PPIs.
    #[error("the GIC state's private interrupts of {0} have bits that cannot be set")]
    Private(VcpuId),
    /// A vCPU's system registers.
    #[error("the GIC state's ICC registers of {0} have values that they cannot hold")]
    Icc(VcpuId),
}

impl GicState {
    /// The state at reset for `vcpus` vCPUs, all wires low.
    #[must_use]
    pub fn at_reset(vcpus: u16) -> Self {
        let vcpu = GicVcpuState {
            private: BankKind::Private.at_reset(),
            icc: IccState::default(),
        };
        Self {
            ctlr: 0,
            spis: vec![BankKind::Spi.at_reset(); BANKS - 1],
            routes: vec![0; usize::from(SPIS)],
            vcpus: vec![vcpu; usize::from(vcpus)],
        }
    }

    /// How many vCPUs the state is for, if a GIC can be in it.
    ///
    /// # Errors
    /// What is impossible.
    pub fn check(&self) -> Result<u16, InvalidGicState> {
        let Self {
            ctlr,
            spis,
            routes,
            vcpus,
        } = self;
        let count = match u16::try_from(vcpus.len()) {
            Ok(count @ 1..=MAX_VCPUS) => count,
            _ => return Err(InvalidGicState::Vcpus(vcpus.len())),
        };
        if ctlr & !CTLR_ENABLE != 0 {
            return Err(InvalidGicState::Control(*ctlr));
        }
        if spis.len() != BANKS - 1 {
            return Err(InvalidGicState::Banks(spis.len()));
        }
        if let Some(at) = spis.iter().position(|bank| !BankKind::Spi.allows(bank)) {
            return Err(InvalidGicState::Bank(at + 1));
        }
        if routes.len() != usize::from(SPIS) || routes.iter().any(|r| r & !IROUTER_MASK != 0) {
            return Err(InvalidGicState::Routes);
        }
        for (id, GicVcpuState { private, icc }) in (0..count).map(VcpuId).zip(vcpus) {
            if !BankKind::Private.allows(private) {
                return Err(InvalidGicState::Private(id));
            }
            if !icc.is_possible() {
                return Err(InvalidGicState::Icc(id));
            }
        }
        Ok(count)
    }

    /// As [`GicState::check`], for a machine of `expected` vCPUs.
    ///
    /// # Errors
    /// What is impossible.
    pub fn check_for(&self, expected: u16) -> Result<(), InvalidGicState> {
        match self.check()? {
            found if found == expected => Ok(()),
            found => Err(InvalidGicState::OtherVcpus { found, expected }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reset_state_is_possible() {
        assert_eq!(GicState::at_reset(3).check(), Ok(3));
        assert_eq!(GicState::at_reset(MAX_VCPUS).check_for(MAX_VCPUS), Ok(()));
        let refused = InvalidGicState::OtherVcpus {
            found: 2,
            expected: 3,
        };
        assert_eq!(GicState::at_reset(2).check_for(3), Err(refused));
    }

    #[test]
    fn impossible_states_are_refused_by_name() {
        let refuse = |change: fn(&mut GicState)| {
            let mut state = GicState::at_reset(2);
            change(&mut state);
            state.check().unwrap_err()
        };
        use InvalidGicState::{Bank, Banks, Control, Icc, Private, Routes, Vcpus};
        assert_eq!(refuse(|s| s.vcpus.clear()), Vcpus(0));
        assert_eq!(refuse(|s| s.ctlr = 1), Control(1));
        assert_eq!(refuse(|s| s.spis.truncate(5)), Banks(5));
        assert_eq!(refuse(|s| s.spis[6].priority[31] = 4), Bank(7));
        assert_eq!(refuse(|s| s.spis[0].priority[1] = 1), Bank(1));
        assert_eq!(refuse(|s| s.routes[0] = 1 << 30), Routes);
        assert_eq!(refuse(|s| s.routes[0] = 1 << 32), Routes);
        assert_eq!(refuse(|s| s.routes.truncate(223)), Routes);
        assert_eq!(refuse(|s| s.vcpus[1].private.edge = 0), Private(VcpuId(1)));
        assert_eq!(
            refuse(|s| s.vcpus[1].private.edge |= 1 << 27),
            Private(VcpuId(1))
        );
        assert_eq!(refuse(|s| s.vcpus[1].private.level = 1), Private(VcpuId(1)));
        assert_eq!(refuse(|s| s.vcpus[0].icc.pmr = 7), Icc(VcpuId(0)));
        assert_eq!(refuse(|s| s.vcpus[0].icc.bpr1 = 2), Icc(VcpuId(0)));
    }
}
