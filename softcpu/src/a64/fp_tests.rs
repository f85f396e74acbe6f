//! Tests of the shapes of FP instructions: which lanes go where, which bits stay, what traps.
//! What single operations compute is tested in [`crate::fp`].

use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs};
use memory::Layout;

use crate::Cpu;
use crate::cluster::{Clock, Cluster};
use crate::fp::{fpcr, fpsr};
use crate::interp::table;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn counter(&self) -> u64 {
        0
    }

    fn frequency(&self) -> u64 {
        1
    }
}

/// Registers before or after one instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Regs {
    core: CoreRegs,
    simd: SimdRegs,
}

/// Runs one instruction.
fn run(insn: u32, regs: Regs) -> Regs {
    let (cluster, layout) = (Arc::new(Cluster::new(1)), Arc::new(Layout::default()));
    let mut cpu = Cpu::new(0, cluster, Arc::new(Still), layout);
    cpu.set_core(&regs.core);
    cpu.set_simd(&regs.simd);
    let (row, args) = table().decode(insn).expect("defined");
    (row.exec)(&mut cpu, &args).expect("runs");
    Regs {
        core: cpu.core(),
        simd: cpu.simd(),
    }
}

/// Four singles as a vector.
fn singles(lanes: [f32; 4]) -> u128 {
    lanes
        .iter()
        .rev()
        .fold(0, |v, x| v << 32 | u128::from(x.to_bits()))
}

/// Two doubles as a vector.
fn doubles(lanes: [f64; 2]) -> u128 {
    u128::from(lanes[1].to_bits()) << 64 | u128::from(lanes[0].to_bits())
}

/// Runs one instruction on these V0, V1 and V2, and gives V0.
fn v0(insn: u32, v: [u128; 3]) -> u128 {
    let mut regs = Regs::default();
    regs.simd.v[..3].copy_from_slice(&v);
    run(insn, regs).simd.v[0]
}

const JUNK: u128 = u128::MAX / 3;

#[test]
fn immediates_expand_to_numbers() {
    let fmov = |insn| run(insn, Regs::default()).simd.v;
    assert_eq!(fmov(0x1e6e_1000)[0], u128::from(1.0_f64.to_bits()));
    assert_eq!(fmov(0x1e38_1003)[3], u128::from((-0.125_f32).to_bits()));
    assert_eq!(fmov(0x1e67_f007)[7], u128::from(31.0_f64.to_bits()));
}

#[test]
fn pairwise_takes_the_first_operand_for_the_low_half() {
    let (n, m) = (
        singles([1.0, 2.0, 3.0, 4.0]),
        singles([10.0, 20.0, 30.0, 40.0]),
    );
    // faddp v0.4s, v1.4s, v2.4s
    assert_eq!(
        v0(0x6e22_d420, [JUNK, n, m]),
        singles([3.0, 7.0, 30.0, 70.0])
    );
    // faddp d0, v1.2d
    assert_eq!(
        v0(0x7e70_d820, [JUNK, doubles([1.5, 2.0]), JUNK]),
        doubles([3.5, 0.0])
    );
}

#[test]
fn reduction_covers_four_lanes_and_clears_the_rest() {
    // fmaxv s0, v1.4s
    let n = singles([1.0, -2.0, 8.0, 4.0]);
    assert_eq!(
        v0(0x6e30_f820, [JUNK, n, JUNK]),
        singles([8.0, 0.0, 0.0, 0.0])
    );
}

#[test]
fn by_element_uses_one_lane_of_the_last_operand() {
    let (n, m) = (singles([1.0, 2.0, 3.0, 4.0]), singles([9.0, 9.0, 9.0, 0.5]));
    // fmul v0.2s, v1.2s, v2.s[3]
    assert_eq!(v0(0x0fa2_9820, [JUNK, n, m]), singles([0.5, 1.0, 0.0, 0.0]));
    // fmla d0, d1, v2.d[1]
    let vectors = [
        doubles([1.0, 7.0]),
        doubles([2.0, 7.0]),
        doubles([7.0, 3.0]),
    ];
    assert_eq!(v0(0x5fc2_1820, vectors), doubles([7.0, 0.0]));
}

