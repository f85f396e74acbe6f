//! Calls of functions that take a vector by value, on hosts where nothing stands for the framework.

// UNSAFETY: the same signature as on other hosts.
#![expect(unsafe_code, reason = "the same signature as on other hosts")]

use crate::hvf::abi::{Return, VcpuHandle, status};
use crate::hvf::table::VectorSetter;

/// Refuses.
///
/// # Safety
/// None is needed.
pub unsafe fn set_vector(_: VcpuHandle, _: u32, _: *const u128, _: VectorSetter) -> Return {
    status::UNSUPPORTED
}
