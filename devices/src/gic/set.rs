//! A small set of vCPUs.

use aarch64::VcpuId;
use aarch64::machine::MAX_VCPUS;

const _: () = assert!(MAX_VCPUS <= 128, "one bit for each vCPU");

/// A set of vCPUs, one bit for each.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VcpuSet(u128);

impl VcpuSet {
    /// Adds a vCPU.
    pub fn insert(&mut self, vcpu: VcpuId) {
        self.0 |= 1_u128.checked_shl(u32::from(vcpu.0)).unwrap_or(0);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }
}

/// Takes the members out, lowest first.
impl Iterator for VcpuSet {
    type Item = VcpuId;

    fn next(&mut self) -> Option<VcpuId> {
        if self.0 == 0 {
            return None;
        }
        let lowest = VcpuId(self.0.trailing_zeros() as u16);
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

impl FromIterator<VcpuId> for VcpuSet {
    fn from_iter<I: IntoIterator<Item = VcpuId>>(vcpus: I) -> Self {
        let mut set = Self::default();
        vcpus.into_iter().for_each(|vcpu| set.insert(vcpu));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_out_once_and_in_order() {
        let mut set: VcpuSet = [7, 122, 0, 7].map(VcpuId).into_iter().collect();
        assert_eq!(set.by_ref().collect::<Vec<_>>(), [0, 7, 122].map(VcpuId));
        assert!(set.is_empty());
    }
}
