//! What every accelerator does alike, on small bare-metal guests: one file for each behaviour.
//!
//! The accelerator is the one that `ARMLET_ACCEL` names (default `soft`). A behaviour that it does
//! not have is a skip with the accelerator's own reason. `tests/README.md` has the table of
//! behaviours by accelerator; `armlet_tests::bare` says how a test is written.
//!
//! Run one at a time (`--test-threads=1`): some accelerators have one VM in a process.

mod calls;
mod debug;
mod dirty;
mod discard;
mod doorbells;
mod identity;
mod interrupt_state;
mod interrupts;
mod kicks;
mod memory;
mod mmio;
mod pauses;
mod state;
mod sysregs;
mod timers;
mod undecoded;
