//! Calls of functions that take a vector by value, on AArch64 hosts.
//!
//! The procedure call standard passes the vector in V0 and counts it apart from the integers, so the
//! two integers stay where they came. `u128` would not do: it goes to two general registers.

// UNSAFETY: a call that the compiler cannot make.
#![expect(unsafe_code, reason = "a vector by value")]

use std::arch::naked_asm;

use crate::hvf::abi::{Return, VcpuHandle};
use crate::hvf::table::VectorSetter;

/// Calls `function(vcpu, reg, *value)`.
///
/// # Safety
/// `function` is a function of that type that may be called so; `value` is readable.
#[unsafe(naked)]
pub unsafe extern "C" fn set_vector(
    vcpu: VcpuHandle,
    reg: u32,
    value: *const u128,
    function: VectorSetter,
) -> Return {
    naked_asm!("ldr q0, [x2]", "br x3")
}
