//! The redistributors' frames: one pair of 64 KiB for each vCPU, in the order of the vCPUs.

use aarch64::gic::gicr::{IIDR, PIDR0_VALUE, SGI_FRAME, TYPER, TYPER_LAST};
use aarch64::gic::{BankAccess, IIDR_VALUE, id_register};
use aarch64::machine::GICR_STRIDE;
use aarch64::{Size, VcpuId};

use super::Gic;

impl Gic {
    /// A guest's read at `offset` from the first redistributor.
    #[must_use]
    pub fn redist_read(&self, offset: u64, size: Size) -> u64 {
        match self.redistributor(offset) {
            Some(vcpu) => self.read_redistributor(vcpu, offset % GICR_STRIDE, size),
            None => 0,
        }
    }

    /// A guest's write at `offset` from the first redistributor.
    pub fn redist_write(&mut self, offset: u64, size: Size, value: u64) {
        let Some(vcpu) = self.redistributor(offset) else {
            return;
        };
        if let Some(at) = private_access(offset % GICR_STRIDE, size) {
            self.cpus[vcpu.index()].private.write(at, value as u32);
            self.touched.insert(vcpu);
            self.settle();
        }
    }

    /// Whose redistributor `offset` lies in.
    fn redistributor(&self, offset: u64) -> Option<VcpuId> {
        let index = u16::try_from(offset / GICR_STRIDE).ok()?;
        (index < self.vcpus()).then_some(VcpuId(index))
    }

    fn read_redistributor(&self, vcpu: VcpuId, offset: u64, size: Size) -> u64 {
        let cpu = &self.cpus[vcpu.index()];
        if let Some(at) = private_access(offset, size) {
            return cpu.private.read(at).into();
        }
        const TYPER_UPPER: u64 = TYPER + 4;
        match (offset, size) {
            (TYPER, Size::D) => self.typer(vcpu),
            (TYPER, Size::W) => self.typer(vcpu) & Size::W.mask(),
            (TYPER_UPPER, Size::W) => self.typer(vcpu) >> 32,
            (IIDR, Size::W) => IIDR_VALUE.into(),
            (_, Size::W) => id_register(offset, PIDR0_VALUE)
                .or_else(|| id_register(offset.wrapping_sub(SGI_FRAME), PIDR0_VALUE))
                .unwrap_or(0)
                .into(),
            (_, Size::B | Size::H | Size::D) => 0,
        }
    }

    /// `GICR_TYPER`: affinity, number, and whether this is the last one; nothing optional.
    fn typer(&self, vcpu: VcpuId) -> u64 {
        let last = vcpu.index() + 1 == self.cpus.len();
        vcpu.affinity() << 32 | u64::from(vcpu.0) << 8 | if last { TYPER_LAST } else { 0 }
    }
}

/// The access to the SGIs' and PPIs' registers that this is.
fn private_access(offset: u64, size: Size) -> Option<BankAccess> {
    let at = BankAccess::decode(offset.checked_sub(SGI_FRAME)?, size)?;
    (at.bank == 0).then_some(at)
}
