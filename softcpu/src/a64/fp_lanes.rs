//! From operations on values to operations of the emitter: scalar, lane by lane, by element,
//! pairwise; and the semantics functions of those shapes.

use core::marker::PhantomData;

use aarch64::Size;

use super::fp_ops::{Fp1, Fp2, Fp3};
use crate::emitter::{Args, Emitter, Scalar1, Scalar2, Scalar3, Vec1, Vec2, Vec3};
use crate::fp::{Arith, Format, FpEnv};

pub(super) type Done<E> = Result<(), <E as Emitter>::Stop>;

/// The register size that holds one value of the format.
#[inline(always)]
pub(super) const fn size<F: Format>() -> Size {
    match F::WIDTH {
        16 => Size::H,
        32 => Size::W,
        _ => Size::D,
    }
}

/// Lanes of format `F` in a vector of 64 bits, or of 128 if `q`.
#[inline(always)]
pub(super) const fn lanes<F: Format>(q: bool) -> u32 {
    (if q { 128 } else { 64 }) / F::WIDTH
}

/// One lane, zero-extended.
#[inline(always)]
pub(super) fn lane<F: Format>(vector: u128, index: u32) -> u64 {
    (vector >> (index * F::WIDTH)) as u64 & F::MASK
}

/// A vector with `value`, which must fit, in one lane and zeros elsewhere.
#[inline(always)]
pub(super) fn in_lane<F: Format>(index: u32, value: u64) -> u128 {
    u128::from(value) << (index * F::WIDTH)
}

/// An operation on single values.
#[derive(Debug)]
pub(super) struct One<F, O>(PhantomData<(F, O)>);

impl<F: Arith, O: Fp1> Scalar1 for One<F, O> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u64) -> u64 {
        O::eval::<F>(env, imm, a)
    }
}

impl<F: Arith, O: Fp2> Scalar2 for One<F, O> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, _imm: u32, a: u64, b: u64) -> u64 {
        O::eval::<F>(env, a, b)
    }
}

impl<F: Arith, O: Fp3> Scalar3 for One<F, O> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, _imm: u32, c: u64, a: u64, b: u64) -> u64 {
        O::eval::<F>(env, c, a, b)
    }
}

/// An operation on each lane, of 128 bits if `Q`.
#[derive(Debug)]
pub(super) struct Each<F, O, const Q: bool>(PhantomData<(F, O)>);

impl<F: Arith, O: Fp1, const Q: bool> Vec1 for Each<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, imm: u32, a: u128) -> u128 {
        let mut result = 0;
        for i in 0..lanes::<F>(Q) {
            result |= in_lane::<F>(i, O::eval::<F>(env, imm, lane::<F>(a, i)));
        }
        result
    }
}

impl<F: Arith, O: Fp2, const Q: bool> Vec2 for Each<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, a: u128, b: u128) -> u128 {
        let mut result = 0;
        for i in 0..lanes::<F>(Q) {
            result |= in_lane::<F>(i, O::eval::<F>(env, lane::<F>(a, i), lane::<F>(b, i)));
        }
        result
    }
}

impl<F: Arith, O: Fp3, const Q: bool> Vec3 for Each<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, c: u128, a: u128, b: u128) -> u128 {
        let mut result = 0;
        for i in 0..lanes::<F>(Q) {
            let (c, a, b) = (lane::<F>(c, i), lane::<F>(a, i), lane::<F>(b, i));
            result |= in_lane::<F>(i, O::eval::<F>(env, c, a, b));
        }
        result
    }
}

/// An operation on each lane of the first operands and lane `imm` of the last.
#[derive(Debug)]
pub(super) struct ByElement<F, O, const Q: bool>(PhantomData<(F, O)>);

impl<F: Arith, O: Fp2, const Q: bool> Vec2 for ByElement<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let (mut result, b) = (0, lane::<F>(b, imm));
        for i in 0..lanes::<F>(Q) {
            result |= in_lane::<F>(i, O::eval::<F>(env, lane::<F>(a, i), b));
        }
        result
    }
}

