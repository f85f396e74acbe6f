//! Saving a GIC and building one from a saved state, which may come from an untrusted file.

use aarch64::VcpuId;
use aarch64::gic::BANKS;
use aarch64::gic::gicd::CTLR_ENABLE;
use aarch64::gic_state::{GicState, GicVcpuState};
use aarch64::machine::MAX_VCPUS;

use super::bank::{Bank, BankKind};
use super::cpu::{CpuInterface, Outputs};
use super::routes::Routes;
use super::{Cpu, Gic};

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

impl Gic {
    /// The architectural state.
    #[must_use]
    pub fn save(&self) -> GicState {
        let Self {
            forwards: _,
            spis,
            routes,
            cpus,
            ready: _,
            ready_banks: _,
            takers: _,
            touched: _,
            changed: _,
        } = self;
        GicState {
            ctlr: self.ctlr(),
            spis: spis.iter().map(Bank::state).collect(),
            routes: routes.state(),
            vcpus: cpus.iter().map(Cpu::save).collect(),
        }
    }
}

impl Cpu {
    fn save(&self) -> GicVcpuState {
        let Self {
            private,
            icc,
            best: _,
            outputs: _,
        } = self;
        GicVcpuState {
            private: private.state(),
            icc: icc.state(),
        }
    }

    fn from_state(vcpu: VcpuId, state: &GicVcpuState) -> Result<Self, InvalidGicState> {
        let GicVcpuState { private, icc } = state;
        Ok(Self {
            private: Bank::from_state(BankKind::Private, *private)
                .ok_or(InvalidGicState::Private(vcpu))?,
            icc: CpuInterface::from_state(*icc).ok_or(InvalidGicState::Icc(vcpu))?,
            best: None,
            outputs: Outputs::default(),
        })
    }
}

/// Every output that is high counts as changed.
impl TryFrom<&GicState> for Gic {
    type Error = InvalidGicState;

    fn try_from(state: &GicState) -> Result<Self, InvalidGicState> {
        let GicState {
            ctlr,
            spis,
            routes,
            vcpus,
        } = state;
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
        let banks = (1..).zip(spis).map(|(number, bank)| {
            Bank::from_state(BankKind::Spi, *bank).ok_or(InvalidGicState::Bank(number))
        });
        let cpus = (0..count)
            .map(VcpuId)
            .zip(vcpus)
            .map(|(vcpu, s)| Cpu::from_state(vcpu, s));
        let mut gic = Self::new(count);
        gic.forwards = *ctlr & CTLR_ENABLE != 0;
        gic.spis = banks.collect::<Result<_, _>>()?;
        gic.routes = Routes::from_state(count, routes).ok_or(InvalidGicState::Routes)?;
        gic.cpus = cpus.collect::<Result<_, _>>()?;
        gic.derive();
        Ok(gic)
    }
}
