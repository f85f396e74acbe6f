//! The emitter whose values are the numbers themselves: what interprets a semantics function by
//! running it.

use aarch64::Size;

use crate::cpu::{Cpu, Stop};
use crate::emitter::{
    Access, Args, Emitter, Exec, Int1, Int2, Reg, Rmw, Scalar1, Scalar2, Scalar3, Vec1, Vec2, Vec3,
};
use crate::exclusive::by_size;
use crate::int::{eval_int1, eval_int2, sext32};

impl Emitter for Cpu {
    type X = u64;
    type Q = u128;
    type B = bool;
    type Stop = Stop;

    #[inline(always)]
    fn imm(&mut self, value: u64) -> u64 {
        value
    }

    #[inline(always)]
    fn get(&mut self, reg: Reg) -> u64 {
        self.x[usize::from(reg)]
    }

    #[inline(always)]
    fn put(&mut self, reg: Reg, value: u64) {
        self.x[usize::from(reg)] = value;
    }

    #[inline(always)]
    fn pc(&mut self, args: &Args) -> u64 {
        self.block_pc.wrapping_add(u64::from(args.off))
    }

    #[inline(always)]
    fn int1(&mut self, op: Int1, a: u64) -> u64 {
        eval_int1(op, a)
    }

    #[inline(always)]
    fn int2(&mut self, op: Int2, a: u64, b: u64) -> u64 {
        eval_int2(op, a, b)
    }

    #[inline(always)]
    fn select(&mut self, cond: bool, yes: u64, no: u64) -> u64 {
        if cond { yes } else { no }
    }

    #[inline(always)]
    fn nonzero(&mut self, a: u64) -> bool {
        a != 0
    }

    #[inline(always)]
    fn negate(&mut self, cond: bool) -> bool {
        !cond
    }

