//! An A64 CPU as a library: the `portable` CPU model of armlet in software.
//!
//! It has no VMM, no threads and no clock of its own. Its owner gives it guest memory
//! ([`memory::Layout`]), a clock and a place in a [`cluster::Cluster`], calls [`Interpreter::run`] and
//! answers the [`Event`]s that come back.
//!
//! How it works, in the order an instruction meets it:
//! - [`table`] holds one row for each encoding: its bits, how operands are taken out of it, what
//!   it does. Decoder, names and the random-instruction generator of the differential test read
//!   the same rows.
//! - [`a64`] holds what instructions do, one file for each class as the Arm ARM names them
//!   (chapter C4), written once over an [`emitter::Emitter`]. The interpreter is the emitter whose
//!   values are the numbers themselves; a translator is one whose values are nodes of its IR.
//! - `block` decodes straight-line code once and keeps it by physical address.
//! - [`interp`] runs blocks and returns events; `direct` is its emitter, [`int`] its arithmetic.
//! - [`cpu`] is the state, `exception` and `sysregs` the system level around it.
//! - `single` runs one instruction for somebody else, without an interpreter.
//! - [`hypervised`] is what an owner asks for that is a hypervisor and not the machine.
//! - `mem` is the slow path of memory accesses: page table walks, device memory, misalignment.
//!
//! Encodings that the `portable` model does not have are undefined for the guest, all of them.

#![forbid(unsafe_code)]

pub mod a64;
mod block;
pub mod cluster;
pub mod cpu;
pub mod debug;
mod direct;
pub mod emitter;
mod exception;
mod exclusive;
pub mod fp;
pub mod hypervised;
pub mod int;
pub mod interp;
mod maintenance;
mod mem;
mod mmu;
mod replay;
mod single;
mod sysregs;
mod system;
pub mod table;
mod timer;
mod tlb;
mod walk;

pub use cpu::{Cpu, Event, Reply};
pub use interp::Interpreter;
pub use single::is_access;
