//! The levels of the SPIs' wires, as devices drive them. Pure: compiled and tested on every host.
//!
//! KVM keeps the level of a level-sensitive interrupt's wire only. For an edge-triggered one, every
//! call that says "high" is an edge to it. So that a wire which is high already sends no second
//! edge, and so that the levels can be saved, they are kept here too. Interrupts that the kernel
//! raises by itself (`irqfd`) are edges, and leave their wire low.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aarch64::Intid;
use aarch64::gic::{BANK, BANKS};

use crate::api::HostError;

/// One wire for each SPI.
#[derive(Debug, Default)]
pub struct Wires([Mutex<u32>; BANKS - 1]);

impl Wires {
    /// Moves the wire of an SPI, and tells `kvm` if it was not there already.
    ///
    /// # Errors
    /// When `intid` is no SPI, or `kvm` fails; the wire has not moved then.
    pub fn drive(
        &self,
        intid: Intid,
        high: bool,
        kvm: impl FnOnce() -> Result<(), HostError>,
    ) -> Result<(), HostError> {
        let slot = (intid.0 / BANK) as usize;
        let Some(bank) = slot.checked_sub(1).and_then(|slot| self.0.get(slot)) else {
            return Err(HostError::BadState(format!("{} is no SPI", intid.0)));
        };
        // Held over the call: two threads that move one wire reach KVM in the same order.
        let mut bank = lock(bank);
        let bit = 1 << (intid.0 % BANK);
        if (*bank & bit != 0) != high {
            kvm()?;
            *bank ^= bit;
        }
        Ok(())
    }

    /// The levels of each bank of SPIs.
    #[must_use]
    pub fn levels(&self) -> [u32; BANKS - 1] {
        std::array::from_fn(|slot| *lock(&self.0[slot]))
    }

    /// Sets the levels of each bank of SPIs, without a word to KVM.
    pub fn set(&self, levels: impl IntoIterator<Item = u32>) {
        for (bank, level) in self.0.iter().zip(levels) {
            *lock(bank) = level;
        }
    }
}

fn lock(bank: &Mutex<u32>) -> MutexGuard<'_, u32> {
    bank.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn kvm_hears_of_moves_alone() {
        let wires = Wires::default();
        let heard = RefCell::new(Vec::new());
        for high in [false, true, true, false, true] {
            let kvm = || {
                heard.borrow_mut().push(high);
                Ok(())
            };
            wires.drive(Intid(255), high, kvm).unwrap();
        }
        assert_eq!(heard.into_inner(), [true, false, true]);
        assert_eq!(wires.levels()[6], 1 << 31);
    }

    #[test]
    fn a_wire_stays_where_it_is_when_kvm_fails() {
        let wires = Wires::default();
        let fail = || Err(HostError::BadState("no".into()));
        assert!(wires.drive(Intid(32), true, fail).is_err());
        assert_eq!(wires.levels(), [0; BANKS - 1]);
    }

    #[test]
    fn what_is_no_spi_has_no_wire() {
        let wires = Wires::default();
        for intid in [0, 31, 256, u32::MAX] {
            let refused = wires.drive(Intid(intid), true, || Ok(()));
            assert!(refused.is_err(), "{intid}");
        }
    }
}
