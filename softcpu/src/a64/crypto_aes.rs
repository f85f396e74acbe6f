//! Cryptographic AES (C4.1.97, `FEAT_AES`); the 64-bit `PMULL` is with the other multiplications.

use super::simd_op::{dn, regs, v1};
use crate::emitter::{Emitter, Vec1, Vec2};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

/// Twice `a` in GF(2^8) of the AES polynomial.
const fn double(a: u8) -> u8 {
    a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 }
}

/// The S-box, by walking through all powers of the generator 3 and of its inverse (FIPS 197, 5.1.1).
const fn s_box() -> [u8; 256] {
    let mut table = [0; 256];
    let (mut power, mut inverse) = (1u8, 1u8);
    loop {
        power ^= double(power);
        // Division by 3.
        inverse ^= inverse << 1;
        inverse ^= inverse << 2;
        inverse ^= inverse << 4;
        if inverse & 0x80 != 0 {
            inverse ^= 0x09;
        }
        let affine = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4);
        table[power as usize] = affine ^ 0x63;
        if power == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
}

const fn inverted(table: &[u8; 256]) -> [u8; 256] {
    let mut inverse = [0; 256];
    let mut i = 0;
    while i < 256 {
        inverse[table[i] as usize] = i as u8;
        i += 1;
    }
    inverse
}

static S_BOX: [u8; 256] = s_box();
static INVERSE_S_BOX: [u8; 256] = inverted(&s_box());

/// `AESE`: add the key, shift rows, substitute.
#[derive(Clone, Copy, Debug)]
pub struct Encrypt;

impl Vec2 for Encrypt {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        // Row r of column c comes from column c + r: 4 r + r = 5 r bytes further.
        let state = (a ^ b).to_le_bytes();
        let new = std::array::from_fn(|i| S_BOX[usize::from(state[(i + 4 * (i % 4)) % 16])]);
        u128::from_le_bytes(new)
    }
}

/// `AESD`: add the key, shift rows back, substitute back.
#[derive(Clone, Copy, Debug)]
pub struct Decrypt;

impl Vec2 for Decrypt {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128, b: u128) -> u128 {
        let state = (a ^ b).to_le_bytes();
        let new =
            std::array::from_fn(|i| INVERSE_S_BOX[usize::from(state[(i + 12 * (i % 4)) % 16])]);
        u128::from_le_bytes(new)
    }
}

/// Each byte of a column doubled in GF(2^8).
#[inline(always)]
fn double_each(column: u32) -> u32 {
    let carries = column >> 7 & 0x0101_0101;
    ((column & 0x7f7f_7f7f) << 1) ^ (carries * 0x1b)
}

/// One column times the matrix with rows 2 3 1 1, 1 2 3 1 and so on.
#[inline(always)]
fn mix(column: u32) -> u32 {
    let next = column.rotate_right(8);
    double_each(column ^ next) ^ next ^ column.rotate_right(16) ^ column.rotate_right(24)
}

/// The inverse of [`mix`], which is it after a multiplication with the rows 5 0 4 0.
#[inline(always)]
fn unmix(column: u32) -> u32 {
    let opposite = column ^ column.rotate_right(16);
    mix(column ^ double_each(double_each(opposite)))
}

#[inline(always)]
fn columns(v: u128, f: impl Fn(u32) -> u32) -> u128 {
    (0..4).fold(0, |r, i| {
        r | u128::from(f((v >> (32 * i)) as u32)) << (32 * i)
    })
}

/// `AESMC`
#[derive(Clone, Copy, Debug)]
pub struct Mix;

impl Vec1 for Mix {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128) -> u128 {
        columns(a, mix)
    }
}

/// `AESIMC`
#[derive(Clone, Copy, Debug)]
pub struct Unmix;

impl Vec1 for Unmix {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128) -> u128 {
        columns(a, unmix)
    }
}

const S: Kind = Kind::Simd;

/// Adds the rows of this class.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    t.row(S, "AESE", "01001110 00101000 010010.. ........", regs, dn::<E, Encrypt>);
    t.row(S, "AESD", "01001110 00101000 010110.. ........", regs, dn::<E, Decrypt>);
    t.row(S, "AESMC", "01001110 00101000 011010.. ........", regs, v1::<E, Mix>);
    t.row(S, "AESIMC", "01001110 00101000 011110.. ........", regs, v1::<E, Unmix>);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_boxes_have_the_published_values() {
        assert_eq!(S_BOX[0], 0x63);
        assert_eq!(S_BOX[0x53], 0xed);
        assert_eq!(INVERSE_S_BOX[0xed], 0x53);
        assert_eq!(INVERSE_S_BOX[0], 0x52);
    }

    #[test]
    fn one_round_of_the_standards_example() {
        // FIPS 197 appendix B: input and key of the first rounds, bytes in order.
        let bytes = |text: u128| text.swap_bytes();
        let mut env = FpEnv::default();
        let input = bytes(0x3243_f6a8_885a_308d_3131_98a2_e037_0734);
        let key = bytes(0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c);
        let substituted = Encrypt::eval(&mut env, 0, input, key);
        assert_eq!(
            substituted,
            bytes(0xd4bf_5d30_e0b4_52ae_b841_11f1_1e27_98e5)
        );
        let mixed = Mix::eval(&mut env, 0, substituted);
        assert_eq!(mixed, bytes(0x0466_81e5_e0cb_199a_48f8_d37a_2806_264c));
        assert_eq!(Unmix::eval(&mut env, 0, mixed), substituted);
        assert_eq!(Decrypt::eval(&mut env, 0, substituted, 0), input ^ key);
    }
}
