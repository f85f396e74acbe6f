//! MSI-X, pure: the table of vectors with their messages, and the array of pending bits; see *PCI
//! Express Base Specification*, 6.1.4 and 7.7.2.
//!
//! The table and the array share a BAR that holds nothing else: the table is its first half.
//!
//! A vector whose message must not be sent (it or all of them are masked, or the function may not
//! write memory) is pending, and its message is sent as soon as it may be.

use aarch64::Size;

use super::MsixState;
use super::config::Enables;
use super::description::{Bar, Capability, Vectors, Width};
use super::spec;

/// Bytes of a vector in the table.
const ENTRY: u64 = 16;
/// Vectors in a word of the pending bits.
const BITS: usize = 64;
/// The smallest granule of a guest's page tables: what a BAR should have at the least.
const PAGE: u64 = 4096;

/// The BAR of a table.
pub(super) fn bar(vectors: u16) -> Bar {
    let half = (u64::from(vectors) * ENTRY).next_power_of_two();
    Bar {
        size: (2 * half).max(PAGE),
        width: Width::Bits32,
        prefetchable: false,
    }
}

/// The capability that says where the table is.
pub(super) fn capability(vectors: Vectors) -> Capability {
    let Vectors { count, bar: index } = vectors;
    assert!(
        (1..=spec::MSIX_MOST).contains(&count),
        "a function has 1 to 2048 vectors"
    );
    // Where each of the two is: its offset, and the BAR's number in the lowest bits.
    let table = u32::try_from(index).unwrap_or(u32::MAX);
    let half = u32::try_from(bar(count).size / 2).unwrap_or(u32::MAX);
    let mut body = (count - 1).to_le_bytes().to_vec();
    body.extend(table.to_le_bytes());
    body.extend((half | table).to_le_bytes());
    let mut writable = vec![0; body.len()];
    writable[..2].copy_from_slice(&(spec::MSIX_ENABLE | spec::MSIX_FUNCTION_MASK).to_le_bytes());
    Capability {
        id: spec::CAP_MSIX,
        body,
        writable,
        bar_window: false,
    }
}

/// A write of a function to memory, that means an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub address: u64,
    pub data: u32,
}

/// The words of a vector: address, its upper half, data, vector control.
type Entry = [u32; 4];

const AT_RESET: Entry = [0, 0, 0, spec::VECTOR_MASKED];

/// The table and the pending bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Msix {
    entries: Vec<Entry>,
    pending: Vec<u64>,
}

impl Msix {
    /// One of so many vectors, at reset.
    pub fn new(vectors: u16) -> Self {
        let count = usize::from(vectors);
        Self {
            entries: vec![AT_RESET; count],
            pending: vec![0; count.div_ceil(BITS)],
        }
    }

    /// Masks everything and forgets what is pending.
    pub fn reset(&mut self) {
        self.entries.fill(AT_RESET);
        self.forget();
    }

    /// Forgets what is pending.
    pub fn forget(&mut self) {
        self.pending.fill(0);
    }

    /// The function signals a vector: it is pending. One that it has not is nothing.
    pub fn raise(&mut self, vector: u16) {
        let vector = usize::from(vector);
        if vector < self.entries.len() {
            self.pending[vector / BITS] |= 1 << (vector % BITS);
        }
    }

