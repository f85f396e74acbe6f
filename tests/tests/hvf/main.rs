//! The rules of Hypervisor.framework, one by one: the `hvf` backend keeps them, and the simulator
//! notices where it does not. What every accelerator does alike is in `conformance`.

#![expect(clippy::unwrap_used, reason = "a failed check of a test is a panic")]

mod calls;
mod identity;
mod kicks;
mod mac;
mod memory;
mod program;
mod refusals;
mod registers;
mod time;