    #[inline(always)]
    fn adds(&mut self, is64: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let (r, carry) = a.overflowing_add(b);
            self.flags(r, carry, (a ^ r) & (b ^ r));
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let (r, carry) = a.overflowing_add(b);
            self.flags(sext32(r), carry, u64::from((a ^ r) & (b ^ r)) << 32);
            u64::from(r)
        }
    }

    #[inline(always)]
    fn subs(&mut self, is64: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let r = a.wrapping_sub(b);
            self.flags(r, a >= b, (a ^ b) & (a ^ r));
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let r = a.wrapping_sub(b);
            self.flags(sext32(r), a >= b, u64::from((a ^ b) & (a ^ r)) << 32);
            u64::from(r)
        }
    }

    #[inline(always)]
    fn adc(&mut self, is64: bool, set: bool, a: u64, b: u64) -> u64 {
        if is64 {
            let (r, c1) = a.overflowing_add(b);
            let (r, c2) = r.overflowing_add(self.cf);
            if set {
                self.flags(r, c1 | c2, (a ^ r) & (b ^ r));
            }
            r
        } else {
            let (a, b) = (a as u32, b as u32);
            let (r, c1) = a.overflowing_add(b);
            let (r, c2) = r.overflowing_add(self.cf as u32);
            if set {
                self.flags(sext32(r), c1 | c2, u64::from((a ^ r) & (b ^ r)) << 32);
            }
            u64::from(r)
        }
    }

    #[inline(always)]
    fn logic_flags(&mut self, is64: bool, value: u64) {
        let value = if is64 { value } else { sext32(value as u32) };
        self.flags(value, false, 0);
    }

    #[inline(always)]
    fn cond(&mut self, cond: u8) -> bool {
        let n_is_v = ((self.nf ^ self.vf) as i64) >= 0;
        let holds = match cond >> 1 {
            0 => self.zf == 0,
            1 => self.cf != 0,
            2 => (self.nf as i64) < 0,
            3 => (self.vf as i64) < 0,
            4 => self.cf != 0 && self.zf != 0,
            5 => n_is_v,
            6 => n_is_v && self.zf != 0,
            _ => return true,
        };
        holds ^ (cond & 1 != 0)
    }

    #[inline(always)]
    fn nzcv(&mut self) -> u64 {
        self.nzcv_bits()
    }

    #[inline(always)]
    fn set_nzcv(&mut self, value: u64) {
        self.set_nzcv_bits(value);
    }

    #[inline(always)]
    fn ccmp(&mut self, cond: u8, is64: bool, add: bool, a: u64, b: u64, nzcv: u8) {
        if !self.cond(cond) {
            self.set_nzcv_bits(u64::from(nzcv) << 28);
        } else if add {
            self.adds(is64, a, b);
        } else {
            self.subs(is64, a, b);
        }
    }

    #[inline(always)]
    fn load(&mut self, size: Size, how: Access, va: u64) -> Result<u64, Stop> {
        by_size!(size, T => match how {
            Access::Plain => self.read::<T>(va),
            Access::Unprivileged => self.unprivileged(|cpu| cpu.read::<T>(va)),
            Access::Ordered => self.read_acquire::<T>(va, false),
            Access::AcquirePc => self.read_acquire::<T>(va, true),
        })
    }

    #[inline(always)]
    fn store(&mut self, size: Size, how: Access, va: u64, value: u64) -> Result<(), Stop> {
        by_size!(size, T => match how {
            Access::Plain => self.write::<T>(va, value),
            Access::Unprivileged => self.unprivileged(|cpu| cpu.write::<T>(va, value)),
            Access::Ordered | Access::AcquirePc => self.write_release::<T>(va, value),
        })
    }

    #[inline(always)]
    fn load_q(&mut self, va: u64) -> Result<u128, Stop> {
        let low = self.read::<u64>(va)?;
        let high = self.read::<u64>(va.wrapping_add(8))?;
        Ok(u128::from(high) << 64 | u128::from(low))
    }

    #[inline(always)]
    fn store_q(&mut self, va: u64, value: u128) -> Result<(), Stop> {
        self.write::<u64>(va, value as u64)?;
        self.write::<u64>(va.wrapping_add(8), (value >> 64) as u64)
    }

    #[inline(always)]
    fn rmw(&mut self, op: Rmw, size: Size, va: u64, value: u64) -> Result<u64, Stop> {
        by_size!(size, T => self.atomic_rmw::<T>(op, va, value))
    }

    #[inline(always)]
    fn cas(&mut self, size: Size, va: u64, expected: u64, new: u64) -> Result<u64, Stop> {
        by_size!(size, T => self.atomic_cas::<T>(va, expected, new))
    }

    fn casp(
        &mut self,
        size: Size,
        va: u64,
        expected: (u64, u64),
        new: (u64, u64),
    ) -> Result<(u64, u64), Stop> {
        if size == Size::D {
            let old = self.atomic_cas128(va, join(size, expected), join(size, new))?;
            return Ok(split(size, old));
        }
        let (expected, new) = (join(size, expected) as u64, join(size, new) as u64);
        let old = self.atomic_cas::<u64>(va, expected, new)?;
        Ok(split(size, u128::from(old)))
    }

    #[inline(always)]
    fn load_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        _acquire: bool,
        va: u64,
    ) -> Result<(u64, u64), Stop> {
        if !pair {
            return Ok((self.exclusive_load(size.bytes(), va)? as u64, 0));
        }
        let value = self.exclusive_load(2 * size.bytes(), va)?;
        Ok(split(size, value))
    }

    #[inline(always)]
    fn store_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        va: u64,
        value: (u64, u64),
    ) -> Result<u64, Stop> {
        if !pair {
            return self.exclusive_store(size.bytes(), va, u128::from(value.0 & size.mask()));
        }
        self.exclusive_store(2 * size.bytes(), va, join(size, value))
    }

    #[inline(always)]
    fn check_sp(&mut self, sp: u64) -> Result<(), Stop> {
        if sp & 15 != 0 && self.sp_check_enabled() {
            return Err(self.sp_alignment_fault());
        }
        Ok(())
    }

    #[inline(always)]
    fn jump(&mut self, target: u64) {
        self.pc = target;
    }

    #[inline(always)]
    fn jump_rel(&mut self, args: &Args) {
        self.pc = self
            .block_pc
            .wrapping_add(u64::from(args.off))
            .wrapping_add(args.imm);
    }

    #[inline(always)]
    fn branch(&mut self, cond: bool, args: &Args) {
        if cond {
            self.jump_rel(args);
        }
    }

    #[inline(always)]
    fn getq(&mut self, reg: u8) -> u128 {
        self.v[usize::from(reg & 31)]
    }

    #[inline(always)]
    fn putq(&mut self, reg: u8, value: u128) {
        self.v[usize::from(reg & 31)] = value;
    }

    #[inline(always)]
    fn getv(&mut self, size: Size, reg: u8) -> u64 {
        self.v[usize::from(reg & 31)] as u64 & size.mask()
    }

    #[inline(always)]
    fn putv(&mut self, size: Size, reg: u8, value: u64) {
        self.v[usize::from(reg & 31)] = u128::from(value & size.mask());
    }

    #[inline(always)]
    fn pack(&mut self, low: u64, high: u64) -> u128 {
        u128::from(high) << 64 | u128::from(low)
    }

    #[inline(always)]
    fn half(&mut self, value: u128, which: u8) -> u64 {
        (value >> (64 * u32::from(which & 1))) as u64
    }

    #[inline(always)]
    fn vec1<O: Vec1>(&mut self, imm: u32, a: u128) -> u128 {
        O::eval(&mut self.fp, imm, a)
    }

    #[inline(always)]
    fn vec2<O: Vec2>(&mut self, imm: u32, a: u128, b: u128) -> u128 {
        O::eval(&mut self.fp, imm, a, b)
    }

    #[inline(always)]
    fn vec3<O: Vec3>(&mut self, imm: u32, a: u128, b: u128, c: u128) -> u128 {
        O::eval(&mut self.fp, imm, a, b, c)
    }

    #[inline(always)]
    fn scalar1<O: Scalar1>(&mut self, imm: u32, a: u64) -> u64 {
        O::eval(&mut self.fp, imm, a)
    }

    #[inline(always)]
    fn scalar2<O: Scalar2>(&mut self, imm: u32, a: u64, b: u64) -> u64 {
        O::eval(&mut self.fp, imm, a, b)
    }

    #[inline(always)]
    fn scalar3<O: Scalar3>(&mut self, imm: u32, a: u64, b: u64, c: u64) -> u64 {
        O::eval(&mut self.fp, imm, a, b, c)
    }

    #[inline(always)]
    fn system(&mut self, f: Exec<Cpu>, args: &Args) -> Result<(), Stop> {
        f(self, args)
    }
}

impl Cpu {
    #[inline(always)]
    fn flags(&mut self, result: u64, carry: bool, overflow: u64) {
        self.nf = result;
        self.zf = result;
        self.cf = u64::from(carry);
        self.vf = overflow;
    }

    /// Whether a misaligned SP faults as a base register (`SCTLR_EL1.SA`, `SA0`).
    fn sp_check_enabled(&self) -> bool {
        let bit = if self.el() == 0 { 4 } else { 3 };
        self.sys[aarch64::Saved::SctlrEl1] >> bit & 1 != 0
    }
}

fn join(size: Size, (low, high): (u64, u64)) -> u128 {
    u128::from(high & size.mask()) << size.bits() | u128::from(low & size.mask())
}

fn split(size: Size, value: u128) -> (u64, u64) {
    (
        value as u64 & size.mask(),
        (value >> size.bits()) as u64 & size.mask(),
    )
}
