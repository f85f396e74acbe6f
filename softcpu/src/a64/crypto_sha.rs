//! Cryptographic three-register SHA and two-register SHA (C4.1.97, `FEAT_SHA1`, `FEAT_SHA256`).

use super::simd_lane::{join, split};
use super::simd_op::{dn, regs, v1, v3};
use crate::emitter::{Emitter, Vec1, Vec2, Vec3};
use crate::fp::FpEnv;
use crate::table::{Kind, Table};

#[inline(always)]
fn choose(x: u32, y: u32, z: u32) -> u32 {
    ((y ^ z) & x) ^ z
}

#[inline(always)]
fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

#[inline(always)]
fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | ((x | y) & z)
}

/// Four rounds of SHA-1 with the function `f`: state a to d in `x`, e in `y`.
#[inline(always)]
fn sha1_rounds(x: u128, y: u128, w: u128, f: impl Fn(u32, u32, u32) -> u32) -> u128 {
    let ([mut a, mut b, mut c, mut d], [mut e, ..]) = (split::<u32, 4>(x), split::<u32, 4>(y));
    for w in split::<u32, 4>(w) {
        let sum = a
            .rotate_left(5)
            .wrapping_add(f(b, c, d))
            .wrapping_add(e)
            .wrapping_add(w);
        (a, b, c, d, e) = (sum, a, b.rotate_left(30), c, d);
    }
    join([a, b, c, d])
}

/// Four rounds of SHA-256: both halves of the state, new.
#[inline(always)]
fn sha256_rounds(x: u128, y: u128, w: u128) -> (u128, u128) {
    let [mut a, mut b, mut c, mut d] = split::<u32, 4>(x);
    let [mut e, mut f, mut g, mut h] = split::<u32, 4>(y);
    for w in split::<u32, 4>(w) {
        let sigma1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sigma0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t1 = h
            .wrapping_add(sigma1)
            .wrapping_add(choose(e, f, g))
            .wrapping_add(w);
        let t2 = sigma0.wrapping_add(majority(a, b, c));
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
    }
    (join([a, b, c, d]), join([e, f, g, h]))
}

/// Words 1 to 3 of `a`, then word 0 of `b`.
#[inline(always)]
fn following(a: u128, b: u128) -> u128 {
    a >> 32 | b << 96
}

macro_rules! vec3 {
    ($($(#[$doc:meta])* $name:ident($d:ident, $n:ident, $m:ident) $e:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;
        impl Vec3 for $name {
            #[inline(always)]
            fn eval(_: &mut FpEnv, _: u32, $d: u128, $n: u128, $m: u128) -> u128 {
                $e
            }
        }
    )*};
}

vec3! {
    /// `SHA1C`
    Sha1c(d, n, m) sha1_rounds(d, n, m, choose);
    /// `SHA1P`
    Sha1p(d, n, m) sha1_rounds(d, n, m, parity);
    /// `SHA1M`
    Sha1m(d, n, m) sha1_rounds(d, n, m, majority);
    /// `SHA1SU0`
    Sha1su0(d, n, m) (d >> 64 | n << 64) ^ d ^ m;
    /// `SHA256H`
    Sha256h(d, n, m) sha256_rounds(d, n, m).0;
    /// `SHA256H2`
    Sha256h2(d, n, m) sha256_rounds(n, d, m).1;
    /// `SHA256SU1`
    Sha256su1(d, n, m) {
        let sigma = |w: u32| w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10;
        let (old, t0) = (split::<u32, 4>(d), split::<u32, 4>(following(n, m)));
        let [_, _, m2, m3] = split::<u32, 4>(m);
        let word = |i: usize, from: u32| sigma(from).wrapping_add(old[i]).wrapping_add(t0[i]);
        let (w0, w1) = (word(0, m2), word(1, m3));
        join([w0, w1, word(2, w0), word(3, w1)])
    };
}

/// `SHA1H`
#[derive(Clone, Copy, Debug)]
pub struct Sha1h;

impl Vec1 for Sha1h {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, a: u128) -> u128 {
        u128::from((a as u32).rotate_left(30))
    }
}

/// `SHA1SU1`
#[derive(Clone, Copy, Debug)]
pub struct Sha1su1;

impl Vec2 for Sha1su1 {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, d: u128, n: u128) -> u128 {
        let [a, b, c, d] = split::<u32, 4>(d ^ n >> 32).map(|w| w.rotate_left(1));
        join([a, b, c, d ^ a.rotate_left(1)])
    }
}

/// `SHA256SU0`
#[derive(Clone, Copy, Debug)]
pub struct Sha256su0;

