//! What the fields of KVM's exits mean (Linux, Documentation/virt/kvm/api.rst, `struct kvm_run`).
//! Pure: compiled and tested on every host.

use aarch64::Size;

use crate::api::{Conduit, HostError, SystemEvent};

/// `KVM_HYPERCALL_EXIT_SMC`
const HYPERCALL_SMC: u32 = 1;
/// `KVM_SYSTEM_EVENT_SHUTDOWN`, `_RESET` and `_CRASH`
const SYSTEM_EVENTS: [(u32, SystemEvent); 3] = [
    (1, SystemEvent::Off),
    (2, SystemEvent::Reset),
    (3, SystemEvent::Crash),
];

/// The size of an access of so many bytes.
///
/// # Errors
/// When no access has that size.
pub fn size(bytes: usize) -> Result<Size, HostError> {
    let unknown = || HostError::BadState(format!("KVM reports an access of {bytes} bytes"));
    Size::from_bytes(bytes as u64).ok_or_else(unknown)
}

/// The value of an access, lowest byte first, at most eight.
#[must_use]
pub fn value(data: &[u8]) -> u64 {
    let highest_first = data.iter().rev();
    highest_first.fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Which instruction made a call with these flags.
#[must_use]
pub fn conduit(flags: u32) -> Conduit {
    if flags & HYPERCALL_SMC != 0 {
        Conduit::Smc
    } else {
        Conduit::Hvc
    }
}

/// What the guest did to its machine.
///
/// # Errors
/// When nobody knows this kind of event.
pub fn system_event(kind: u32) -> Result<SystemEvent, HostError> {
    let known = SYSTEM_EVENTS.iter().find(|(number, _)| *number == kind);
    let unknown = || HostError::BadState(format!("KVM reports the unknown system event {kind}"));
    known.map(|(_, event)| *event).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_little_endian() {
        assert_eq!(value(&[0x34, 0x12]), 0x1234);
        assert_eq!(value(&[1, 0, 0, 0, 0, 0, 0, 0x80]), 0x8000_0000_0000_0001);
        assert_eq!(value(&[]), 0);
    }

    #[test]
    fn accesses_have_four_sizes() {
        for known in Size::ALL {
            let bytes = usize::try_from(known.bytes()).unwrap();
            assert_eq!(size(bytes).unwrap(), known);
        }
        for wrong in [0, 3, 16] {
            assert!(size(wrong).is_err());
        }
    }

    #[test]
    fn calls_and_events_are_told_apart() {
        assert_eq!(conduit(0), Conduit::Hvc);
        assert_eq!(conduit(3), Conduit::Smc);
        assert_eq!(system_event(2).unwrap(), SystemEvent::Reset);
        assert!(system_event(4).is_err());
    }
}