    /// A message that can be sent now, and is pending no more.
    pub fn take_ready(&mut self, enables: Enables) -> Option<Message> {
        let Enables {
            bus_master,
            intx: _,
            msix,
            msix_masked,
        } = enables;
        if !msix || msix_masked || !bus_master {
            return None;
        }
        for (word, pending) in self.pending.iter_mut().enumerate() {
            let mut left = *pending;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let vector = word * BITS + bit as usize;
                let [low, high, data, control] = self.entries[vector];
                if control & spec::VECTOR_MASKED == 0 {
                    *pending &= !(1 << bit);
                    let address = u64::from(high) << 32 | u64::from(low);
                    return Some(Message { address, data });
                }
            }
        }
        None
    }

    /// A read of the BAR. Only whole words can be accessed, one or two.
    pub fn read(&self, offset: u64, size: Size) -> u64 {
        let low = self.read_word(offset, size);
        match size {
            Size::B | Size::H | Size::W => low,
            Size::D => low | self.read_word(offset + 4, size) << 32,
        }
    }

    fn read_word(&self, offset: u64, size: Size) -> u64 {
        if let Some((vector, word)) = self.entry(offset, size) {
            return self.entries[vector][word].into();
        }
        let half = bar_of(&self.entries).size / 2;
        let Some(at) = offset.checked_sub(half).filter(|_| whole(offset, size)) else {
            return 0;
        };
        let word = usize::try_from(at / 8).ok();
        let pending = word.and_then(|word| self.pending.get(word));
        let pending = pending.copied().unwrap_or(0);
        if at.is_multiple_of(8) {
            pending & u64::from(u32::MAX)
        } else {
            pending >> 32
        }
    }

    /// A write to the BAR. Pending bits cannot be written.
    pub fn write(&mut self, offset: u64, size: Size, value: u64) {
        self.write_word(offset, size, value as u32);
        if size == Size::D {
            self.write_word(offset + 4, size, (value >> 32) as u32);
        }
    }

    fn write_word(&mut self, offset: u64, size: Size, value: u32) {
        // Messages are of whole words, and reserved bits are kept zero.
        const SETTABLE: Entry = [!3, !0, !0, spec::VECTOR_MASKED];
        if let Some((vector, word)) = self.entry(offset, size) {
            self.entries[vector][word] = value & SETTABLE[word];
        }
    }

    /// The word of the table at an offset in the BAR.
    fn entry(&self, offset: u64, size: Size) -> Option<(usize, usize)> {
        let vector = usize::try_from(offset / ENTRY).ok()?;
        let word = usize::try_from(offset % ENTRY / 4).ok()?;
        (vector < self.entries.len() && whole(offset, size)).then_some((vector, word))
    }

    /// What to save.
    pub fn save(&self) -> MsixState {
        let Self { entries, pending } = self;
        MsixState {
            entries: entries.clone(),
            pending: pending.clone(),
        }
    }

    /// A table of so many vectors from a saved one; `None` if it cannot be.
    pub fn restore(vectors: u16, saved: &MsixState) -> Option<Self> {
        let MsixState { entries, pending } = saved;
        let new = Self {
            entries: entries.clone(),
            pending: pending.clone(),
        };
        let empty = Self::new(vectors);
        let sizes = (new.entries.len(), new.pending.len());
        let fits = sizes == (empty.entries.len(), empty.pending.len());
        let beyond = |vector: usize| new.pending[vector / BITS] >> (vector % BITS) & 1 != 0;
        let stray = fits && (empty.entries.len()..empty.pending.len() * BITS).any(beyond);
        let settable = |[low, _, _, control]: &Entry| {
            low.is_multiple_of(4) && control & !spec::VECTOR_MASKED == 0
        };
        (fits && !stray && new.entries.iter().all(settable)).then_some(new)
    }
}

fn bar_of(entries: &[Entry]) -> Bar {
    bar(u16::try_from(entries.len()).unwrap_or(spec::MSIX_MOST))
}