impl<F: Arith, O: Fp3, const Q: bool> Vec3 for ByElement<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, imm: u32, c: u128, a: u128, b: u128) -> u128 {
        let (mut result, b) = (0, lane::<F>(b, imm));
        for i in 0..lanes::<F>(Q) {
            result |= in_lane::<F>(i, O::eval::<F>(env, lane::<F>(c, i), lane::<F>(a, i), b));
        }
        result
    }
}

/// An operation on neighbouring lanes of the first operand, then of the second.
#[derive(Debug)]
pub(super) struct Pairs<F, O, const Q: bool>(PhantomData<(F, O)>);

impl<F: Arith, O: Fp2, const Q: bool> Vec2 for Pairs<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, a: u128, b: u128) -> u128 {
        let (mut result, half) = (0, lanes::<F>(Q) / 2);
        for i in 0..lanes::<F>(Q) {
            let (from, at) = if i < half {
                (a, 2 * i)
            } else {
                (b, 2 * (i - half))
            };
            let (x, y) = (lane::<F>(from, at), lane::<F>(from, at + 1));
            result |= in_lane::<F>(i, O::eval::<F>(env, x, y));
        }
        result
    }
}

/// An operation across all lanes, of 128 bits if `Q`, in the order of the pseudocode's Reduce:
/// neighbours first.
#[derive(Debug)]
pub(super) struct Across<F, O, const Q: bool>(PhantomData<(F, O)>);

impl<F: Arith, O: Fp2, const Q: bool> Vec1 for Across<F, O, Q> {
    #[inline]
    fn eval(env: &mut FpEnv, _imm: u32, a: u128) -> u128 {
        let mut values = [0; 8];
        let mut count = lanes::<F>(Q) as usize;
        for (i, value) in (0..).zip(&mut values[..count]) {
            *value = lane::<F>(a, i);
        }
        while count > 1 {
            count /= 2;
            for i in 0..count {
                values[i] = O::eval::<F>(env, values[2 * i], values[2 * i + 1]);
            }
        }
        in_lane::<F>(0, values[0])
    }
}

/// Scalar `d = O(n)`.
pub(super) fn scalar1<E: Emitter, F: Arith, O: Fp1>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getv(size::<F>(), a.n);
    let r = e.scalar1::<One<F, O>>(u32::from(a.k), n);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// Scalar `d = O(n, m)`.
pub(super) fn scalar2<E: Emitter, F: Arith, O: Fp2>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), e.getv(size::<F>(), a.m));
    let r = e.scalar2::<One<F, O>>(0, n, m);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// Scalar `d = O(a, n, m)`.
pub(super) fn scalar3<E: Emitter, F: Arith, O: Fp3>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getv(size::<F>(), a.n), e.getv(size::<F>(), a.m));
    let c = e.getv(size::<F>(), a.a);
    let r = e.scalar3::<One<F, O>>(0, c, n, m);
    e.putv(size::<F>(), a.d, r);
    Ok(())
}

/// `d = O(n)` on vectors.
pub(super) fn vector1<E: Emitter, O: Vec1>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getq(a.n);
    let r = e.vec1::<O>(u32::from(a.k), n);
    e.putq(a.d, r);
    Ok(())
}

/// `d = O(n, m)` on vectors.
pub(super) fn vector2<E: Emitter, O: Vec2>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getq(a.n), e.getq(a.m));
    let r = e.vec2::<O>(u32::from(a.k), n, m);
    e.putq(a.d, r);
    Ok(())
}

/// `d = O(d, n, m)` on vectors.
pub(super) fn vector3<E: Emitter, O: Vec3>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n, m) = (e.getq(a.d), e.getq(a.n), e.getq(a.m));
    let r = e.vec3::<O>(u32::from(a.k), d, n, m);
    e.putq(a.d, r);
    Ok(())
}
