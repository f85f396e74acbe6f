//! Saving a GIC and building one from a saved state, which may come from an untrusted file.

use aarch64::gic::gicd::CTLR_ENABLE;
use aarch64::gic_state::{BankKind, GicBank, GicState, GicVcpuState, InvalidGicState};

use super::bank::Bank;
use super::cpu::{CpuInterface, Outputs};
use super::routes::Routes;
use super::{Cpu, Gic};

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

    fn from_state(state: &GicVcpuState) -> Self {
        let GicVcpuState { private, icc } = state;
        Self {
            private: Bank::from_state(BankKind::Private, *private),
            icc: CpuInterface::from_state(*icc),
            best: None,
            outputs: Outputs::default(),
        }
    }
}

/// Every output that is high counts as changed.
impl TryFrom<&GicState> for Gic {
    type Error = InvalidGicState;

    fn try_from(state: &GicState) -> Result<Self, InvalidGicState> {
        let count = state.check()?;
        let GicState {
            ctlr,
            spis,
            routes,
            vcpus,
        } = state;
        let spi = |bank: &GicBank| Bank::from_state(BankKind::Spi, *bank);
        let mut gic = Self::new(count);
        gic.forwards = *ctlr & CTLR_ENABLE != 0;
        gic.spis = spis.iter().map(spi).collect();
        gic.routes = Routes::from_state(count, routes);
        gic.cpus = vcpus.iter().map(Cpu::from_state).collect();
        gic.derive();
        Ok(gic)
    }
}
