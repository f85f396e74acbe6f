//! Names for numbers that are easily confused.

use std::fmt;

/// Index of a vCPU in its VM, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u16);

impl VcpuId {
    /// The index as a `usize`, for arrays with one element per vCPU.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Affinity bits of `MPIDR_EL1` for this vCPU: Aff0 = n % 16, Aff1 = n / 16 (as KVM's GICv3
    /// numbers them, so that one SGI target list reaches a whole cluster). Without the RES1 bit 31.
    #[must_use]
    pub fn affinity(self) -> u64 {
        let n = u64::from(self.0);
        (n % 16) | ((n / 16) << 8)
    }

    /// The vCPU whose affinity (Aff3 in bits 39:32, Aff2..Aff0 in bits 23:0) this is, among `count`.
    #[must_use]
    pub fn from_affinity(aff: u64, count: u16) -> Option<Self> {
        if aff & !0xff_00ff_ffff != 0 || aff & 0xff != aff & 0xf || aff >> 16 != 0 {
            return None;
        }
        let n = u16::try_from((aff >> 8) * 16 + (aff & 0xf)).ok()?;
        (n < count).then_some(Self(n))
    }
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpu{}", self.0)
    }
}

/// A GIC interrupt number: SGI 0 to 15, PPI 16 to 31, SPI 32 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Intid(pub u32);

impl Intid {
    /// The first SPI.
    pub const FIRST_SPI: u32 = 32;

    /// Interrupt of SPI number `n` (0 to 959), as device trees count them.
    #[must_use]
    pub const fn spi(n: u16) -> Self {
        Self(Self::FIRST_SPI + n as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_round_trips_for_every_vcpu() {
        for n in 0..123 {
            let id = VcpuId(n);
            assert_eq!(VcpuId::from_affinity(id.affinity(), 123), Some(id));
            assert_eq!(VcpuId::from_affinity(id.affinity(), n), None);
        }
        assert_eq!(VcpuId::from_affinity(0x10, 123), None);
        assert_eq!(VcpuId::from_affinity(1 << 32, 123), None);
    }
}
