//! The behaviour of a PL061, without locks, wires or a host.

use super::spec::{self, reg};

/// The registers, one bit for each line, and what drives the lines from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Registers {
    /// What the outside drives.
    pub input: u8,
    /// What the guest drives.
    pub output: u8,
    /// 1: the guest drives the line.
    pub direction: u8,
    /// 1: the level interrupts, 0: an edge does.
    pub sense_level: u8,
    /// 1: both edges interrupt.
    pub both_edges: u8,
    /// 1: the rising edge or high level interrupts, 0: the falling edge or low level.
    pub event_high: u8,
    pub irq_enable: u8,
    /// Edges that were seen and not cleared.
    pub edges: u8,
    pub mode: u8,
}

impl Registers {
    /// Level of the combined interrupt output.
    pub fn irq(&self) -> bool {
        self.masked() != 0
    }

    /// Sets what the outside drives.
    pub fn set_input(&mut self, input: u8) {
        self.change(|r| r.input = input);
    }

    pub fn read(&self, offset: u16) -> u32 {
        u32::from(match offset {
            0..=reg::DATA_LAST => self.lines() & data_mask(offset),
            reg::DIR => self.direction,
            reg::IS => self.sense_level,
            reg::IBE => self.both_edges,
            reg::IEV => self.event_high,
            reg::IE => self.irq_enable,
            reg::RIS => self.raw(),
            reg::MIS => self.masked(),
            reg::AFSEL => self.mode,
            _ => return spec::ID.register(offset).unwrap_or(0),
        })
    }

    pub fn write(&mut self, offset: u16, value: u32) {
        let value = value.to_le_bytes()[0];
        match offset {
            0..=reg::DATA_LAST => {
                // Only lines that are outputs at the time take a new value.
                let mask = data_mask(offset) & self.direction;
                self.change(|r| r.output = (r.output & !mask) | (value & mask));
            }
            reg::DIR => self.change(|r| r.direction = value),
            reg::IS => self.sense_level = value,
            reg::IBE => self.both_edges = value,
            reg::IEV => self.event_high = value,
            reg::IE => self.irq_enable = value,
            reg::IC => self.edges &= !value,
            reg::AFSEL => self.mode = value,
            _ => {}
        }
    }

    /// Levels of the lines.
    fn lines(&self) -> u8 {
        (self.output & self.direction) | (self.input & !self.direction)
    }

    /// Makes a change, and notes the edges it brings on lines that interrupt by edge.
    fn change(&mut self, change: impl FnOnce(&mut Self)) {
        let before = self.lines();
        change(self);
        let moved = before ^ self.lines();
        let wanted = self.both_edges | !(self.lines() ^ self.event_high);
        self.edges |= moved & wanted & !self.sense_level;
    }

    fn raw(&self) -> u8 {
        let levels = !(self.lines() ^ self.event_high);
        (self.edges & !self.sense_level) | (levels & self.sense_level)
    }

    fn masked(&self) -> u8 {
        self.raw() & self.irq_enable
    }
}

fn data_mask(offset: u16) -> u8 {
    (offset >> 2).to_le_bytes()[0]
}
