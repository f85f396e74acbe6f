//! How a driver takes a device into use: the status, the features and the queues it sets up
//! (Virtio 1.2, sections 2.1, 2.2 and 3.1), without a device behind it.
//!
//! | status bit | taken when | step |
//! |---|---|---|
//! | (0 written) | always | [`Step::Reset`] |
//! | `FEATURES_OK` | the features are offered ones and among them is `VERSION_1`; fixed from then on | |
//! | `DRIVER_OK` | `FEATURES_OK` was taken | [`Step::Activate`], once |
//! | the others | always | |
//!
//! A driver sets bits and never clears one but by a reset; bits that it leaves out stay.

use super::spec::{Status, feature, ring};

/// What a driver says of a queue. Numbers are as written; they are checked when the device is
/// activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Descriptors.
    pub size: u16,
    /// The queue is to be used. Its other fields are fixed then.
    pub ready: bool,
    /// Address of the descriptor table.
    pub descriptors: u64,
    /// Address of the available ring ("driver area").
    pub available: u64,
    /// Address of the used ring ("device area").
    pub used: u64,
}

impl QueueConfig {
    /// As it is after a reset.
    #[must_use]
    pub const fn new(max_size: u16) -> Self {
        Self {
            size: max_size,
            ready: false,
            descriptors: 0,
            available: 0,
            used: 0,
        }
    }

    /// Whether size and addresses are possible ones.
    pub(super) fn is_possible(&self, max_size: u16) -> bool {
        self.size.is_power_of_two()
            && self.size <= max_size
            && self.descriptors.is_multiple_of(ring::DESCRIPTORS_ALIGN)
            && self.available.is_multiple_of(ring::AVAILABLE_ALIGN)
            && self.used.is_multiple_of(ring::USED_ALIGN)
    }
}

/// What the device has to do after the status was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Reset,
    Activate,
}

/// How far driver and device have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Negotiation {
    pub offered: u64,
    pub accepted: u64,
    pub status: Status,
    pub max_sizes: Vec<u16>,
    pub queues: Vec<QueueConfig>,
}

impl Negotiation {
    pub fn new(offered: u64, max_sizes: Vec<u16>) -> Self {
        let queues = max_sizes.iter().map(|size| QueueConfig::new(*size));
        Self {
            offered,
            accepted: 0,
            status: Status::empty(),
            queues: queues.collect(),
            max_sizes,
        }
    }

    pub fn reset(&mut self) {
        let max_sizes = std::mem::take(&mut self.max_sizes);
        *self = Self::new(self.offered, max_sizes);
    }

    pub fn write_status(&mut self, value: u8) -> Step {
        let asked = Status::from_bits_truncate(value);
        if value == 0 {
            return Step::Reset;
        }
        let others = Status::ACKNOWLEDGE | Status::DRIVER | Status::FAILED;
        self.status |= asked & others;
        if asked.contains(Status::FEATURES_OK) && self.are_features_fine() {
            self.status |= Status::FEATURES_OK;
        }
        let starts = asked.contains(Status::DRIVER_OK) && !self.is_driven();
        if starts && self.status.contains(Status::FEATURES_OK) {
            self.status |= Status::DRIVER_OK;
            return Step::Activate;
        }
        Step::Nothing
    }

    /// Whether the driver has said that it is ready, and has not given up.
    pub fn is_driven(&self) -> bool {
        self.status.contains(Status::DRIVER_OK)
    }

    /// Half `word` of the features that the driver accepts.
    pub fn accept(&mut self, word: u32, bits: u32) {
        if self.status.contains(Status::FEATURES_OK) {
            return;
        }
        let (keep, add) = match word {
            0 => (!0 << 32, u64::from(bits)),
            1 => (!0 >> 32, u64::from(bits) << 32),
            _ => return,
        };
        self.accepted = self.accepted & keep | add;
    }

    /// Changes the setup of a queue, if it may change.
    pub fn configure(&mut self, queue: u16, change: impl FnOnce(&mut QueueConfig)) {
        let driven = self.is_driven();
        if let Some(config) = self.queues.get_mut(usize::from(queue))
            && !config.ready
            && !driven
        {
            change(config);
        }
    }

    fn are_features_fine(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & feature::VERSION_1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Negotiation {
        Negotiation::new(feature::ALL | 1, vec![8, 256])
    }

    const READY: u8 = 1 | 2 | 8;

    #[test]
    fn the_usual_way() {
        let mut n = new();
        assert_eq!(n.write_status(1), Step::Nothing);
        assert_eq!(n.write_status(3), Step::Nothing);
        n.accept(1, 1);
        n.accept(0, 1);
        assert_eq!(n.write_status(READY), Step::Nothing);
        assert_eq!(n.status.bits(), READY);
        n.configure(0, |q| q.ready = true);
        assert_eq!(n.write_status(READY | 4), Step::Activate);
        assert_eq!(n.write_status(READY | 4), Step::Nothing);
        assert_eq!(n.write_status(0), Step::Reset);
        n.reset();
        assert_eq!(n, new());
    }

    #[test]
    fn features_that_were_not_offered_are_not_agreed_on() {
        for (word, bits) in [(0, 2), (1, 2), (1, 0)] {
            let mut n = new();
            n.accept(1, 1);
            n.accept(word, bits);
            assert_eq!(n.write_status(READY), Step::Nothing);
            assert_eq!(n.status.bits(), 3, "{word} {bits}");
            assert_eq!(n.write_status(READY | 4), Step::Nothing);
            assert_eq!(n.status.bits(), 3);
        }
    }

    #[test]
    fn what_was_agreed_on_stays() {
        let mut n = new();
        n.accept(1, 1);
        n.write_status(READY);
        n.accept(1, 0);
        n.accept(7, 0);
        assert_eq!(n.accepted, feature::VERSION_1);
        n.configure(1, |q| (q.size, q.ready) = (4, true));
        n.configure(1, |q| q.size = 2);
        n.configure(2, |q| q.size = 2);
        assert_eq!((n.queues[1].size, n.queues[0].size), (4, 8));
        n.write_status(4);
        n.configure(0, |q| q.size = 2);
        assert_eq!(n.queues[0].size, 8);
        assert_eq!(n.status.bits(), READY | 4, "bits left out stay");
    }

    #[test]
    fn impossible_queues_are_told_apart() {
        let fine = QueueConfig {
            descriptors: 16,
            available: 2,
            used: 4,
            ..QueueConfig::new(8)
        };
        assert!(fine.is_possible(8));
        for bad in [
            QueueConfig { size: 16, ..fine },
            QueueConfig { size: 0, ..fine },
            QueueConfig { size: 6, ..fine },
            QueueConfig {
                descriptors: 8,
                ..fine
            },
            QueueConfig {
                available: 1,
                ..fine
            },
            QueueConfig { used: 2, ..fine },
        ] {
            assert!(!bad.is_possible(8), "{bad:?}");
        }
    }
}
