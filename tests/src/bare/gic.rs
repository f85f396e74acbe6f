//! The interrupt controller as a bare-metal program drives it (Arm IHI 0069).

use aarch64::gic::{Icc, gicd, gicr};
use aarch64::machine::{GICD, GICR_BASE, GICR_STRIDE};
use aarch64::{Intid, Size, VcpuId};

use super::asm::{Asm, X};

const CTLR: u64 = 0;
const IGROUPR: u64 = 0x80;
const ISENABLER: u64 = 0x100;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
/// Affinity routing, and interrupts forwarded. The machine's redistributors never sleep.
const CTLR_ON: u64 = 1 << 4 | gicd::CTLR_ENABLE as u64;
/// A priority in the middle.
pub const PRIORITY: u64 = 0x80;

/// How an interrupt is triggered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// As long as its input is high.
    Level,
    /// When its input goes high.
    Edge,
}

/// All of them spoil X10 and X11.
impl Asm {
    /// Turns on the distributor, and the redistributor and CPU interface of `vcpu`, which executes
    /// this, with its SGIs and PPIs; lets every priority through.
    pub fn gic_on(&mut self, vcpu: VcpuId) -> &mut Self {
        let (value, base) = (X(10), X(11));
        self.mov(base, GICD.base.0).mov(value, CTLR_ON);
        self.store(Size::W, value, base, CTLR);
        let frame = GICR_BASE.0 + GICR_STRIDE * u64::from(vcpu.0);
        self.mov(base, frame + gicr::SGI_FRAME)
            .mov(value, 0xffff_ffff);
        self.store(Size::W, value, base, IGROUPR);
        self.store(Size::W, value, base, ISENABLER);
        for (reg, bits) in [(Icc::Sre, 1), (Icc::Pmr, 0xff), (Icc::Igrpen1, 1)] {
            self.mov(value, bits).msr(reg.sysreg(), value);
        }
        self.isb()
    }

    /// Turns on an SPI that goes to the vCPU with affinity 0.
    pub fn spi_on(&mut self, spi: Intid, trigger: Trigger) -> &mut Self {
        let (value, base) = (X(10), X(11));
        let (bank, bit) = (u64::from(spi.0 / 32), spi.0 % 32);
        let half = u64::from(spi.0 / 16);
        let edge = match trigger {
            Trigger::Level => 0,
            Trigger::Edge => 2 << (2 * (spi.0 % 16)),
        };
        self.mov(base, GICD.base.0);
        self.mov(value, edge)
            .store(Size::W, value, base, ICFGR + 4 * half);
        self.mov(value, PRIORITY);
        self.store(Size::B, value, base, IPRIORITYR + u64::from(spi.0));
        self.mov(value, 0xffff_ffff);
        self.store(Size::W, value, base, IGROUPR + 4 * bank);
        self.mov(base, GICD.base.0 + gicd::IROUTER);
        self.store(Size::D, X(31), base, 8 * u64::from(spi.0));
        self.mov(base, GICD.base.0).mov(value, 1 << bit);
        self.store(Size::W, value, base, ISENABLER + 4 * bank)
    }

    /// Sends an SGI to the vCPU with this Aff0.
    pub fn send_sgi(&mut self, sgi: Intid, aff0: u16) -> &mut Self {
        let value = X(10);
        self.mov(value, u64::from(sgi.0) << 24 | 1 << aff0);
        self.msr(Icc::Sgi1r.sysreg(), value).isb()
    }

    /// A handler that takes an interrupt, reports its INTID, ends it and returns. It spoils X29.
    pub fn take_irq_and_report(&mut self) -> &mut Self {
        let intid = X(29);
        self.mrs(intid, Icc::Iar1.sysreg()).report(intid);
        self.msr(Icc::Eoir1.sysreg(), intid).isb().eret()
    }
}