#[test]
fn narrowing_to_the_upper_half_keeps_the_lower() {
    // fcvtn2 v0.4s, v1.2d
    let vectors = [singles([1.0, 2.0, 3.0, 4.0]), doubles([5.0, 6.0]), JUNK];
    assert_eq!(v0(0x4e61_6820, vectors), singles([1.0, 2.0, 5.0, 6.0]));
    // fcvtl2 v0.2d, v1.4s
    let vectors = [JUNK, singles([1.0, 2.0, 3.0, 4.0]), JUNK];
    assert_eq!(v0(0x4e61_7820, vectors), doubles([3.0, 4.0]));
}

#[test]
fn the_64_bit_form_clears_the_upper_half() {
    // fneg v0.2s, v1.2s
    let n = singles([1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        v0(0x2ea0_f820, [JUNK, n, JUNK]),
        singles([-1.0, -2.0, 0.0, 0.0])
    );
    // scvtf v0.2s, v1.2s, #32
    let n = u128::from(1_u32 << 31);
    assert_eq!(
        v0(0x0f20_e420, [JUNK, n, JUNK]),
        singles([-0.5, 0.0, 0.0, 0.0])
    );
}

#[test]
fn comparison_with_zero_gives_masks() {
    // fcmlt v0.4s, v1.4s, #0.0
    let n = singles([-1.0, -0.0, 1.0, f32::NEG_INFINITY]);
    let ones = f32::from_bits(u32::MAX);
    assert_eq!(
        v0(0x4ea0_e820, [JUNK, n, JUNK]),
        singles([ones, 0.0, 0.0, ones])
    );
}

#[test]
fn moves_reach_the_upper_half_alone() {
    let mut regs = Regs::default();
    regs.core.x[1] = 0x1234;
    regs.simd.v[0] = JUNK;
    // fmov v0.d[1], x1, and back: fmov x1, v0.d[1]
    let after = run(0x9eaf_0020, regs);
    assert_eq!(after.simd.v[0], 0x1234 << 64 | JUNK & u128::from(u64::MAX));
    assert_eq!(run(0x9eae_0001, after).core.x[1], 0x1234);
}

#[test]
fn a_conditional_compare_not_made_raises_nothing() {
    let mut regs = Regs::default();
    regs.simd.v[1] = 0x7fc0_0000;
    // fccmpe s1, s2, #5, ne
    regs.core.pstate |= aarch64::pstate::Z;
    let skipped = run(0x1e22_1435, regs);
    assert_eq!((skipped.core.pstate >> 28, skipped.simd.fpsr), (5, 0));
    regs.core.pstate &= !aarch64::pstate::Z;
    let made = run(0x1e22_1435, regs);
    assert_eq!(
        (made.core.pstate >> 28, made.simd.fpsr),
        (0b0011, fpsr::IOC)
    );
}

#[test]
fn half_precision_has_a_flush_of_its_own_and_no_alternative() {
    let add = |fpcr, a, b| {
        let mut regs = Regs::default();
        regs.simd.fpcr = fpcr;
        (regs.simd.v[0], regs.simd.v[1], regs.simd.v[2]) = (u128::MAX, a, b);
        // fadd h0, h1, h2
        let simd = run(0x1ee2_2820, regs).simd;
        (simd.v[0], simd.fpsr)
    };
    let (one_and_a_half, infinity, tiny) = (0x3e00, 0x7c00, 1);
    assert_eq!(add(0, one_and_a_half, one_and_a_half), (0x4200, 0));
    assert_eq!(add(fpcr::AHP, infinity, one_and_a_half), (infinity, 0));
    assert_eq!(add(fpcr::FZ, tiny, 0), (tiny, 0));
    assert_eq!(add(fpcr::FZ16, tiny, 0), (0, 0), "and nothing is flagged");
}

/// The oracle of the differential test leaves the sign above the result.
#[test]
fn a_half_becomes_an_integer_as_wide_and_no_wider() {
    let mut regs = Regs::default();
    // Minus 24592 times 2^5 is out of range.
    regs.simd.v[3] = 0xf601;
    // fcvtzs h8, h3, #5
    let simd = run(0x5f1b_fc68, regs).simd;
    assert_eq!((simd.v[8], simd.fpsr), (0x8000, fpsr::IOC));
}

#[test]
fn what_the_model_has_not_is_undefined() {
    // frint32z d0, d1; fmla v0.2d with L set; a fixed-point W with 40 fraction bits; fabs of a
    // SIMD scalar half; frecpx of a vector of halves
    for insn in [
        0x1e68_4020,
        0x4fe2_1820,
        0x1e58_6020,
        0x5ef8_f820,
        0x4ef9_f820,
    ] {
        assert!(table().decode(insn).is_none(), "{insn:08x}");
    }
}
