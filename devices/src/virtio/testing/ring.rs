//! A split virtqueue from the driver's side, which need not keep the rules.

use std::sync::Arc;

use aarch64::{Gpa, PAGE_SIZE};
use memory::Layout;

use super::super::QueueConfig;

/// Descriptor flag: another follows.
const NEXT: u16 = 1;
/// Descriptor flag: the device writes.
const WRITE: u16 = 2;
/// Descriptor flag: a table of descriptors.
const INDIRECT: u16 = 4;

/// A descriptor as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Address of the buffer.
    pub at: u64,
    /// Its bytes.
    pub len: u32,
    /// 1: another follows; 2: the device writes; 4: a table of descriptors.
    pub flags: u16,
    /// The one that follows.
    pub next: u16,
}

/// A part of a buffer for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The device reads it: address and bytes.
    Read(u64, u32),
    /// The device writes it: address and bytes.
    Write(u64, u32),
}

/// A queue's rings.
#[derive(Debug)]
pub struct Ring {
    layout: Arc<Layout>,
    config: QueueConfig,
    /// Where the next chain's descriptors go. They are used in a circle.
    next_descriptor: u16,
    next_available: u16,
    next_used: u16,
}

impl Ring {
    /// Empty rings from `base` on, in four pages if the queue has at most 256 descriptors.
    ///
    /// # Panics
    /// When there is no such memory.
    #[must_use]
    pub fn new(layout: Arc<Layout>, base: u64, size: u16) -> Self {
        let ring = Self {
            layout,
            config: QueueConfig {
                size,
                ready: true,
                descriptors: base,
                available: base + PAGE_SIZE,
                used: base + 2 * PAGE_SIZE,
            },
            next_descriptor: 0,
            next_available: 0,
            next_used: 0,
        };
        ring.write(base, &vec![0; 4 * PAGE_SIZE as usize]);
        ring
    }

    /// What the device is told of it.
    #[must_use]
    pub fn config(&self) -> QueueConfig {
        self.config
    }

    /// Writes a descriptor of the table.
    pub fn describe(&self, index: u16, descriptor: Descriptor) {
        self.describe_at(self.config.descriptors, index, descriptor);
    }

    /// Writes a descriptor of a table anywhere.
    pub fn describe_at(&self, table: u64, index: u16, descriptor: Descriptor) {
        let Descriptor {
            at,
            len,
            flags,
            next,
        } = descriptor;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&at.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(table + 16 * u64::from(index), &bytes);
    }

    /// Makes the chain that begins at `head` available.
    pub fn offer(&mut self, head: u16) {
        let slot = u64::from(self.next_available % self.config.size);
        self.write(self.config.available + 4 + 2 * slot, &head.to_le_bytes());
        self.set_available(self.next_available.wrapping_add(1));
    }

    /// Writes the index of the available ring.
    pub fn set_available(&mut self, index: u16) {
        self.next_available = index;
        self.write(self.config.available + 2, &index.to_le_bytes());
    }

    /// Makes a buffer available. The head of its chain.
    pub fn add(&mut self, buffers: &[Buffer]) -> u16 {
        let size = self.config.size;
        let head = self.next_descriptor;
        for (n, buffer) in buffers.iter().enumerate() {
            let index = self.next_descriptor;
            self.next_descriptor = (index + 1) % size;
            let more = n + 1 < buffers.len();
            self.describe(index, buffer.descriptor(more, self.next_descriptor));
        }
        self.offer(head);
        head
    }

    /// Makes a buffer available by a table of descriptors at `table`. The head of its chain.
    pub fn add_indirect(&mut self, table: u64, buffers: &[Buffer]) -> u16 {
        for (index, buffer) in (0..).zip(buffers) {
            let more = usize::from(index) + 1 < buffers.len();
            self.describe_at(table, index, buffer.descriptor(more, index + 1));
        }
        let head = self.next_descriptor;
        self.next_descriptor = (head + 1) % self.config.size;
        let descriptor = Descriptor {
            at: table,
            len: u32::try_from(16 * buffers.len()).unwrap_or(0),
            flags: INDIRECT,
            next: 0,
        };
        self.describe(head, descriptor);
        self.offer(head);
        head
    }

    /// Asks for no interrupts, or for any, where they are not asked for by index.
    pub fn mute(&self, muted: bool) {
        self.write(self.config.available, &u16::from(muted).to_le_bytes());
    }

    /// Asks for an interrupt when the used ring's entry of that index is written.
    pub fn set_used_event(&self, index: u16) {
        let at = self.config.available + 4 + 2 * u64::from(self.config.size);
        self.write(at, &index.to_le_bytes());
    }

    /// Whether the device asks for kicks, where it does not ask by index.
    #[must_use]
    pub fn wants_kicks(&self) -> bool {
        self.read_u16(self.config.used) & 1 == 0
    }

    /// Which entry of the available ring the device wants to be kicked for.
    #[must_use]
    pub fn available_event(&self) -> u16 {
        self.read_u16(self.config.used + 4 + 8 * u64::from(self.config.size))
    }

    /// What the device has used since the last call: heads, bytes written.
    pub fn used(&mut self) -> Vec<(u32, u32)> {
        let index = self.read_u16(self.config.used + 2);
        let mut used = Vec::new();
        while self.next_used != index {
            let slot = u64::from(self.next_used % self.config.size);
            let mut entry = [0; 8];
            self.read(self.config.used + 4 + 8 * slot, &mut entry);
            let [a, b, c, d, e, f, g, h] = entry;
            used.push((
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ));
            self.next_used = self.next_used.wrapping_add(1);
        }
        used
    }

    /// Guest memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<Layout> {
        &self.layout
    }

    fn read_u16(&self, at: u64) -> u16 {
        let mut bytes = [0; 2];
        self.read(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        assert!(self.layout.read(Gpa(at), into).is_ok(), "{at:#x}");
    }

    fn write(&self, at: u64, from: &[u8]) {
        assert!(self.layout.write(Gpa(at), from).is_ok(), "{at:#x}");
    }
}

impl Buffer {
    fn descriptor(self, more: bool, next: u16) -> Descriptor {
        let (at, len, write) = match self {
            Self::Read(at, len) => (at, len, 0),
            Self::Write(at, len) => (at, len, WRITE),
        };
        let flags = write | if more { NEXT } else { 0 };
        Descriptor {
            at,
            len,
            flags,
            next: if more { next } else { 0 },
        }
    }
}
