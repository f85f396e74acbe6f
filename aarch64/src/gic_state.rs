//! Saved state of a GICv3: what the architecture's registers and the input wires hold, and nothing
//! that can be derived from them.
//!
//! The layout follows the register banks, so that it converts to and from a kernel's GIC register
//! by register. A file may hold anything; whoever builds a live GIC from it checks it.

use crate::gic;

/// A whole GIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GicState {
    /// The writable bit of `GICD_CTLR`, [`gic::gicd::CTLR_ENABLE`].
    pub ctlr: u32,
    /// SPIs: element n is INTIDs `32 * (n + 1)` to `32 * (n + 1) + 31`. [`gic::BANKS`] - 1 elements.
    pub spis: Vec<GicBank>,
    /// `GICD_IROUTER` of INTIDs 32 to 991, [`machine::SPIS`](crate::machine::SPIS) elements.
    pub routes: Vec<u64>,
    /// What belongs to one vCPU each.
    pub vcpus: Vec<GicVcpuState>,
}

/// The redistributor and CPU interface of one vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
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
            bpr0: gic::MIN_BPR0,
            bpr1: gic::MIN_BPR1,
            ctlr: 0,
            igrpen0: false,
            igrpen1: false,
            ap0r0: 0,
            ap1r0: 0,
        }
    }
}
