//! Registers of the PL061, chapter 3 of its manual. Each is 8 bits: one for each line.

use crate::primecell::PeriphId;

/// Revision r1p0.
pub(crate) const ID: PeriphId = PeriphId {
    part: 0x061,
    revision: 0,
};

/// Lines.
pub(crate) const LINES: u8 = 8;

/// Register offsets (table 3-1).
pub(crate) mod reg {
    /// The data register fills everything up to here: bits 9:2 of the address are the mask of the
    /// lines that an access is about.
    pub(crate) const DATA_LAST: u16 = 0x3fc;
    pub(crate) const DIR: u16 = 0x400;
    pub(crate) const IS: u16 = 0x404;
    pub(crate) const IBE: u16 = 0x408;
    pub(crate) const IEV: u16 = 0x40c;
    pub(crate) const IE: u16 = 0x410;
    pub(crate) const RIS: u16 = 0x414;
    pub(crate) const MIS: u16 = 0x418;
    pub(crate) const IC: u16 = 0x41c;
    pub(crate) const AFSEL: u16 = 0x420;
}
