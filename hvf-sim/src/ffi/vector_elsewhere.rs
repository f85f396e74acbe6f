//! `hv_vcpu_set_simd_fp_reg` on hosts whose calling convention nobody has looked up: it cannot be
//! called there, since what calls it does not know the convention either.

// UNSAFETY: the same signature as on other hosts.
#![expect(unsafe_code, reason = "the same signature as on other hosts")]

/// Does nothing.
pub(crate) unsafe extern "C" fn set_simd_fp_reg() {
    let _ = crate::ffi::registers::set_simd_fp_reg_from_memory;
}