impl Vec2 for Sha256su0 {
    #[inline(always)]
    fn eval(_: &mut FpEnv, _: u32, d: u128, n: u128) -> u128 {
        let (old, next) = (split::<u32, 4>(d), split::<u32, 4>(following(d, n)));
        join::<u32, 4>(std::array::from_fn(|i| {
            let w = next[i];
            let sigma = w.rotate_right(7) ^ w.rotate_right(18) ^ w >> 3;
            sigma.wrapping_add(old[i])
        }))
    }
}

const S: Kind = Kind::Simd;

/// Adds the rows of these classes.
#[rustfmt::skip]
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    t.row(S, "SHA1C", "01011110 000..... 000000.. ........", regs, v3::<E, Sha1c>);
    t.row(S, "SHA1P", "01011110 000..... 000100.. ........", regs, v3::<E, Sha1p>);
    t.row(S, "SHA1M", "01011110 000..... 001000.. ........", regs, v3::<E, Sha1m>);
    t.row(S, "SHA1SU0", "01011110 000..... 001100.. ........", regs, v3::<E, Sha1su0>);
    t.row(S, "SHA256H", "01011110 000..... 010000.. ........", regs, v3::<E, Sha256h>);
    t.row(S, "SHA256H2", "01011110 000..... 010100.. ........", regs, v3::<E, Sha256h2>);
    t.row(S, "SHA256SU1", "01011110 000..... 011000.. ........", regs, v3::<E, Sha256su1>);
    t.row(S, "SHA1H", "01011110 00101000 000010.. ........", regs, v1::<E, Sha1h>);
    t.row(S, "SHA1SU1", "01011110 00101000 000110.. ........", regs, dn::<E, Sha1su1>);
    t.row(S, "SHA256SU0", "01011110 00101000 001010.. ........", regs, dn::<E, Sha256su0>);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The one padded block of the message "abc", as big-endian words.
    const BLOCK: [u128; 4] = [0x6162_6380, 0, 0, 24 << 96];

    fn words(v: u128) -> [u32; 4] {
        split(v)
    }

    #[test]
    fn sha1_of_abc() {
        let env = &mut FpEnv::default();
        let start = join([0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]);
        let (mut abcd, mut e) = (start, 0xc3d2_e1f0);
        let mut w = BLOCK;
        for group in 0..20 {
            let k = [0x5a82_7999u32, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6][group / 5];
            let wk = join(words(w[0]).map(|w| w.wrapping_add(k)));
            let next_e = Sha1h::eval(env, 0, abcd);
            abcd = match group / 5 {
                0 => Sha1c::eval(env, 0, abcd, e, wk),
                2 => Sha1m::eval(env, 0, abcd, e, wk),
                _ => Sha1p::eval(env, 0, abcd, e, wk),
            };
            e = next_e;
            let next = Sha1su0::eval(env, 0, w[0], w[1], w[2]);
            w = [w[1], w[2], w[3], Sha1su1::eval(env, 0, next, w[3])];
        }
        let sum = |i: usize| words(start)[i].wrapping_add(words(abcd)[i]);
        let digest = [
            sum(0),
            sum(1),
            sum(2),
            sum(3),
            0xc3d2_e1f0u32.wrapping_add(e as u32),
        ];
        let expected = [
            0xa999_3e36,
            0x4706_816a,
            0xba3e_2571,
            0x7850_c26c,
            0x9cd0_d89d,
        ];
        assert_eq!(digest, expected);
    }

    #[test]
    fn sha256_schedule_and_rounds_from_their_definitions() {
        let env = &mut FpEnv::default();
        let (x, y, w) = (
            0x6a09_e667_bb67_ae85_3c6e_f372_a54f_f53a_u128,
            0x510e_527f_9b05_688c_1f83_d9ab_5be0_cd19,
            0x0123_4567_89ab_cdef_fedc_ba98_7654_3210,
        );
        let (new_x, new_y) = sha256_rounds(x, y, w);
        assert_eq!(Sha256h::eval(env, 0, x, y, w), new_x);
        assert_eq!(Sha256h2::eval(env, 0, y, x, w), new_y);
        // Word 0 of the schedule: w0 + sigma0(w1), then + w9 + sigma1(w14).
        let message: Vec<u32> = [x, y, w, x ^ y].into_iter().flat_map(words).collect();
        let partial = Sha256su0::eval(env, 0, x, y);
        let next = words(Sha256su1::eval(env, 0, partial, w, x ^ y));
        let sigma0 = |w: u32| w.rotate_right(7) ^ w.rotate_right(18) ^ (w >> 3);
        let sigma1 = |w: u32| w.rotate_right(17) ^ w.rotate_right(19) ^ (w >> 10);
        let mut all = message;
        for i in 16..20 {
            let w = sigma1(all[i - 2])
                .wrapping_add(all[i - 7])
                .wrapping_add(sigma0(all[i - 15]))
                .wrapping_add(all[i - 16]);
            all.push(w);
        }
        assert_eq!(next[..], all[16..]);
    }
}
