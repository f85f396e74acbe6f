//! How lane operations become vector operations, and vector operations instructions.
//!
//! A lane operation is a unit struct with [`Op1`], [`Op2`] or [`Op3`] for the lanes it is defined
//! on. [`Map`] applies it to each lane, [`Long`] to widened lanes; both are operations of the
//! [`Emitter`]. The functions at the end are the instructions: which registers go in, where the
//! result goes. The number of lanes decides the rest: `u8` times 16 is the arrangement 16B, times
//! 8 is 8B, times 1 is the scalar B; lanes above are cleared.

use std::marker::PhantomData;

use super::field::reg;
use super::simd_lane::{Lane, Widen, join, split};
use crate::emitter::{Args, Emitter, Vec1, Vec2, Vec3};
use crate::fp::FpEnv;
use crate::fp::fpsr;

pub(super) type Done<E> = Result<(), <E as Emitter>::Stop>;

/// An operation on one lane. `imm` is known at translation; `qc` is set on saturation.
pub trait Op1<T: Lane> {
    /// The lane of the result.
    type R: Lane;
    /// The result.
    fn lane(imm: u32, qc: &mut bool, a: T) -> Self::R;
}

/// An operation on two lanes.
pub trait Op2<T: Lane> {
    /// The lane of the result.
    type R: Lane;
    /// The result.
    fn lane(imm: u32, qc: &mut bool, a: T, b: T) -> Self::R;
}

/// An operation on three lanes, the first of the destination.
pub trait Op3<T: Lane> {
    /// The result.
    fn lane(imm: u32, qc: &mut bool, d: T, a: T, b: T) -> T;
}

/// Declares operations on lanes `T` that satisfy a bound: operands, result type, result. `imm` and
/// `qc` are named before the bar where they are used.
macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident<T: $bound:path>($($o:ident),*; $imm:tt, $qc:tt) -> $r:ty = $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        $crate::a64::simd_op::ops!(@ $name, $bound, ($($o),*), $imm, $qc, $r, $e);
    )*};
    (@ $name:ident, $bound:path, ($a:ident), $imm:tt, $qc:tt, $r:ty, $e:expr) => {
        impl<T: $bound> $crate::a64::simd_op::Op1<T> for $name {
            type R = $r;
            #[inline(always)]
            fn lane($imm: u32, $qc: &mut bool, $a: T) -> $r {
                $e
            }
        }
    };
    (@ $name:ident, $bound:path, ($a:ident, $b:ident), $imm:tt, $qc:tt, $r:ty, $e:expr) => {
        impl<T: $bound> $crate::a64::simd_op::Op2<T> for $name {
            type R = $r;
            #[inline(always)]
            fn lane($imm: u32, $qc: &mut bool, $a: T, $b: T) -> $r {
                $e
            }
        }
    };
    (@ $name:ident, $bound:path, ($d:ident, $a:ident, $b:ident), $imm:tt, $qc:tt, $r:ty, $e:expr) => {
        impl<T: $bound> $crate::a64::simd_op::Op3<T> for $name {
            #[inline(always)]
            fn lane($imm: u32, $qc: &mut bool, $d: T, $a: T, $b: T) -> $r {
                $e
            }
        }
    };
}
pub(super) use ops;

/// Runs `f` and records in FPSR whether it set its flag.
#[inline(always)]
pub(super) fn saturating<R>(env: &mut FpEnv, f: impl FnOnce(&mut bool) -> R) -> R {
    let mut qc = false;
    let r = f(&mut qc);
    if qc {
        env.raise(fpsr::QC);
    }
    r
}

/// `O` on each of `N` lanes.
#[derive(Clone, Copy, Debug)]
pub struct Map<O, T, const N: usize>(PhantomData<(O, T)>);

impl<O: Op1<T>, T: Lane, const N: usize> Vec1 for Map<O, T, N> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128) -> u128 {
        let a = split::<T, N>(a);
        saturating(env, |qc| join(a.map(|a| O::lane(imm, qc, a))))
    }
}

impl<O: Op2<T>, T: Lane, const N: usize> Vec2 for Map<O, T, N> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T, N>(a), split::<T, N>(b));
        saturating(env, |qc| {
            join::<_, N>(std::array::from_fn(|i| O::lane(imm, qc, a[i], b[i])))
        })
    }
}

impl<O: Op3<T>, T: Lane, const N: usize> Vec3 for Map<O, T, N> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, d: u128, a: u128, b: u128) -> u128 {
        let (d, a, b) = (split::<T, N>(d), split::<T, N>(a), split::<T, N>(b));
        saturating(env, |qc| {
            join::<_, N>(std::array::from_fn(|i| O::lane(imm, qc, d[i], a[i], b[i])))
        })
    }
}

/// `O` on `N` widened lanes of the low half, or of the high one.
#[derive(Clone, Copy, Debug)]
pub struct Long<O, T, const N: usize, const HIGH: bool>(PhantomData<(O, T)>);

/// As [`Long`], but the first source is wide already.
#[derive(Clone, Copy, Debug)]
pub struct Wide<O, T, const N: usize, const HIGH: bool>(PhantomData<(O, T)>);

