//! The memory-mapped frames on the bus.

use std::sync::Arc;

use aarch64::Size;
use aarch64::machine::{GICD, GICR_BASE, GICR_STRIDE, GICV2M, Span};

use crate::bus::{Bus, BusError, MmioDevice};

use super::SharedGic;

/// The distributor on the bus.
struct Distributor(Arc<SharedGic>);

/// All redistributors on the bus.
struct Redistributors(Arc<SharedGic>);

/// The GICv2m frame on the bus.
struct V2m(Arc<SharedGic>);

impl SharedGic {
    /// Puts the distributor, the redistributors and the GICv2m frame where the machine has them.
    ///
    /// # Errors
    /// When something else is there.
    pub fn attach(self: &Arc<Self>, bus: &mut Bus) -> Result<(), BusError> {
        let size = self.with(|gic| u64::from(gic.vcpus())) * GICR_STRIDE;
        let redistributors = Span {
            base: GICR_BASE,
            size,
        };
        bus.insert("GIC distributor", GICD, Arc::new(Distributor(self.clone())))?;
        bus.insert("GICv2m frame", GICV2M, Arc::new(V2m(self.clone())))?;
        bus.insert(
            "GIC redistributors",
            redistributors,
            Arc::new(Redistributors(self.clone())),
        )
    }
}

impl MmioDevice for Distributor {
    fn read(&self, offset: u64, size: Size) -> u64 {
        self.0.with(|gic| gic.dist_read(offset, size))
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        self.0.with(|gic| gic.dist_write(offset, size, value));
    }
}

impl MmioDevice for Redistributors {
    fn read(&self, offset: u64, size: Size) -> u64 {
        self.0.with(|gic| gic.redist_read(offset, size))
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        self.0.with(|gic| gic.redist_write(offset, size, value));
    }
}

impl MmioDevice for V2m {
    fn read(&self, offset: u64, size: Size) -> u64 {
        self.0.with(|gic| gic.v2m_read(offset, size))
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        self.0.with(|gic| gic.v2m_write(offset, size, value));
    }
}
