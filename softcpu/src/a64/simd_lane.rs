//! Lanes: what a vector element is and what can be done with one.
//!
//! Everything in the AdvSIMD integer classes is written over [`Lane`]; signedness is that of the
//! Rust type, so `SMAX` and `UMAX` are one operation on different lanes.

use std::hint::black_box;
use std::ops::{BitAnd, BitOr, BitXor, Not};

/// An integer as an element of a vector. Arithmetic wraps unless it says otherwise.
pub trait Lane:
    Copy
    + Ord
    + Default
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
{
    /// Width.
    const BITS: u32;
    /// Whether there are negative values.
    const SIGNED: bool;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// The least value.
    const MIN: Self;
    /// The greatest value.
    const MAX: Self;

    /// Element `i` of a vector in memory order.
    fn load(bytes: &[u8; 16], i: usize) -> Self;
    /// Makes this element `i`.
    fn store(self, bytes: &mut [u8], i: usize);
    /// The low bits of `v`.
    fn from_bits(v: u128) -> Self;
    /// Zero-extended.
    fn to_bits(self) -> u128;

    /// Sum.
    fn add(self, b: Self) -> Self;
    /// Difference.
    fn sub(self, b: Self) -> Self;
    /// Product.
    fn mul(self, b: Self) -> Self;
    /// Sum, saturating.
    fn sat_add(self, b: Self) -> Self;
    /// Difference, saturating.
    fn sat_sub(self, b: Self) -> Self;
    /// Shift left; by the width or more gives 0.
    fn shl(self, n: u32) -> Self;
    /// Shift right, arithmetic if signed; by the width or more gives only sign bits.
    fn shr(self, n: u32) -> Self;
    /// How many bits are set.
    fn ones(self) -> Self;
    /// How many leading bits are clear.
    fn leading_zeros(self) -> Self;
    /// Bits in reverse order.
    fn reverse_bits(self) -> Self;

    /// All ones for true.
    #[inline(always)]
    fn flag(value: bool) -> Self {
        if value { !Self::ZERO } else { Self::ZERO }
    }

    /// Shift right by at least 1, rounding to nearest, halves up.
    #[inline(always)]
    fn rounding_shr(self, n: u32) -> Self {
        self.shr(n).add(self.shr(n - 1) & Self::ONE)
    }

    /// Shift left, saturating; sets `qc` if it did.
    #[inline(always)]
    fn sat_shl(self, n: u32, qc: &mut bool) -> Self {
        let shifted = self.shl(n);
        if shifted.shr(n) == self && (n < Self::BITS || self == Self::ZERO) {
            return shifted;
        }
        *qc = true;
        if self < Self::ZERO {
            Self::MIN
        } else {
            Self::MAX
        }
    }
}

/// A lane that has a wider one.
pub trait Widen: Lane {
    /// Twice the width, same signedness.
    type Wide: Narrow<Half = Self>;
    /// The same value.
    fn wide(self) -> Self::Wide;
}

/// A lane that has a narrower one.
pub trait Narrow: Lane {
    /// Half the width, same signedness.
    type Half: Widen<Wide = Self>;
    /// The low half.
    fn truncate(self) -> Self::Half;
    /// The nearest value; sets `qc` if it is not the same.
    fn saturate(self, qc: &mut bool) -> Self::Half;
    /// The bits of the nearest unsigned value; sets `qc` if it is not the same.
    fn saturate_unsigned(self, qc: &mut bool) -> Self::Half;
}

/// A lane with a counterpart of the other signedness.
pub trait Flip: Lane {
    /// Same width, other signedness.
    type Other: Lane;
    /// The same bits.
    fn flip(self) -> Self::Other;
    /// Sum with a value of the other signedness, saturating to this one's range.
    fn sat_add_other(self, b: Self::Other) -> Self;
}

macro_rules! lane {
    ($($t:ident)*) => {$(
        impl Lane for $t {
            const BITS: u32 = <$t>::BITS;
            const SIGNED: bool = <$t>::MIN != 0;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const MIN: Self = <$t>::MIN;
            const MAX: Self = <$t>::MAX;

            #[inline(always)]
            fn load(bytes: &[u8; 16], i: usize) -> Self {
                let mut own = [0; size_of::<$t>()];
                own.copy_from_slice(&bytes[i * size_of::<$t>()..][..size_of::<$t>()]);
                <$t>::from_le_bytes(own)
            }
            #[inline(always)]
            fn store(self, bytes: &mut [u8], i: usize) {
                let own = self.to_le_bytes();
                bytes[i * size_of::<$t>()..][..size_of::<$t>()].copy_from_slice(&own);
            }
            #[inline(always)]
            fn from_bits(v: u128) -> Self {
                v as $t
            }
            #[inline(always)]
            fn to_bits(self) -> u128 {
                self as u128 & (u128::MAX >> (128 - <$t>::BITS))
            }

            #[inline(always)]
            fn add(self, b: Self) -> Self {
                self.wrapping_add(b)
            }
            #[inline(always)]
            fn sub(self, b: Self) -> Self {
                self.wrapping_sub(b)
            }
            #[inline(always)]
            fn mul(self, b: Self) -> Self {
                self.wrapping_mul(b)
            }
            #[inline(always)]
            fn sat_add(self, b: Self) -> Self {
                self.saturating_add(b)
            }
            #[inline(always)]
            fn sat_sub(self, b: Self) -> Self {
                self.saturating_sub(b)
            }
            #[inline(always)]
            fn shl(self, n: u32) -> Self {
                if n < <$t>::BITS { self << n } else { 0 }
            }
            #[inline(always)]
            fn shr(self, n: u32) -> Self {
                if n < <$t>::BITS {
                    self >> n
                } else if Self::SIGNED {
                    self >> (<$t>::BITS - 1)
                } else {
                    0
                }
            }
            #[inline(always)]
            fn ones(self) -> Self {
                self.count_ones() as $t
            }
            #[inline(always)]
            fn leading_zeros(self) -> Self {
                <$t>::leading_zeros(self) as $t
            }
            #[inline(always)]
            fn reverse_bits(self) -> Self {
                <$t>::reverse_bits(self)
            }
        }
    )*};
}
lane!(u8 u16 u32 u64 u128 i8 i16 i32 i64);