#[inline(always)]
fn widen<T: Widen, const N: usize, const HIGH: bool>(v: u128) -> [T::Wide; N] {
    split::<T, N>(if HIGH { v >> 64 } else { v }).map(T::wide)
}

impl<O: Op1<T::Wide>, T: Widen, const N: usize, const HIGH: bool> Vec1 for Long<O, T, N, HIGH> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128) -> u128 {
        let a = widen::<T, N, HIGH>(a);
        saturating(env, |qc| join(a.map(|a| O::lane(imm, qc, a))))
    }
}

impl<O: Op2<T::Wide>, T: Widen, const N: usize, const HIGH: bool> Vec2 for Long<O, T, N, HIGH> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (widen::<T, N, HIGH>(a), widen::<T, N, HIGH>(b));
        saturating(env, |qc| {
            join::<_, N>(std::array::from_fn(|i| O::lane(imm, qc, a[i], b[i])))
        })
    }
}

impl<O: Op3<T::Wide>, T: Widen, const N: usize, const HIGH: bool> Vec3 for Long<O, T, N, HIGH> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, d: u128, a: u128, b: u128) -> u128 {
        let d = split::<T::Wide, N>(d);
        let (a, b) = (widen::<T, N, HIGH>(a), widen::<T, N, HIGH>(b));
        saturating(env, |qc| {
            join::<_, N>(std::array::from_fn(|i| O::lane(imm, qc, d[i], a[i], b[i])))
        })
    }
}

impl<O: Op2<T::Wide>, T: Widen, const N: usize, const HIGH: bool> Vec2 for Wide<O, T, N, HIGH> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T::Wide, N>(a), widen::<T, N, HIGH>(b));
        saturating(env, |qc| {
            join::<_, N>(std::array::from_fn(|i| O::lane(imm, qc, a[i], b[i])))
        })
    }
}

/// `O` on neighbours: of the first source, then of the second.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<O, T, const N: usize>(PhantomData<(O, T)>);

impl<O: Op2<T, R = T>, T: Lane, const N: usize> Vec2 for Pairs<O, T, N> {
    #[inline(always)]
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128 {
        let (a, b) = (split::<T, N>(a), split::<T, N>(b));
        saturating(env, |qc| {
            join::<T, N>(std::array::from_fn(|i| {
                let from = if i < N / 2 { &a } else { &b };
                let at = 2 * i % N;
                O::lane(imm, qc, from[at], from[at + 1])
            }))
        })
    }
}

/// Lane `imm` in each of `N` lanes.
#[derive(Clone, Copy, Debug)]
pub struct Dup<T, const N: usize>(PhantomData<T>);

impl<T: Lane, const N: usize> Vec1 for Dup<T, N> {
    #[inline(always)]
    fn eval(_: &mut FpEnv, imm: u32, a: u128) -> u128 {
        join([T::from_bits(a >> ((imm * T::BITS) & 127)); N])
    }
}

/// Calls `$row` for each arrangement of the lanes listed: what it was given, the arrangement's
/// name, Q, `size`, `immh` padded to 7 bits, the lane, how many.
macro_rules! vectors {
    ($row:ident $x:tt $($t:ident)*) => {$($crate::a64::simd_op::vectors!(@ $row $x $t);)*};
    (@ $row:ident $x:tt u8) => { $row!($x "8B" "0" "00" "0001..." u8 8); $row!($x "16B" "1" "00" "0001..." u8 16); };
    (@ $row:ident $x:tt i8) => { $row!($x "8B" "0" "00" "0001..." i8 8); $row!($x "16B" "1" "00" "0001..." i8 16); };
    (@ $row:ident $x:tt u16) => { $row!($x "4H" "0" "01" "001...." u16 4); $row!($x "8H" "1" "01" "001...." u16 8); };
    (@ $row:ident $x:tt i16) => { $row!($x "4H" "0" "01" "001...." i16 4); $row!($x "8H" "1" "01" "001...." i16 8); };
    (@ $row:ident $x:tt u32) => { $row!($x "2S" "0" "10" "01....." u32 2); $row!($x "4S" "1" "10" "01....." u32 4); };
    (@ $row:ident $x:tt i32) => { $row!($x "2S" "0" "10" "01....." i32 2); $row!($x "4S" "1" "10" "01....." i32 4); };
    (@ $row:ident $x:tt u64) => { $row!($x "2D" "1" "11" "1......" u64 2); };
    (@ $row:ident $x:tt i64) => { $row!($x "2D" "1" "11" "1......" i64 2); };
}
pub(super) use vectors;

