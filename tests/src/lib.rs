//! What the end-to-end tests share. The tests themselves are the files of `tests/tests`; `cargo
//! xtask test` makes a step of each, and runs those named `guest_*` once per accelerator.
//!
//! - [`bare`] runs small programs of a test's own on an accelerator, without the VMM.
//! - [`debian`] is a guest that boots from a disk of its own.
//! - [`guest`] boots a guest in the real `armlet` program and talks to it.
//! - [`image`] makes and checks images of disks.
//! - [`moving`] runs machines in this process, and moves them from one to the next.
//! - [`program`] finds that program, and runs it for tests of its command line.
//! - [`running`] runs it with a guest that hears nothing, for tests of how it is controlled.
//! - [`simulated`] puts a simulator in place of Hypervisor.framework.
//! - [`trace`] records what an accelerator tells the VMM, and replays it without one.
//! - [`skip`] is how a test says that it cannot run here: loudly, and counted.
//!
//! Environment: `ARMLET_BIN` is the program (default: the release build), `ARMLET_ACCEL` the
//! accelerator (default `soft`), `ARMLET_SKIP_LOG` a file that skips are recorded in.
//! `ARMLET_TEST_QUIET` keeps the guests' kernels from telling all they do, where serial output is
//! slow. `ARMLET_TEST_VMM=qemu` runs the guests in `qemu-system-aarch64` instead: a test that fails there
//! too is itself at fault.

#![expect(clippy::panic, reason = "a failed check of a test is a panic")]

pub mod bare;
pub mod debian;
pub mod guest;
pub mod image;
pub mod moving;
pub mod program;
pub mod running;
pub mod simulated;
pub mod skip;
pub mod trace;

/// The name of the accelerator that the tests are to run on.
#[must_use]
pub fn accelerator_name() -> String {
    std::env::var("ARMLET_ACCEL").unwrap_or_else(|_| "soft".to_owned())
}
