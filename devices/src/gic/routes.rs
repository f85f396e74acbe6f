//! Where SPIs go: the routing registers, and the same decoded for speed.

use aarch64::VcpuId;
use aarch64::gic::{BANK, BANKS, END_OF_SPIS, IROUTER_ANY, IROUTER_MASK};
use aarch64::machine::SPIS;

/// Who an SPI is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// This vCPU.
    Vcpu(VcpuId),
    /// Any one that takes part (1 of N).
    Any,
    /// An affinity that no vCPU has: the interrupt stays pending.
    Nobody,
}

/// `GICD_IROUTER` of all SPIs. Banks count from 1 here, as in the registers.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    vcpus: u16,
    /// The registers, from INTID 32 on.
    routers: Vec<u64>,
    /// For each vCPU, bits of the SPIs that are routed to it.
    to_vcpu: Vec<[u32; BANKS]>,
    /// Bits of the SPIs that any vCPU may take.
    to_any: [u32; BANKS],
}

impl Routes {
    /// All SPIs go to vCPU 0.
    pub(super) fn new(vcpus: u16) -> Self {
        let mut routes = Self {
            vcpus,
            routers: vec![0; usize::from(SPIS)],
            to_vcpu: vec![[0; BANKS]; usize::from(vcpus)],
            to_any: [0; BANKS],
        };
        for intid in BANK..END_OF_SPIS {
            routes.mark(intid, true);
        }
        routes
    }

    /// The routes of a saved state, one for each SPI.
    pub(super) fn from_state(vcpus: u16, routers: &[u64]) -> Self {
        let mut routes = Self::new(vcpus);
        for (intid, router) in (BANK..).zip(routers) {
            routes.set_router(intid, *router);
        }
        routes
    }

    /// The registers, from INTID 32 on.
    pub(super) fn state(&self) -> Vec<u64> {
        self.routers.clone()
    }

    /// The register of `intid`; zero for what is no SPI.
    pub(super) fn router(&self, intid: u32) -> u64 {
        self.slot(intid).map_or(0, |slot| self.routers[slot])
    }

    /// Sets the register of `intid`, if it is an SPI.
    pub(super) fn set_router(&mut self, intid: u32, value: u64) {
        if let Some(slot) = self.slot(intid) {
            self.mark(intid, false);
            self.routers[slot] = value & IROUTER_MASK;
            self.mark(intid, true);
        }
    }

    /// Who `intid` is for.
    pub(super) fn target(&self, intid: u32) -> Target {
        let router = self.router(intid);
        if router & IROUTER_ANY != 0 {
            return Target::Any;
        }
        VcpuId::from_affinity(router, self.vcpus).map_or(Target::Nobody, Target::Vcpu)
    }

    /// Interrupts of a bank that are routed to `vcpu`.
    pub(super) fn to_vcpu(&self, vcpu: VcpuId, bank: usize) -> u32 {
        self.to_vcpu[vcpu.index()][bank]
    }

    /// Interrupts of a bank that any vCPU may take.
    pub(super) fn to_any(&self, bank: usize) -> u32 {
        self.to_any[bank]
    }

    fn slot(&self, intid: u32) -> Option<usize> {
        (BANK..END_OF_SPIS)
            .contains(&intid)
            .then(|| (intid - BANK) as usize)
    }

    /// Enters `intid` under its target, or takes it out.
    fn mark(&mut self, intid: u32, there: bool) {
        let bank = (intid / BANK) as usize;
        let word = match self.target(intid) {
            Target::Vcpu(vcpu) => &mut self.to_vcpu[vcpu.index()][bank],
            Target::Any => &mut self.to_any[bank],
            Target::Nobody => return,
        };
        let bit = 1 << (intid % BANK);
        *word = if there { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spi_has_one_place() {
        let mut routes = Routes::new(20);
        let of = |routes: &Routes| {
            let vcpus: Vec<u16> = (0..20)
                .filter(|v| routes.to_vcpu(VcpuId(*v), 3) & 2 != 0)
                .collect();
            (vcpus, routes.to_any(3) & 2 != 0)
        };
        assert_eq!(of(&routes), (vec![0], false));
        routes.set_router(97, 0x103);
        assert_eq!(of(&routes), (vec![19], false));
        routes.set_router(97, 0x104);
        assert_eq!(of(&routes), (vec![], false), "no such vCPU");
        routes.set_router(97, u64::MAX);
        assert_eq!(of(&routes), (vec![], true));
        assert_eq!(routes.router(97), 0x80ff_ffff);
    }

    #[test]
    fn other_interrupts_have_no_route() {
        let mut routes = Routes::new(1);
        for intid in [0, 31, 256, 1023, u32::MAX] {
            routes.set_router(intid, 5);
            assert_eq!(routes.router(intid), 0);
        }
    }
}
