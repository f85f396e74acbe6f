//! What all Arm PrimeCell peripherals share: a 4 KiB page of 32-bit registers, the last eight of
//! which say which peripheral it is.

use aarch64::Size;

/// First of the eight identification registers.
const ID_BASE: u16 = 0xfe0;
/// `PrimeCellID0` to `3`, the same in every peripheral.
const CELL_ID: [u8; 4] = [0x0d, 0xf0, 0x05, 0xb1];

/// What the registers `PeriphID0` to `3` say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeriphId {
    /// Part number, 12 bits: `0x011` for a PL011.
    pub part: u16,
    /// Revision, 4 bits.
    pub revision: u8,
}

/// The designer is Arm: ASCII `A`.
const DESIGNER: u8 = 0x41;

impl PeriphId {
    /// The identification register at `offset`, if one is there.
    pub(crate) fn register(self, offset: u16) -> Option<u32> {
        let index = usize::from(offset.checked_sub(ID_BASE)? / 4);
        let [part_low, part_high] = self.part.to_le_bytes();
        let id = [
            part_low,
            part_high & 0xf | DESIGNER << 4,
            DESIGNER >> 4 | self.revision << 4,
            0,
            CELL_ID[0],
            CELL_ID[1],
            CELL_ID[2],
            CELL_ID[3],
        ];
        id.get(index).map(|&byte| u32::from(byte))
    }
}

/// The register an access starts at, and by how many bits into it. `None` outside of the page.
fn locate(offset: u64) -> Option<(u16, u32)> {
    let offset = u16::try_from(offset).ok().filter(|&o| o < 0x1000)?;
    Some((offset & !3, u32::from(offset & 3) * 8))
}

/// A load of any size and alignment, made of one load of the register it starts at. The bus these
/// peripherals sit on is 32 bits wide: what lies above reads as zero.
pub(crate) fn read(offset: u64, size: Size, register: impl FnOnce(u16) -> u32) -> u64 {
    let Some((offset, shift)) = locate(offset) else {
        return 0;
    };
    u64::from(register(offset) >> shift) & size.mask()
}

/// A store of any size. One that does not start at a register is ignored: the bus has no byte
/// strobes that would let it change a part.
pub(crate) fn write(offset: u64, value: u64, register: impl FnOnce(u16, u32)) {
    if let Some((offset, 0)) = locate(offset) {
        register(offset, value as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identification_is_what_linux_matches_a_pl011_by() {
        let id = PeriphId {
            part: 0x011,
            revision: 3,
        };
        let bytes: Vec<_> = (0xfe0..0x1000)
            .step_by(4)
            .map(|o| id.register(o).unwrap())
            .collect();
        assert_eq!(bytes, [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
        assert_eq!(id.register(0xfdc), None);
    }

    #[test]
    fn narrow_loads_take_part_of_a_register_and_wide_ones_no_more_than_it() {
        let word = |_| 0x4433_2211;
        assert_eq!(read(0, Size::D, word), 0x4433_2211);
        assert_eq!(read(1, Size::B, word), 0x22);
        assert_eq!(read(2, Size::W, word), 0x4433);
        assert_eq!(read(0x1000, Size::W, word), 0);
    }

    #[test]
    fn stores_must_start_at_a_register() {
        let mut seen = Vec::new();
        write(4, 0x1_2345_6789, |o, v| seen.push((o, v)));
        write(5, 1, |o, v| seen.push((o, v)));
        write(u64::MAX, 1, |o, v| seen.push((o, v)));
        assert_eq!(seen, [(4, 0x2345_6789)]);
    }
}
