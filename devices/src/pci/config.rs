//! Configuration space of one function, pure: bytes, and which of their bits a guest can change.
//!
//! That is enough for BARs too. Address bits below a BAR's size cannot be set, and so a guest that
//! writes ones everywhere reads back how much the BAR claims.

use aarch64::Size;

use super::description::{self, Bar, Capability, Description, Identity, Vectors, Width};
use super::msix;
use super::spec::{self, BARS, CONFIG_BYTES, Command};

/// Configuration space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConfigSpace {
    /// What each BAR claims; `None` too for the upper half of one.
    bars: [Option<Bar>; BARS],
    /// Where the message control of MSI-X is.
    msix: Option<usize>,
    /// Where the capability that leads to the BARs is.
    window: Option<usize>,
    /// What it holds at reset.
    initial: [u8; CONFIG_BYTES],
    /// Bits that a guest can change.
    writable: [u8; CONFIG_BYTES],
    /// What it holds.
    bytes: [u8; CONFIG_BYTES],
}

/// What of a function follows from configuration space, besides its BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Enables {
    pub bus_master: bool,
    pub intx: bool,
    pub msix: bool,
    pub msix_masked: bool,
}

impl Enables {
    /// At reset.
    pub const INITIAL: Self = Self {
        bus_master: false,
        intx: true,
        msix: false,
        msix_masked: false,
    };
}

/// An access to a BAR that was made through configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BarAccess {
    pub bar: usize,
    pub offset: u64,
    pub size: Size,
}

impl ConfigSpace {
    /// That of a function at reset.
    ///
    /// # Panics
    /// When the description is of no function that can be.
    pub fn new(description: &Description) -> Self {
        let mut new = Self {
            bars: [None; BARS],
            msix: None,
            window: None,
            initial: [0; CONFIG_BYTES],
            writable: [0; CONFIG_BYTES],
            bytes: [0; CONFIG_BYTES],
        };
        let Description {
            identity,
            bars,
            capabilities,
            interrupts,
        } = description;
        new.header(identity);
        for (index, bar) in bars.iter().enumerate() {
            if let Some(bar) = bar {
                new.bar(index, *bar);
            }
        }
        new.capabilities(capabilities, *interrupts);
        new.bytes = new.initial;
        new
    }

    fn header(&mut self, identity: &Identity) {
        let Identity {
            vendor,
            device,
            revision,
            class,
            subsystem_vendor,
            subsystem,
        } = *identity;
        self.fix(spec::VENDOR_ID, &vendor.to_le_bytes());
        self.fix(spec::DEVICE_ID, &device.to_le_bytes());
        self.fix(spec::REVISION_ID, &[revision]);
        self.fix(spec::CLASS_CODE, &class.to_le_bytes()[..3]);
        self.fix(spec::SUBSYSTEM_VENDOR_ID, &subsystem_vendor.to_le_bytes());
        self.fix(spec::SUBSYSTEM_ID, &subsystem.to_le_bytes());
        self.open(spec::COMMAND, &Command::all().bits().to_le_bytes());
        self.open(spec::CACHE_LINE_SIZE, &[0xff]);
        self.open(spec::INTERRUPT_LINE, &[0xff]);
    }

    fn bar(&mut self, index: usize, bar: Bar) {
        let Bar {
            size,
            width,
            prefetchable,
        } = bar;
        assert!(
            size.is_power_of_two() && size >= spec::BAR_LEAST,
            "BAR {index} has a size that none can have"
        );
        let at = spec::BAR0 + 4 * index;
        let taken = self.writable[at] != 0 || self.writable[at + 3] != 0;
        assert!(!taken, "BAR {index} is taken twice");
        let address = !(size - 1);
        let mut kind = 0;
        if prefetchable {
            kind |= spec::BAR_PREFETCHABLE;
        }
        match width {
            Width::Bits32 => {
                assert!(size < 1 << 32, "BAR {index} is too large");
                self.open(at, &address.to_le_bytes()[..4]);
            }
            Width::Bits64 => {
                assert!(index + 1 < BARS, "BAR {index} has no next one");
                kind |= spec::BAR_64;
                self.open(at, &address.to_le_bytes());
            }
        }
        self.fix(at, &kind.to_le_bytes());
        self.bars[index] = Some(bar);
    }

    fn capabilities(&mut self, capabilities: &[Capability], interrupts: Option<Vectors>) {
        let msix = interrupts.map(|vectors| {
            self.fix(spec::INTERRUPT_PIN, &[1]);
            self.bar(vectors.bar, msix::bar(vectors.count));
            msix::capability(vectors)
        });
        let mut link = spec::CAPABILITIES;
        let mut at = spec::HEADER_END;
        for (index, capability) in msix.iter().chain(capabilities).enumerate() {
            let Capability {
                id,
                body,
                writable,
                bar_window,
            } = capability;
            let place = u8::try_from(at).expect("configuration space holds the capabilities");
            self.fix(link, &[place]);
            self.fix(at, &[*id]);
            self.fix(at + description::FIRST, body);
            self.open(at + description::FIRST, writable);
            if msix.is_some() && index == 0 {
                self.msix = Some(at + description::FIRST);
            }
            if *bar_window {
                self.window = Some(at);
            }
            link = at + 1;
            at = (at + description::FIRST + body.len()).next_multiple_of(4);
        }
        if at != spec::HEADER_END {
            self.fix(spec::STATUS, &[spec::STATUS_CAPABILITIES]);
        }
    }

