//! Reads structured values out of a fuzzer's bytes.
//!
//! Every byte string means something: past its end there are zeros, so no input is refused, and
//! removing bytes in the middle gives a similar, shorter case.

use aarch64::Size;

/// What is left of an input.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether nothing is left: the list of operations is over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes, or as many as there are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        now
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// One bit, from one byte.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let raw = match end {
            0..=0x100 => u64::from(self.u8()),
            0x101..=0x1_0000 => u64::from(self.u16()),
            0x1_0001..=0x1_0000_0000 => u64::from(self.u32()),
            _ => self.u64(),
        };
        raw % end.max(1)
    }

    /// One of `choices`, which are not none.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A 64-bit value as guests like them: any, a small one, one bit, or just beside one.
    pub fn value(&mut self) -> u64 {
        let kind = self.u8();
        let bit = 1_u64 << (kind & 63);
        match kind >> 6 {
            0 => self.u64(),
            1 => u64::from(self.u16()),
            2 => bit,
            _ => bit.wrapping_sub(1).wrapping_add(u64::from(kind & 2)),
        }
    }

    /// The size of an access.
    pub fn size(&mut self) -> Size {
        self.pick(&Size::ALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_end_there_are_zeros() {
        let mut bytes = Bytes::new(&[1, 2, 3]);
        assert_eq!(bytes.u16(), 0x201);
        assert_eq!(bytes.u32(), 3);
        assert!(bytes.is_empty());
        assert_eq!((bytes.u64(), bytes.below(7), bytes.rest()), (0, 0, &[][..]));
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let data = [0xff; 64];
        for end in [1, 2, 3, 0x100, 0x101, 0x1_0001, u64::MAX] {
            assert!(Bytes::new(&data).below(end) < end);
        }
    }
}
