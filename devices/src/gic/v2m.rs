//! The GICv2m frame: a device's MSI is a write of an INTID that raises that SPI (Arm SBSA,
//! appendix "GICv2m architecture").

use aarch64::gic::IIDR_VALUE;
use aarch64::gic::v2m::{IIDR, MSI_TYPER, SETSPI};
use aarch64::machine::GICV2M_SPIS;
use aarch64::{Intid, Size};

use super::Gic;

const FIRST: u32 = Intid::spi(GICV2M_SPIS.0).0;
const COUNT: u32 = GICV2M_SPIS.1 as u32;

impl Gic {
    /// A read at `offset` of the GICv2m frame.
    #[must_use]
    pub fn v2m_read(&self, offset: u64, size: Size) -> u64 {
        let value = match (offset, size) {
            (MSI_TYPER, Size::W) => FIRST << 16 | COUNT,
            (IIDR, Size::W) => IIDR_VALUE,
            _ => 0,
        };
        value.into()
    }

    /// A write at `offset` of the GICv2m frame, by a guest or as a device's MSI.
    pub fn v2m_write(&mut self, offset: u64, size: Size, value: u64) {
        let intid = match (offset, size) {
            (SETSPI, Size::H | Size::W) => (value & size.mask()) as u32,
            _ => return,
        };
        if (FIRST..FIRST + COUNT).contains(&intid) {
            self.pulse_spi(Intid(intid));
        }
    }
}