/// Whether an access is of whole words.
fn whole(offset: u64, size: Size) -> bool {
    match size {
        Size::B | Size::H => false,
        Size::W | Size::D => offset.is_multiple_of(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Enables = Enables {
        bus_master: true,
        intx: true,
        msix: true,
        msix_masked: false,
    };

    fn ready(msix: &mut Msix, enables: Enables) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some(message) = msix.take_ready(enables) {
            all.push(message.data);
        }
        all
    }

    /// Vector n has the message n.
    fn unmasked(vectors: u16) -> Msix {
        let mut msix = Msix::new(vectors);
        for n in 0..u64::from(vectors) {
            msix.write(n * ENTRY, Size::D, 0x0802_0040);
            msix.write(n * ENTRY + 8, Size::D, n);
        }
        msix
    }

    #[test]
    fn messages_wait_for_everything_that_masks_them() {
        let mut msix = unmasked(3);
        msix.raise(1);
        for off in [
            Enables { msix: false, ..ON },
            Enables {
                bus_master: false,
                ..ON
            },
            Enables {
                msix_masked: true,
                ..ON
            },
        ] {
            assert_eq!(ready(&mut msix, off), Vec::<u32>::new());
        }
        msix.write(ENTRY + 12, Size::W, 1);
        assert_eq!(ready(&mut msix, ON), Vec::<u32>::new());
        let half = bar(3).size / 2;
        assert_eq!(msix.read(half, Size::D), 1 << 1);
        msix.write(ENTRY + 12, Size::W, 0);
        msix.raise(1);
        assert_eq!(ready(&mut msix, ON), [1]);
        assert_eq!(msix.read(half, Size::D), 0);
    }

    #[test]
    fn a_vector_beyond_the_table_is_nothing() {
        let mut msix = unmasked(65);
        for vector in [64, 65, 127, 128, u16::MAX] {
            msix.raise(vector);
        }
        assert_eq!(ready(&mut msix, ON), [64]);
    }

    #[test]
    fn words_and_pairs_of_words_are_read_as_written_and_nothing_else_is() {
        let mut msix = Msix::new(2);
        assert_eq!(msix.read(12, Size::W), 1);
        msix.write(ENTRY, Size::W, 0xffff_ffff);
        msix.write(ENTRY + 4, Size::D, 0x1234_5678_9abc_def0);
        msix.write(ENTRY + 12, Size::B, 0);
        msix.write(ENTRY + 12, Size::H, 0);
        // The lowest bits of the address cannot be set.
        assert_eq!(msix.read(ENTRY, Size::D), 0x9abc_def0_ffff_fffc);
        assert_eq!(msix.read(ENTRY + 8, Size::D), 0x0000_0001_1234_5678);
        assert_eq!(msix.read(ENTRY + 1, Size::W), 0);
        assert_eq!(msix.read(ENTRY + 4, Size::H), 0);
        // Past the last vector, and past the pending bits.
        msix.write(2 * ENTRY, Size::D, u64::MAX);
        assert_eq!(msix.read(2 * ENTRY, Size::D), 0);
        let end = bar(2).size;
        msix.write(end - 8, Size::D, u64::MAX);
        assert_eq!(msix.read(end - 8, Size::D), 0);
    }

    #[test]
    fn the_bar_holds_both_halves_for_any_number_of_vectors() {
        for vectors in [1, 2, 127, 128, 129, 2047, 2048] {
            let half = bar(vectors).size / 2;
            assert!(half >= u64::from(vectors) * ENTRY, "{vectors}");
            assert!(bar(vectors).size.is_power_of_two() && half.is_multiple_of(8));
        }
        assert_eq!(bar(3).size, 4096);
    }

    #[test]
    fn an_impossible_saved_table_is_refused() {
        let mut msix = unmasked(3);
        msix.raise(2);
        let saved = msix.save();
        assert_eq!(Msix::restore(3, &saved), Some(msix));
        assert_eq!(Msix::restore(4, &saved), None);
        type Damage = fn(&mut MsixState);
        let damages: [Damage; 5] = [
            |s| s.pending[0] |= 1 << 3,
            |s| s.pending.push(0),
            |s| s.entries[0][3] = 2,
            |s| s.entries[0][0] = 1,
            |s| s.entries.truncate(2),
        ];
        for damage in damages {
            let mut saved = saved.clone();
            damage(&mut saved);
            assert_eq!(Msix::restore(3, &saved), None);
        }
    }
}
