//! Firmware calls: what a guest has in its registers at an HVC.

use aarch64::{Gpa, VcpuId, psci::id, smccc};
use vmm::power::{Entry, Power};
use vmm::psci::{Decision, decide};

use crate::bytes::Bytes;

/// Functions that exist.
const KNOWN: [u32; 12] = [
    id::VERSION,
    id::FEATURES,
    id::MIGRATE_INFO_TYPE,
    id::CPU_OFF,
    id::CPU_SUSPEND,
    id::AFFINITY_INFO,
    id::CPU_ON,
    id::SYSTEM_OFF,
    id::SYSTEM_RESET,
    id::SYSTEM_RESET2,
    smccc::VERSION,
    smccc::ARCH_FEATURES,
];

/// A call starts only vCPUs that are off, at an address in memory.
pub fn psci(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let powers: Vec<Power> = (0..1 + bytes.below(123))
        .map(|_| {
            let entry = Entry { pc: 0, x0: 0 };
            bytes.pick(&[Power::On, Power::Off, Power::Pending(entry)])
        })
        .collect();
    let memory = bytes.value();
    let is_memory = |gpa: Gpa| gpa.0 & memory == memory;
    while !bytes.is_empty() {
        let function = match bytes.below(4) {
            0 => bytes.u64(),
            // The form of 64 bits of a function, or of 32.
            _ => u64::from(bytes.pick(&KNOWN)) | u64::from(bytes.flag()) << 30,
        };
        let target = match bytes.below(2) {
            0 => VcpuId(bytes.below(200) as u16).affinity(),
            _ => bytes.value(),
        };
        let call = [function, target, bytes.value(), bytes.value()];
        if let Decision::Start { target, entry } = decide(call, &powers, is_memory) {
            assert_eq!(powers.get(target.index()), Some(&Power::Off));
            assert!(is_memory(Gpa(entry.pc)) && entry.pc.is_multiple_of(4));
        }
    }
}
