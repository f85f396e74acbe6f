//! Registers of the PL031, chapter 3 of its manual.

use crate::primecell::PeriphId;

/// Revision r1p3.
pub(crate) const ID: PeriphId = PeriphId {
    part: 0x031,
    revision: 0,
};

/// Register offsets (table 3-1).
pub(crate) mod reg {
    pub(crate) const DR: u16 = 0x00;
    pub(crate) const MR: u16 = 0x04;
    pub(crate) const LR: u16 = 0x08;
    pub(crate) const CR: u16 = 0x0c;
    pub(crate) const IMSC: u16 = 0x10;
    pub(crate) const RIS: u16 = 0x14;
    pub(crate) const MIS: u16 = 0x18;
    pub(crate) const ICR: u16 = 0x1c;
}

/// `RTCCR`: the clock runs.
pub(crate) const CR_START: u32 = 1;
/// The one interrupt, in `RTCIMSC`, `RTCRIS`, `RTCMIS` and `RTCICR`.
pub(crate) const IRQ: u32 = 1;
