//! Scripted vCPUs: exits prepared by a test instead of made by a guest.
//!
//! Each run of a scripted vCPU takes the next [`Scripted`], sets the registers it names and returns
//! what it says. The vCPU's other behaviour stays: registers, kicks, pending interrupts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hv_backend::hvf::abi::{ExitRecord, Return, reason, status};

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    /// Registers to be set before it returns, by the numbers of `hv_vcpu_set_reg`.
    pub registers: Vec<(u32, u64)>,
    /// What it leaves in the exit record.
    pub exit: ExitRecord,
    /// What it returns.
    pub status: Return,
}

impl Scripted {
    /// An exception with this syndrome, at these addresses.
    #[must_use]
    pub fn exception(syndrome: u64, virtual_address: u64, physical_address: u64) -> Self {
        let exit = ExitRecord {
            reason: reason::EXCEPTION,
            syndrome,
            virtual_address,
            physical_address,
            ..ExitRecord::default()
        };
        Self {
            registers: Vec::new(),
            exit,
            status: status::SUCCESS,
        }
    }

    /// An exit for a reason that needs no more words.
    #[must_use]
    pub fn bare(reason: u32) -> Self {
        let exit = ExitRecord {
            reason,
            ..ExitRecord::default()
        };
        Self {
            exit,
            ..Self::exception(0, 0, 0)
        }
    }

    /// A run that fails.
    #[must_use]
    pub fn failure(status: Return) -> Self {
        Self {
            status,
            ..Self::exception(0, 0, 0)
        }
    }

    /// The same, with a register set.
    #[must_use]
    pub fn with(mut self, register: u32, value: u64) -> Self {
        self.registers.push((register, value));
        self
    }
}

/// Whether any vCPU is scripted: the others must not pay for it.
static ANY: AtomicBool = AtomicBool::new(false);
static SCRIPTS: Mutex<BTreeMap<u64, VecDeque<Scripted>>> = Mutex::new(BTreeMap::new());

/// Makes a vCPU play these exits, and no guest.
pub fn script(vcpu: u64, exits: impl IntoIterator<Item = Scripted>) {
    lock().insert(vcpu, exits.into_iter().collect());
    ANY.store(true, Ordering::SeqCst);
}

/// What a scripted vCPU does next; `None` inside when its script is at its end.
pub(crate) fn next(vcpu: u64) -> Option<Option<Scripted>> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    lock().get_mut(&vcpu).map(VecDeque::pop_front)
}

/// Makes all vCPUs run guests again.
pub(crate) fn clear() {
    lock().clear();
    ANY.store(false, Ordering::SeqCst);
}

fn lock() -> MutexGuard<'static, BTreeMap<u64, VecDeque<Scripted>>> {
    SCRIPTS.lock().unwrap_or_else(PoisonError::into_inner)
}
