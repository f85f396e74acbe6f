//! How another thread gets a vCPU out of the guest, without a gap.
//!
//! A kick sets `pending`, then the flag in memory shared with the kernel that makes `KVM_RUN`
//! return at once, then sends a signal that makes a `KVM_RUN` under way return. Whichever moment it
//! meets the vCPU in, the flag stops the next entry or the signal ends this one; the vCPU's thread
//! then clears the flag *before* it takes `pending`, so that a kick in between leaves both set. At
//! worst the flag alone is left, and one entry returns for nothing.
//!
//! Who needs all vCPUs out of `KVM_RUN` for a moment, and kept out, holds them out: the same with
//! `held_out` for `pending`, but the vCPU's thread waits where it would take the kick, until it is
//! let in again.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    held_out: Mutex<bool>,
    let_in: Condvar,
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
            held_out: Mutex::new(false),
            let_in: Condvar::new(),
        })
    }

    /// This thread runs the vCPU from now on.
    pub fn bind(&self) {
        // Who started us may have blocked the signal, and threads inherit that.
        sys::accept_interrupts();
        self.thread.store(sys::this_thread(), SeqCst);
    }

    /// No thread runs it any more.
    pub fn release(&self) {
        self.thread.store(NOBODY, SeqCst);
    }

    /// Makes the current or next entry return. Any thread.
    pub fn kick(&self) {
        self.pending.store(true, SeqCst);
        self.interrupt();
    }

    /// Makes the current or next entry return, and its thread wait. It may still be on its way when
    /// this returns. Any other thread.
    pub fn hold_out(&self) {
        *self.held_out() = true;
        self.interrupt();
    }

    /// Ends [`Kick::hold_out`].
    pub fn let_in(&self) {
        *self.held_out() = false;
        self.let_in.notify_all();
    }

    fn interrupt(&self) {
        self.flag.set(true);
        let thread = self.thread.load(SeqCst);
        if thread != NOBODY {
            sys::interrupt(thread);
        }
    }

    /// Whether the entry that just returned early was kicked; the kick is used up. Waits while the
    /// vCPU is held out.
    pub fn take(&self) -> bool {
        self.flag.set(false);
        let held_out = self
            .let_in
            .wait_while(self.held_out(), |held_out| *held_out);
        drop(held_out.unwrap_or_else(PoisonError::into_inner));
        self.pending.swap(false, SeqCst)
    }

    /// Makes the next entry finish the last exit and return, whoever kicks or not.
    pub fn hold(&self) {
        self.flag.set(true);
    }

    /// Undoes [`Kick::hold`], but no kick.
    pub fn unhold(&self) {
        self.flag.set(false);
        if self.pending.load(SeqCst) || *self.held_out() {
            self.flag.set(true);
        }
    }

    fn held_out(&self) -> MutexGuard<'_, bool> {
        self.held_out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
