//! How another thread gets a vCPU out of the guest, without a gap.
//!
//! A kick sets `pending`, then the flag in memory shared with the kernel that makes `KVM_RUN`
//! return at once, then sends a signal that makes a `KVM_RUN` under way return. Whichever moment it
//! meets the vCPU in, the flag stops the next entry or the signal ends this one; the vCPU's thread
//! then clears the flag *before* it takes `pending`, so that a kick in between leaves both set. At
//! worst the flag alone is left, and one entry returns for nothing.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

use kvm_ioctls::VcpuFd;

use super::sys::{self, ImmediateExit};
use crate::api::HostError;

/// No thread.
const NOBODY: i32 = 0;

/// A vCPU as those see it who kick it.
#[derive(Debug)]
pub struct Kick {
    pending: AtomicBool,
    flag: ImmediateExit,
    thread: AtomicI32,
}

impl Kick {
    /// For this vCPU, that no thread runs yet.
    pub fn new(vcpu: &VcpuFd) -> Result<Self, HostError> {
        let flag = ImmediateExit::new(vcpu).map_err(|source| HostError::Os {
            call: "mmap of a vCPU",
            source,
        })?;
        Ok(Self {
            pending: AtomicBool::new(false),
            flag,
            thread: AtomicI32::new(NOBODY),
        })
    }

    /// This thread runs the vCPU from now on.
    pub fn bind(&self) {
        self.thread.store(sys::this_thread(), SeqCst);
    }

    /// No thread runs it any more.
    pub fn release(&self) {
        self.thread.store(NOBODY, SeqCst);
    }

    /// Makes the current or next entry return. Any thread.
    pub fn kick(&self) {
        self.pending.store(true, SeqCst);
        self.flag.set(true);
        let thread = self.thread.load(SeqCst);
        if thread != NOBODY {
            sys::interrupt(thread);
        }
    }

    /// Whether the entry that just returned early was kicked; the kick is used up.
    pub fn take(&self) -> bool {
        self.flag.set(false);
        self.pending.swap(false, SeqCst)
    }

    /// Makes the next entry finish the last exit and return, whoever kicks or not.
    pub fn hold(&self) {
        self.flag.set(true);
    }

    /// Undoes [`Kick::hold`], but no kick.
    pub fn unhold(&self) {
        self.flag.set(false);
        if self.pending.load(SeqCst) {
            self.flag.set(true);
        }
    }
}