macro_rules! widen {
    ($($t:ident $unsigned:ident $wide:ident;)*) => {$(
        impl Widen for $t {
            type Wide = $wide;
            #[inline(always)]
            fn wide(self) -> $wide {
                $wide::from(self)
            }
        }
        impl Narrow for $wide {
            type Half = $t;
            #[inline(always)]
            fn truncate(self) -> $t {
                self as $t
            }
            #[inline(always)]
            fn saturate(self, qc: &mut bool) -> $t {
                let r = self.clamp($wide::from($t::MIN), $wide::from($t::MAX));
                *qc |= r != self;
                r as $t
            }
            #[inline(always)]
            fn saturate_unsigned(self, qc: &mut bool) -> $t {
                let r = self.clamp(0, $wide::from($unsigned::MAX));
                *qc |= r != self;
                r as $t
            }
        }
    )*};
}
widen! {
    u8 u8 u16; u16 u16 u32; u32 u32 u64;
    i8 u8 i16; i16 u16 i32; i32 u32 i64;
}

macro_rules! flip {
    ($($signed:ident $unsigned:ident;)*) => {$(
        impl Flip for $signed {
            type Other = $unsigned;
            #[inline(always)]
            fn flip(self) -> $unsigned {
                self as $unsigned
            }
            #[inline(always)]
            fn sat_add_other(self, b: $unsigned) -> Self {
                self.saturating_add_unsigned(b)
            }
        }
        impl Flip for $unsigned {
            type Other = $signed;
            #[inline(always)]
            fn flip(self) -> $signed {
                self as $signed
            }
            #[inline(always)]
            fn sat_add_other(self, b: $signed) -> Self {
                self.saturating_add_signed(b)
            }
        }
    )*};
}
flip! { i8 u8; i16 u16; i32 u32; i64 u64; }

/// The first `N` lanes of a vector.
///
/// A `u128` is taken apart by shifts, which compilers do not turn back into vector instructions.
/// Hiding that the bytes come from one makes them loads from memory, which they do: the difference
/// is tenfold. A single lane and lanes of 64 bits are better off with the shift.
#[inline(always)]
pub fn split<T: Lane, const N: usize>(v: u128) -> [T; N] {
    if N == 1 || T::BITS == 64 {
        return std::array::from_fn(|i| T::from_bits(v >> (64 * i)));
    }
    let bytes = black_box(v.to_le_bytes());
    std::array::from_fn(|i| T::load(&bytes, i))
}

/// The vector of these lanes, zero above; [`split`] says why it hides its bytes.
#[inline(always)]
pub fn join<T: Lane, const N: usize>(lanes: [T; N]) -> u128 {
    if N == 1 || T::BITS == 64 {
        let bits = lanes.into_iter().enumerate();
        return bits.fold(0, |v, (i, lane)| v | lane.to_bits() << (64 * i));
    }
    if N as u32 * T::BITS <= 64 {
        let mut bytes = [0; 8];
        for (i, lane) in lanes.into_iter().enumerate() {
            lane.store(&mut bytes, i);
        }
        return u128::from(u64::from_le_bytes(black_box(bytes)));
    }
    let mut bytes = [0; 16];
    for (i, lane) in lanes.into_iter().enumerate() {
        lane.store(&mut bytes, i);
    }
    u128::from_le_bytes(black_box(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_and_join_are_inverse() {
        let v = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100;
        assert_eq!(split::<u8, 16>(v)[3], 3);
        assert_eq!(split::<u16, 8>(v)[7], 0x0f0e);
        assert_eq!(join(split::<i32, 4>(v)), v);
        assert_eq!(join(split::<i32, 2>(v)), v & u128::from(u64::MAX));
        assert_eq!(join(split::<i64, 1>(v)), v & u128::from(u64::MAX));
    }

    #[test]
    fn shifts_by_the_width_or_more() {
        assert_eq!((-3i8).shr(200), -1);
        assert_eq!(0x80u8.shr(8), 0);
        assert_eq!(0x80u8.rounding_shr(8), 1);
        assert_eq!((-128i8).rounding_shr(8), 0);
        assert_eq!(0xffu8.rounding_shr(9), 0);
        let mut qc = false;
        assert_eq!(0u8.sat_shl(99, &mut qc), 0);
        assert!(!qc);
        assert_eq!((-1i8).sat_shl(8, &mut qc), -128);
        assert!(qc);
    }
}
