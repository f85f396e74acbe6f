//! `hv_vcpu_set_simd_fp_reg` on AArch64: the vector comes in V0.

// UNSAFETY: a function that takes what no Rust type stands for.
#![expect(unsafe_code, reason = "a vector by value")]

use std::arch::naked_asm;

use crate::ffi::registers::set_simd_fp_reg_from_memory;

/// `hv_return_t (hv_vcpu_t vcpu, uint32_t reg, uint8x16_t value)`: puts the vector on the stack and
/// its address where the third integer goes.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn set_simd_fp_reg() {
    naked_asm!(
        "stp x29, x30, [sp, #-32]!",
        "mov x29, sp",
        "str q0, [sp, #16]",
        "add x2, sp, #16",
        "bl {inner}",
        "ldp x29, x30, [sp], #32",
        "ret",
        inner = sym set_simd_fp_reg_from_memory,
    )
}
