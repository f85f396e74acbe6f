//! What A64 instructions do, one file for each class of chapter C4 of the Arm ARM.
//!
//! To add an instruction: write its semantics over [`Emitter`], an `args` function that takes its
//! operands out and refuses unallocated encodings, and a row in the class's `rows`.

pub mod branch;
pub mod crypto_aes;
pub mod crypto_sha;
pub mod dp_imm;
pub mod dp_reg;
pub mod field;
pub mod fp_convert;
mod fp_lanes;
mod fp_ops;
pub mod fp_scalar;
#[cfg(test)]
mod fp_tests;
pub mod ldst;
pub mod ldst_atomic;
pub mod ldst_simd;
pub mod ldst_struct;
pub mod simd_copy;
pub mod simd_element;
pub mod simd_fp_misc;
pub mod simd_fp_same;
pub mod simd_lane;
pub mod simd_op;
pub mod simd_permute;
pub mod simd_shift;
pub mod simd_three_diff;
pub mod simd_three_same;
pub mod simd_two_reg;
pub mod system;

use crate::emitter::Emitter;
use crate::table::Table;

/// Adds the rows of every class.
pub fn rows<E: Emitter>(table: &mut Table<E>) {
    dp_imm::rows(table);
    dp_reg::rows(table);
    branch::rows(table);
    ldst::rows(table);
    ldst_atomic::rows(table);
    ldst_simd::rows(table);
    system::rows(table);
    fp_scalar::rows(table);
    fp_convert::rows(table);
    simd_fp_same::rows(table);
    simd_fp_misc::rows(table);
    ldst_struct::rows(table);
    simd_three_same::rows(table);
    simd_three_diff::rows(table);
    simd_element::rows(table);
    simd_two_reg::rows(table);
    simd_shift::rows(table);
    simd_copy::rows(table);
    simd_permute::rows(table);
    crypto_aes::rows(table);
    crypto_sha::rows(table);
}