/// As [`vectors`] for the halves that widening instructions read and narrowing ones write: the
/// half's name, Q, `size`, `immh`, the narrow lane, how many, the wide lane, whether the high half.
macro_rules! halves {
    ($row:ident $x:tt $($t:ident)*) => {$($crate::a64::simd_op::halves!(@ $row $x $t);)*};
    (@ $row:ident $x:tt u8) => { $row!($x "8B" "0" "00" "0001..." u8 8 u16 false); $row!($x "16B" "1" "00" "0001..." u8 8 u16 true); };
    (@ $row:ident $x:tt i8) => { $row!($x "8B" "0" "00" "0001..." i8 8 i16 false); $row!($x "16B" "1" "00" "0001..." i8 8 i16 true); };
    (@ $row:ident $x:tt u16) => { $row!($x "4H" "0" "01" "001...." u16 4 u32 false); $row!($x "8H" "1" "01" "001...." u16 4 u32 true); };
    (@ $row:ident $x:tt i16) => { $row!($x "4H" "0" "01" "001...." i16 4 i32 false); $row!($x "8H" "1" "01" "001...." i16 4 i32 true); };
    (@ $row:ident $x:tt u32) => { $row!($x "2S" "0" "10" "01....." u32 2 u64 false); $row!($x "4S" "1" "10" "01....." u32 2 u64 true); };
    (@ $row:ident $x:tt i32) => { $row!($x "2S" "0" "10" "01....." i32 2 i64 false); $row!($x "4S" "1" "10" "01....." i32 2 i64 true); };
}
pub(super) use halves;

/// As [`vectors`] for scalars, without Q: name, `size`, `immh`, the lane, the wide lane (which is
/// the lane itself if there is none).
macro_rules! scalars {
    ($row:ident $x:tt $($t:ident)*) => {$($crate::a64::simd_op::scalars!(@ $row $x $t);)*};
    (@ $row:ident $x:tt u8) => { $row!($x "B" "00" "0001..." u8 u16); };
    (@ $row:ident $x:tt i8) => { $row!($x "B" "00" "0001..." i8 i16); };
    (@ $row:ident $x:tt u16) => { $row!($x "H" "01" "001...." u16 u32); };
    (@ $row:ident $x:tt i16) => { $row!($x "H" "01" "001...." i16 i32); };
    (@ $row:ident $x:tt u32) => { $row!($x "S" "10" "01....." u32 u64); };
    (@ $row:ident $x:tt i32) => { $row!($x "S" "10" "01....." i32 i64); };
    (@ $row:ident $x:tt u64) => { $row!($x "D" "11" "1......" u64 u64); };
    (@ $row:ident $x:tt i64) => { $row!($x "D" "11" "1......" i64 i64); };
}
pub(super) use scalars;

/// Vd, Vn, Vm.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the type of every `args` function"
)]
pub(super) fn regs(insn: u32) -> Option<Args> {
    Some(Args {
        d: reg(insn, 0),
        n: reg(insn, 5),
        m: reg(insn, 16),
        ..Args::default()
    })
}

/// `Vd = O(Vn)`
pub(super) fn v1<E: Emitter, O: Vec1>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getq(a.n);
    let r = e.vec1::<O>(a.imm as u32, n);
    e.putq(a.d, r);
    Ok(())
}

/// `Vd = O(Vn, Vm)`
pub(super) fn v2<E: Emitter, O: Vec2>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getq(a.n), e.getq(a.m));
    let r = e.vec2::<O>(a.imm as u32, n, m);
    e.putq(a.d, r);
    Ok(())
}

/// `Vd = O(Vd, Vn, Vm)`
pub(super) fn v3<E: Emitter, O: Vec3>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n, m) = (e.getq(a.d), e.getq(a.n), e.getq(a.m));
    let r = e.vec3::<O>(a.imm as u32, d, n, m);
    e.putq(a.d, r);
    Ok(())
}

/// `Vd = O(Vd, Vn)`
pub(super) fn dn<E: Emitter, O: Vec2>(e: &mut E, a: &Args) -> Done<E> {
    let (d, n) = (e.getq(a.d), e.getq(a.n));
    let r = e.vec2::<O>(a.imm as u32, d, n);
    e.putq(a.d, r);
    Ok(())
}

/// Writes a 64-bit result to the low half and clears the high one, or to the high half only.
#[inline(always)]
fn put_half<E: Emitter, const HIGH: bool>(e: &mut E, d: u8, r: E::Q) {
    if HIGH {
        let (old, new) = (e.getq(d), e.half(r, 0));
        let low = e.half(old, 0);
        let r = e.pack(low, new);
        e.putq(d, r);
    } else {
        e.putq(d, r);
    }
}

/// Half of `Vd = O(Vn)`
pub(super) fn narrow1<E: Emitter, O: Vec1, const HIGH: bool>(e: &mut E, a: &Args) -> Done<E> {
    let n = e.getq(a.n);
    let r = e.vec1::<O>(a.imm as u32, n);
    put_half::<E, HIGH>(e, a.d, r);
    Ok(())
}

/// Half of `Vd = O(Vn, Vm)`
pub(super) fn narrow2<E: Emitter, O: Vec2, const HIGH: bool>(e: &mut E, a: &Args) -> Done<E> {
    let (n, m) = (e.getq(a.n), e.getq(a.m));
    let r = e.vec2::<O>(a.imm as u32, n, m);
    put_half::<E, HIGH>(e, a.d, r);
    Ok(())
}
