//! Which vCPUs are on: the table that PSCI reads and changes.
//!
//! | from      | to        | by |
//! |-----------|-----------|----|
//! | `Off`     | `Pending` | `CPU_ON` from another vCPU, or a reset of the machine (vCPU 0) |
//! | `Pending` | `On`      | the vCPU's own thread, before it enters the guest |
//! | `On`      | `Off`     | `CPU_OFF` by itself |
//! | any       | `Off`     | a reset of the machine |

use std::sync::{Mutex, PoisonError};

use aarch64::VcpuId;

/// Where a vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first instruction.
    pub pc: u64,
    /// Its X0: the device tree's address for vCPU 0, else the context that `CPU_ON` gave.
    pub x0: u64,
}

/// Power state of one vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It does nothing until somebody starts it.
    Off,
    /// It was started; its thread has not seen that yet.
    Pending(Entry),
    /// It runs, or waits for an interrupt.
    On,
}

/// Power states of all vCPUs.
#[derive(Debug)]
pub struct PowerTable(Mutex<Vec<Power>>);

impl PowerTable {
    /// All of `count` vCPUs off.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self(Mutex::new(vec![Power::Off; usize::from(count)]))
    }

    /// Reads and changes the table in one step.
    pub fn with<R>(&self, change: impl FnOnce(&mut [Power]) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state of one vCPU; one that the machine does not have is off.
    #[must_use]
    pub fn of(&self, id: VcpuId) -> Power {
        self.with(|powers| powers.get(id.index()).copied().unwrap_or(Power::Off))
    }

    /// Everything off but vCPU 0, which starts at `entry`.
    pub fn reset(&self, entry: Entry) {
        self.with(|powers| {
            powers.fill(Power::Off);
            if let Some(first) = powers.first_mut() {
                *first = Power::Pending(entry);
            }
        });
    }

    /// Takes a start that is pending: the vCPU is on from here.
    pub fn take_start(&self, id: VcpuId) -> Option<Entry> {
        self.with(|powers| {
            let power = powers.get_mut(id.index())?;
            let Power::Pending(entry) = *power else {
                return None;
            };
            *power = Power::On;
            Some(entry)
        })
    }

    /// Turns a vCPU off; whether it was the last one.
    pub fn turn_off(&self, id: VcpuId) -> bool {
        self.with(|powers| {
            if let Some(power) = powers.get_mut(id.index()) {
                *power = Power::Off;
            }
            powers.iter().all(|power| *power == Power::Off)
        })
    }
}
