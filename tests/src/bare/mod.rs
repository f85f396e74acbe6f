//! Bare-metal guests on any accelerator, for tests of the accelerator itself.
//!
//! A test writes a small program with [`asm`], puts it into a [`Program`], and runs it on a vCPU of
//! a [`Machine`], exit by exit. Only the traits of `hv_backend::api` are used, so a test says what
//! every accelerator does; which one it runs on is the environment's choice ([`accelerator`]).
//!
//! | file | what |
//! |---|---|
//! | `asm` | the assembler |
//! | `gic` | the interrupt controller as programs drive it |
//! | `image` | what lies in the guest's RAM: program, vectors, page table |
//! | `machine` | a VM with RAM and an interrupt controller, the kernel's or the model |
//! | `cpu` | a vCPU on its thread: exits that concern the test are handed to it |
//! | `watchdog` | no test hangs |
//!
//! What a program finds at its start: X28 holds [`DEVICE`], where nothing is mapped, so that an access
//! leaves the guest; X27 holds [`DATA`], RAM of its own; the MMU is on with an identity map, RAM
//! cacheable, so that host and guest see each other's stores on every processor. Exceptions it does
//! not handle itself are reported, see [`image`].

pub mod asm;
mod cpu;
pub mod gic;
pub mod image;
mod machine;
mod watchdog;

use aarch64::Gpa;
use aarch64::machine::{RAM_BASE, UART};
use hv_backend::api::Hypervisor;
use hv_backend::select::{Choice, select};
use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher, Hasher};

use asm::X;

use crate::simulated;

pub use cpu::Cpu;
pub use image::Program;
pub use machine::Machine;
pub use watchdog::{LIMIT, watched, watched_for};

/// An address without memory.
pub const DEVICE: Gpa = UART.base;
/// Where a program stores what it wants to tell the test.
pub const REPORT: Gpa = Gpa(DEVICE.0 + 0x100);
/// Where the default vectors store their offset in the table.
pub const EXCEPTION: Gpa = Gpa(DEVICE.0 + 0x200);
/// RAM that programs use as they like.
pub const DATA: Gpa = Gpa(RAM_BASE.0 + image::DATA);
/// The register that holds [`DEVICE`].
pub const DEV: X = X(28);
/// The register that holds [`DATA`].
pub const MEM: X = X(27);

/// The accelerator that `ARMLET_ACCEL` names; the software CPU if it names none.
///
/// # Panics
/// When it does not work here: whoever names one wants it tested.
#[must_use]
pub fn accelerator() -> Box<dyn Hypervisor> {
    simulated::install().unwrap_or_else(|error| panic!("{error}"));
    let name = crate::accelerator_name();
    let choice: Choice = name.parse().expect("ARMLET_ACCEL names an accelerator");
    let passed_over = |accel, why: &str| eprintln!("{accel} is passed over: {why}");
    select(choice, passed_over).unwrap_or_else(|error| panic!("{error}"))
}

/// A vCPU alone in its machine, at the beginning of the program that `build` writes.
#[must_use]
pub fn guest(build: impl FnOnce(&mut asm::Asm)) -> Cpu {
    Cpu::alone(&Program::new(build))
}

/// The seed of a test with random parts: `ARMLET_SEED`, or another one each time. It is printed, so
/// that a failure can be repeated.
///
/// # Panics
/// When the environment holds no number.
#[must_use]
pub fn random_seed(test: &str) -> u64 {
    let seed = match env::var("ARMLET_SEED") {
        Ok(text) => {
            let digits = text.trim_start_matches("0x");
            u64::from_str_radix(digits, 16).expect("ARMLET_SEED is a hexadecimal number")
        }
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    eprintln!("{test}: ARMLET_SEED={seed:#x}");
    seed
}