    fn fix(&mut self, at: usize, bytes: &[u8]) {
        self.initial[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn open(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    /// Back to what it held at first.
    pub fn reset(&mut self) {
        self.bytes = self.initial;
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8; CONFIG_BYTES] {
        &self.bytes
    }

    /// Takes on other content, if it is one that a guest could have made.
    pub fn set_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let bytes: [u8; CONFIG_BYTES] = bytes.try_into().ok()?;
        let fixed = bytes
            .iter()
            .zip(&self.initial)
            .zip(&self.writable)
            .all(|((new, initial), writable)| (new ^ initial) & !writable == 0);
        fixed.then(|| self.bytes = bytes)
    }

    /// A read inside of one word of configuration space. `interrupt` is what of the status is not
    /// held here.
    pub fn read(&self, offset: usize, size: Size, interrupt: bool) -> u32 {
        let mut value = 0;
        for (n, at) in reach(offset, size).enumerate() {
            let mut byte = self.bytes.get(at).copied().unwrap_or(0);
            if at == spec::STATUS && interrupt {
                byte |= spec::STATUS_INTERRUPT;
            }
            value |= u32::from(byte) << (8 * n);
        }
        value
    }

    /// A write inside of one word of configuration space.
    pub fn write(&mut self, offset: usize, size: Size, value: u32) {
        for (at, new) in reach(offset, size).zip(value.to_le_bytes()) {
            if let (Some(byte), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) {
                *byte = *byte & !mask | new & mask;
            }
        }
    }

    fn command(&self) -> Command {
        let [low, high] = [spec::COMMAND, spec::COMMAND + 1].map(|at| self.bytes[at]);
        Command::from_bits_truncate(u16::from_le_bytes([low, high]))
    }

    /// What is enabled.
    pub fn enables(&self) -> Enables {
        let command = self.command();
        let control = self.msix.map_or(0, |at| {
            u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
        });
        Enables {
            bus_master: command.contains(Command::BUS_MASTER),
            intx: !command.contains(Command::INTX_DISABLE),
            msix: control & spec::MSIX_ENABLE != 0,
            msix_masked: control & spec::MSIX_FUNCTION_MASK != 0,
        }
    }

    /// What each BAR claims now: its first address and its bytes. Nothing while memory space is
    /// disabled.
    pub fn claims(&self) -> [Option<(u64, u64)>; BARS] {
        if !self.command().contains(Command::MEMORY) {
            return [None; BARS];
        }
        let mut claims = [None; BARS];
        for (index, bar) in self.bars.iter().enumerate() {
            claims[index] = bar.map(|bar| {
                let low = u64::from(self.word(spec::BAR0 + 4 * index));
                let high = match bar.width {
                    Width::Bits32 => 0,
                    Width::Bits64 => u64::from(self.word(spec::BAR0 + 4 * (index + 1))) << 32,
                };
                ((high | low) & !(bar.size - 1), bar.size)
            });
        }
        claims
    }

    fn word(&self, at: usize) -> u32 {
        self.read(at, Size::W, false)
    }

    /// Which access to a BAR it is to touch these bytes of configuration space. `None` if it is
    /// none, or the guest has asked for one that no BAR has.
    pub fn bar_access(&self, offset: usize, size: Size) -> Option<BarAccess> {
        let at = self.window?;
        let data = at + description::WINDOW_DATA..at + description::WINDOW_END;
        if !reach(offset, size).any(|byte| data.contains(&byte)) {
            return None;
        }
        let bar = usize::from(self.bytes[at + description::WINDOW_BAR]);
        let start = u64::from(self.word(at + description::WINDOW_OFFSET));
        let size = match self.word(at + description::WINDOW_LENGTH) {
            1 => Size::B,
            2 => Size::H,
            4 => Size::W,
            _ => return None,
        };
        let end = start + size.bytes();
        let claimed = self.bars.get(bar).copied().flatten()?.size;
        let fits = start.is_multiple_of(size.bytes()) && end <= claimed;
        fits.then_some(BarAccess {
            bar,
            offset: start,
            size,
        })
    }

    /// The data of an access to a BAR, as the guest has written it.
    pub fn window_data(&self) -> u32 {
        let at = self.window.map(|at| at + description::WINDOW_DATA);
        at.map_or(0, |at| self.word(at))
    }

    /// Puts what a BAR holds where the guest reads it.
    pub fn set_window_data(&mut self, access: BarAccess, value: u32) {
        if let Some(at) = self.window {
            self.write(at + description::WINDOW_DATA, access.size, value);
        }
    }
}

/// The bytes that an access touches.
fn reach(offset: usize, size: Size) -> impl Iterator<Item = usize> {
    let bytes = match size {
        Size::B => 1,
        Size::H => 2,
        Size::W | Size::D => 4,
    };
    offset..offset.saturating_add(bytes)
}
