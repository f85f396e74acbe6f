//! The record of what the simulator's user did wrong, even where a real Mac would let it pass.

use std::fmt;
use std::sync::{Mutex, PoisonError};

/// A rule of the framework that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A call for a vCPU came from a thread that did not create it.
    WrongThread {
        /// The function.
        call: &'static str,
        /// The vCPU.
        vcpu: u64,
    },
    /// A call named a vCPU that is not there, or not any more.
    NoSuchVcpu {
        /// The function.
        call: &'static str,
        /// The vCPU.
        vcpu: u64,
    },
    /// A call needs a VM, and there is none.
    NoVm {
        /// The function.
        call: &'static str,
    },
    /// An address or a size is no multiple of 16 KiB, or the size is 0.
    Misaligned {
        /// The function.
        call: &'static str,
        /// Guest address.
        ipa: u64,
        /// Bytes.
        size: u64,
    },
    /// Flags have unknown bits.
    UnknownFlags {
        /// The function.
        call: &'static str,
        /// The flags.
        flags: u64,
    },
    /// Memory was mapped where some is mapped already.
    Overlap {
        /// Guest address.
        ipa: u64,
        /// Bytes.
        size: u64,
    },
    /// Memory was unmapped or protected where none is mapped.
    NotMapped {
        /// The function.
        call: &'static str,
        /// Guest address.
        ipa: u64,
        /// Bytes.
        size: u64,
    },
    /// The host's memory went away while the guest had it.
    HostMemoryGone {
        /// Guest address.
        ipa: u64,
        /// Bytes.
        size: u64,
    },
    /// Memory that the guest had written was given back to the host while the guest had it: on a Mac
    /// the guest goes on with what it wrote, and the host gets nothing.
    GivenBack {
        /// Guest address of the first such page.
        ipa: u64,
        /// How many pages of 4 KiB.
        pages: usize,
    },
    /// A vCPU ran for the first time with registers that nobody had set and no document has a value
    /// for.
    UndefinedState {
        /// The vCPU.
        vcpu: u64,
        /// The registers.
        registers: Vec<String>,
    },
    /// The VM was destroyed with vCPUs.
    VcpusLeft {
        /// How many.
        count: usize,
    },
    /// The VM was destroyed with memory mapped.
    MappingsLeft {
        /// How many ranges.
        count: usize,
    },
    /// A thread ended without destroying its vCPU.
    VcpuAbandoned {
        /// The vCPU.
        vcpu: u64,
    },
    /// A VM was still there at the end.
    VmLeft,
    /// An object was never released.
    ObjectLeaked {
        /// What created it.
        created_by: &'static str,
    },
    /// `os_release` was given what is no object, or not any more.
    BadRelease,
    /// A pointer that must not be null is.
    NullPointer {
        /// The function.
        call: &'static str,
    },
    /// A scripted vCPU was run once more than its script has exits.
    ScriptEnded {
        /// The vCPU.
        vcpu: u64,
    },
    /// Two vCPUs ran with the same affinity in `MPIDR_EL1`.
    SameAffinity {
        /// The vCPU that ran later.
        vcpu: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongThread { call, vcpu } => {
                write!(f, "{call}: vCPU {vcpu} belongs to another thread")
            }
            Self::NoSuchVcpu { call, vcpu } => write!(f, "{call}: there is no vCPU {vcpu}"),
            Self::NoVm { call } => write!(f, "{call}: there is no VM"),
            Self::Misaligned { call, ipa, size } => {
                write!(f, "{call}: {size:#x} bytes at {ipa:#x} are not whole pages")
            }
            Self::UnknownFlags { call, flags } => write!(f, "{call}: flags {flags:#x}"),
            Self::Overlap { ipa, size } => {
                write!(f, "hv_vm_map: {size:#x} bytes at {ipa:#x} overlap others")
            }
            Self::NotMapped { call, ipa, size } => {
                write!(f, "{call}: {size:#x} bytes at {ipa:#x} are not all mapped")
            }
            Self::HostMemoryGone { ipa, size } => {
                write!(f, "host memory of {size:#x} bytes at {ipa:#x} went away")
            }
            Self::GivenBack { ipa, pages } => write!(
                f,
                "{pages} pages from {ipa:#x} on were given back to the host while they were mapped"
            ),
            Self::UndefinedState { vcpu, registers } => {
                let names = registers.join(", ");
                write!(f, "hv_vcpu_run: vCPU {vcpu} runs with {names} never set")
            }
            Self::VcpusLeft { count } => write!(f, "hv_vm_destroy: {count} vCPUs are there"),
            Self::MappingsLeft { count } => {
                write!(f, "hv_vm_destroy: {count} ranges of memory are mapped")
            }
            Self::VcpuAbandoned { vcpu } => write!(f, "the thread of vCPU {vcpu} ended"),
            Self::VmLeft => f.write_str("the VM was never destroyed"),
            Self::ObjectLeaked { created_by } => write!(f, "{created_by}: never released"),
            Self::BadRelease => f.write_str("os_release: no such object"),
            Self::NullPointer { call } => write!(f, "{call}: a null pointer"),
            Self::ScriptEnded { vcpu } => write!(f, "vCPU {vcpu} has no more scripted exits"),
            Self::SameAffinity { vcpu } => {
                write!(f, "hv_vcpu_run: vCPU {vcpu} has the affinity of another")
            }
        }
    }
}

static RECORD: Mutex<Vec<Violation>> = Mutex::new(Vec::new());

/// Records a violation.
pub(crate) fn record(violation: Violation) {
    let mut record = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    record.push(violation);
}

/// The rules that were broken so far, in order.
#[must_use]
pub fn violations() -> Vec<Violation> {
    let record = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    record.clone()
}

/// As [`violations`], and forgets them.
#[must_use]
pub fn take_violations() -> Vec<Violation> {
    let mut record = RECORD.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut record)
}
