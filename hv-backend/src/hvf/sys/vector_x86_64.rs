//! Calls of functions that take a vector by value, on x86-64 hosts, where a simulator may stand for
//! the framework.
//!
//! The System V convention passes the vector in XMM0 and counts it apart from the integers, so the
//! two integers stay where they came.

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
pub unsafe extern "sysv64" fn set_vector(
    vcpu: VcpuHandle,
    reg: u32,
    value: *const u128,
    function: VectorSetter,
) -> Return {
    naked_asm!("movups xmm0, [rdx]", "jmp rcx")
}
