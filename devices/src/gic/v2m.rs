//! The GICv2m frame: a device's MSI is a write of an INTID that raises that SPI (Arm SBSA,
//! appendix "GICv2m architecture").

use std::fmt;
use std::sync::Arc;

use aarch64::gic::IIDR_VALUE;
use aarch64::gic::v2m::{IIDR, MSI_TYPER, SETSPI};
use aarch64::machine::{GICV2M, GICV2M_SPIS};
use aarch64::{Intid, Size};

use super::Gic;
use crate::bus::MmioDevice;
use crate::irq::IrqSink;
use crate::pci::MsiSink;

const FIRST: u32 = Intid::spi(GICV2M_SPIS.0).0;
const COUNT: u32 = GICV2M_SPIS.1 as u32;

/// What the frame reads as at `offset`.
fn register(offset: u64, size: Size) -> u64 {
    let value = match (offset, size) {
        (MSI_TYPER, Size::W) => FIRST << 16 | COUNT,
        (IIDR, Size::W) => IIDR_VALUE,
        _ => 0,
    };
    value.into()
}

/// The SPI that a write to the frame raises.
fn raised(offset: u64, size: Size, value: u64) -> Option<Intid> {
    let intid = match (offset, size) {
        (SETSPI, Size::H | Size::W) => (value & size.mask()) as u32,
        _ => return None,
    };
    (FIRST..FIRST + COUNT)
        .contains(&intid)
        .then_some(Intid(intid))
}

impl Gic {
    /// A read at `offset` of the GICv2m frame.
    #[must_use]
    pub fn v2m_read(&self, offset: u64, size: Size) -> u64 {
        register(offset, size)
    }

    /// A write at `offset` of the GICv2m frame, by a guest or as a device's MSI.
    pub fn v2m_write(&mut self, offset: u64, size: Size, value: u64) {
        if let Some(intid) = raised(offset, size, value) {
            self.pulse_spi(intid);
        }
    }
}

/// The frame by itself: before an interrupt controller that has none (that of a host's kernel), and
/// as what messages of functions go to.
pub struct V2mFrame(Arc<dyn IrqSink>);

impl V2mFrame {
    /// A frame whose MSIs are rising edges at the inputs of `sink`.
    #[must_use]
    pub fn new(sink: Arc<dyn IrqSink>) -> Self {
        Self(sink)
    }
}

impl MmioDevice for V2mFrame {
    fn read(&self, offset: u64, size: Size) -> u64 {
        register(offset, size)
    }

    fn write(&self, offset: u64, size: Size, value: u64) {
        if let Some(intid) = raised(offset, size, value) {
            self.0.pulse(intid);
        }
    }
}

/// Messages of PCI functions. One that is addressed elsewhere would be a write to memory, by which no
/// driver asks for an interrupt: it is dropped.
impl MsiSink for V2mFrame {
    fn signal(&self, address: u64, data: u32) {
        match address.checked_sub(GICV2M.base.0) {
            Some(offset) if offset < GICV2M.size => self.write(offset, Size::W, data.into()),
            Some(_) | None => tracing::debug!(address, data, "a message to no interrupt"),
        }
    }
}

impl fmt::Debug for V2mFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("V2mFrame").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::testing::Recorder;

    #[test]
    fn a_frame_by_itself_sends_edges_for_its_own_spis_only() {
        let (sink, _line) = Recorder::wire();
        let frame = V2mFrame::new(sink.clone());
        let typer = u64::from(FIRST) << 16 | u64::from(COUNT);
        assert_eq!(frame.read(MSI_TYPER, Size::W), typer);
        frame.write(SETSPI, Size::W, u64::from(FIRST));
        assert_eq!(sink.take(), [true, false]);
        frame.write(SETSPI, Size::W, u64::from(FIRST + COUNT));
        frame.write(MSI_TYPER, Size::W, u64::from(FIRST));
        assert_eq!(sink.take(), []);
    }

    #[test]
    fn messages_are_writes_to_the_frame_and_go_nowhere_else() {
        let (sink, _line) = Recorder::wire();
        let frame = V2mFrame::new(sink.clone());
        frame.signal(GICV2M.base.0 + SETSPI, FIRST + 1);
        assert_eq!(sink.take(), [true, false]);
        let frame_end = GICV2M.base.0 + GICV2M.size;
        for address in [0, GICV2M.base.0, frame_end + SETSPI, SETSPI, u64::MAX] {
            frame.signal(address, FIRST);
        }
        assert_eq!(sink.take(), []);
    }
}
