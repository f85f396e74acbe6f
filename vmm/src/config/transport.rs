//! How virtio devices are connected.

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// What virtio devices sit behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// A PCIe host bridge, where each is a function.
    #[default]
    Pci,
    /// Slots of registers that the device tree lists; there is no PCIe then.
    Mmio,
}

impl Transport {
    /// All of them, the default one first.
    pub const ALL: [Self; 2] = [Self::Pci, Self::Mmio];

    /// As users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pci => "pci",
            Self::Mmio => "mmio",
        }
    }

    /// Whether a machine with so many virtio devices has a PCIe host bridge: one with nothing behind
    /// it would only be searched, by more than a hundred exits.
    #[must_use]
    pub const fn has_bridge(self, devices: usize) -> bool {
        matches!(self, Self::Pci) && devices != 0
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Transport {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| ValueError::Transport(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for transport in Transport::ALL {
            assert_eq!(transport.to_string().parse(), Ok(transport));
        }
        for text in ["", "PCI", "isa"] {
            let refused = text.parse::<Transport>().unwrap_err().to_string();
            assert_eq!(refused, format!("{text}: choose pci or mmio"));
        }
    }
}
