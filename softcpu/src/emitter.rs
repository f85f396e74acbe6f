//! What the semantics of instructions are written in.
//!
//! An instruction's semantics are a function `fn(&mut E, &Args) -> Result<(), E::Stop>` over any
//! [`Emitter`]. Decoded operands ([`Args`]) are known when the code is translated; values
//! ([`Emitter::X`], [`Emitter::Q`], [`Emitter::B`]) only when it runs. So a semantics function may
//! branch on operands and constants, but on values only by [`Emitter::select`] and the like.
//!
//! Order within a function: read registers, compute, access memory, then write registers. An
//! access that fails leaves through `?` and the instruction is run again from its start later, so
//! nothing may have been written by then.

use aarch64::Size;

use crate::cpu::Cpu;
use crate::fp::FpEnv;

/// Index of a general register slot: 0 to 30 are X0 to X30.
pub type Reg = u8;
/// Slot that reads as zero.
pub const ZR: Reg = 31;
/// Slot of the current stack pointer.
pub const SP: Reg = 32;
/// Slot that results for the zero register go to; never read.
pub const DISCARD: Reg = 33;
/// How many slots there are.
pub const SLOTS: usize = 34;

/// Operands of a decoded instruction. What each field means is the class's own choice, but
/// `d`, `n`, `m` and `a` are register slots or vector registers named as in the manual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Args {
    /// Immediate, offset or mask.
    pub imm: u64,
    /// Destination (Rd, Rt).
    pub d: u8,
    /// First source (Rn).
    pub n: u8,
    /// Second source (Rm, Rs).
    pub m: u8,
    /// Third source (Ra, Rt2).
    pub a: u8,
    /// Condition, shift amount, lane or whatever else is small.
    pub k: u16,
    /// Bytes from the start of the block; filled in by the block builder.
    pub off: u16,
}

/// Operations on one 64-bit value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int1 {
    /// Bitwise not.
    Not,
    /// Two's complement.
    Neg,
    /// The low 32 bits, zero-extended.
    Zext32,
    /// The low 8, 16 or 32 bits, sign-extended to 64.
    Sext(Size),
    /// The low 8, 16 or 32 bits, zero-extended to 64.
    Zext(Size),
    /// Leading zeros of 64 bits.
    Clz,
    /// Leading zeros of the low 32 bits.
    ClzW,
    /// Leading bits equal to the sign, of 64 bits, without the sign itself.
    Cls,
    /// Same, of the low 32 bits.
    ClsW,
    /// Bits reversed, 64.
    Rbit,
    /// Bits reversed, low 32.
    RbitW,
    /// Bytes reversed in each 16 bits, 64.
    Rev16,
    /// Bytes reversed in each 32 bits, 64.
    Rev32,
    /// Bytes reversed in all 64 bits.
    Rev64,
}

/// Operations on two 64-bit values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Int2 {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Low half of the product.
    Mul,
    /// High half of the unsigned product.
    Umulh,
    /// High half of the signed product.
    Smulh,
    /// Unsigned quotient, 0 for a divisor of 0.
    Udiv,
    /// Signed quotient, 0 for a divisor of 0.
    Sdiv,
    /// Unsigned quotient of the low 32 bits, zero-extended.
    UdivW,
    /// Signed quotient of the low 32 bits, zero-extended.
    SdivW,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Bitwise exclusive or.
    Xor,
    /// Shift left by the amount modulo 64.
    Lsl,
    /// Shift right by the amount modulo 64.
    Lsr,
    /// Arithmetic shift right by the amount modulo 64.
    Asr,
    /// Rotate right by the amount modulo 64.
    Ror,
    /// Low 32 bits shifted left by the amount modulo 32, zero-extended.
    LslW,
    /// Low 32 bits shifted right by the amount modulo 32.
    LsrW,
    /// Low 32 bits arithmetically shifted right by the amount modulo 32, zero-extended.
    AsrW,
    /// Low 32 bits rotated right by the amount modulo 32.
    RorW,
}

/// How an access orders itself against others, and with whose rights it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An ordinary load or store.
    Plain,
    /// `LDTR` and `STTR`: with the rights of EL0.
    Unprivileged,
    /// Load-acquire or store-release (`LDAR`, `STLR`); must be aligned.
    Ordered,
    /// Load-acquire of FEAT_LRCPC (`LDAPR`); must be aligned.
    AcquirePc,
}

/// Atomic read-modify-write operations of FEAT_LSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rmw {
    /// `LDADD`
    Add,
    /// `LDCLR`
    Clr,
    /// `LDEOR`
    Eor,
    /// `LDSET`
    Set,
    /// `LDSMAX`
    Smax,
    /// `LDSMIN`
    Smin,
    /// `LDUMAX`
    Umax,
    /// `LDUMIN`
    Umin,
    /// `SWP`
    Swp,
}

/// A pure operation on one vector. `imm` is known at translation.
pub trait Vec1 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u128) -> u128;
}

/// A pure operation on two vectors.
pub trait Vec2 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128) -> u128;
}

/// A pure operation on three vectors.
pub trait Vec3 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u128, b: u128, c: u128) -> u128;
}

/// A pure operation on one 64-bit value.
pub trait Scalar1 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u64) -> u64;
}

/// A pure operation on two 64-bit values.
pub trait Scalar2 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u64, b: u64) -> u64;
}

/// A pure operation on three 64-bit values.
pub trait Scalar3 {
    /// The result; may read `env.fpcr` and accumulate into `env.fpsr`.
    fn eval(env: &mut FpEnv, imm: u32, a: u64, b: u64, c: u64) -> u64;
}

/// A semantics function for emitter `E`.
pub type Exec<E> = fn(&mut E, &Args) -> Result<(), <E as Emitter>::Stop>;

/// What a semantics function can do. See the [module](self) for the rules.
#[expect(
    missing_docs,
    reason = "one-line wrappers of the documented operations"
)]
pub trait Emitter: Sized {
    /// A 64-bit value.
    type X: Copy;
    /// A 128-bit value.
    type Q: Copy;
    /// A truth value.
    type B: Copy;
    /// Why an instruction ends before its end.
    type Stop;

    /// A constant.
    fn imm(&mut self, value: u64) -> Self::X;
    /// A general register.
    fn get(&mut self, reg: Reg) -> Self::X;
    /// Writes all 64 bits of a general register.
    fn put(&mut self, reg: Reg, value: Self::X);
    /// Address of this instruction.
    fn pc(&mut self, args: &Args) -> Self::X;

    /// A unary operation.
    fn int1(&mut self, op: Int1, a: Self::X) -> Self::X;
    /// A binary operation.
    fn int2(&mut self, op: Int2, a: Self::X, b: Self::X) -> Self::X;
    /// `cond ? yes : no`
    fn select(&mut self, cond: Self::B, yes: Self::X, no: Self::X) -> Self::X;
    /// Whether the value is not zero.
    fn nonzero(&mut self, a: Self::X) -> Self::B;
    /// The negated truth value.
    fn negate(&mut self, cond: Self::B) -> Self::B;

    /// `a + b` and its NZCV, of 64 bits or of the low 32 (then zero-extended).
    fn adds(&mut self, is64: bool, a: Self::X, b: Self::X) -> Self::X;
    /// `a - b` and its NZCV.
    fn subs(&mut self, is64: bool, a: Self::X, b: Self::X) -> Self::X;
    /// `a + b + C`, setting NZCV if `set`.
    fn adc(&mut self, is64: bool, set: bool, a: Self::X, b: Self::X) -> Self::X;
    /// N and Z of `value`, C and V zero.
    fn logic_flags(&mut self, is64: bool, value: Self::X);
    /// Whether the condition (0 to 15, as encoded) holds.
    fn cond(&mut self, cond: u8) -> Self::B;
    /// NZCV in bits 31:28.
    fn nzcv(&mut self) -> Self::X;
    /// Sets NZCV from bits 31:28.
    fn set_nzcv(&mut self, value: Self::X);
    /// If the condition holds, the flags of `a - b` (`a + b` if `add`), else `nzcv` (4 bits).
    fn ccmp(&mut self, cond: u8, is64: bool, add: bool, a: Self::X, b: Self::X, nzcv: u8);

    /// Loads, zero-extended.
    fn load(&mut self, size: Size, how: Access, va: Self::X) -> Result<Self::X, Self::Stop>;
    /// Stores the low bits.
    fn store(
        &mut self,
        size: Size,
        how: Access,
        va: Self::X,
        value: Self::X,
    ) -> Result<(), Self::Stop>;
    /// Loads 16 bytes.
    fn load_q(&mut self, va: Self::X) -> Result<Self::Q, Self::Stop>;
    /// Stores 16 bytes.
    fn store_q(&mut self, va: Self::X, value: Self::Q) -> Result<(), Self::Stop>;
    /// Atomic read-modify-write with full ordering; the old value, zero-extended.
    fn rmw(
        &mut self,
        op: Rmw,
        size: Size,
        va: Self::X,
        value: Self::X,
    ) -> Result<Self::X, Self::Stop>;
    /// Compare and swap with full ordering; the old value, zero-extended.
    fn cas(
        &mut self,
        size: Size,
        va: Self::X,
        expected: Self::X,
        new: Self::X,
    ) -> Result<Self::X, Self::Stop>;
    /// Compare and swap of two units of `size` (W or D), first unit at the lower address.
    fn casp(
        &mut self,
        size: Size,
        va: Self::X,
        expected: (Self::X, Self::X),
        new: (Self::X, Self::X),
    ) -> Result<(Self::X, Self::X), Self::Stop>;
    /// Load-exclusive of one unit, or of two if `pair` (W or D); the second value is zero if not.
    fn load_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        acquire: bool,
        va: Self::X,
    ) -> Result<(Self::X, Self::X), Self::Stop>;
    /// Store-exclusive; 0 if it stored, 1 if not.
    fn store_exclusive(
        &mut self,
        size: Size,
        pair: bool,
        va: Self::X,
        value: (Self::X, Self::X),
    ) -> Result<Self::X, Self::Stop>;
    /// The alignment check of an access whose base register is SP.
    fn check_sp(&mut self, sp: Self::X) -> Result<(), Self::Stop>;

    /// Goes to an address; the instruction ends its block.
    fn jump(&mut self, target: Self::X);
    /// Goes to this instruction's address plus `args.imm`; the instruction ends its block.
    fn jump_rel(&mut self, args: &Args);
    /// As [`Self::jump_rel`] if `cond` holds, else to the next instruction.
    fn branch(&mut self, cond: Self::B, args: &Args);

    /// A vector register.
    fn getq(&mut self, reg: u8) -> Self::Q;
    /// Writes a whole vector register.
    fn putq(&mut self, reg: u8, value: Self::Q);
    /// The low bits of a vector register, zero-extended.
    fn getv(&mut self, size: Size, reg: u8) -> Self::X;
    /// Writes the low bits of a vector register and clears the rest.
    fn putv(&mut self, size: Size, reg: u8, value: Self::X);
    /// The vector with these low and high halves.
    fn pack(&mut self, low: Self::X, high: Self::X) -> Self::Q;
    /// The low (0) or high (1) half of a vector.
    fn half(&mut self, value: Self::Q, which: u8) -> Self::X;
    /// A vector operation.
    fn vec1<O: Vec1>(&mut self, imm: u32, a: Self::Q) -> Self::Q;
    /// A vector operation.
    fn vec2<O: Vec2>(&mut self, imm: u32, a: Self::Q, b: Self::Q) -> Self::Q;
    /// A vector operation.
    fn vec3<O: Vec3>(&mut self, imm: u32, a: Self::Q, b: Self::Q, c: Self::Q) -> Self::Q;
    /// A scalar operation.
    fn scalar1<O: Scalar1>(&mut self, imm: u32, a: Self::X) -> Self::X;
    /// A scalar operation.
    fn scalar2<O: Scalar2>(&mut self, imm: u32, a: Self::X, b: Self::X) -> Self::X;
    /// A scalar operation.
    fn scalar3<O: Scalar3>(&mut self, imm: u32, a: Self::X, b: Self::X, c: Self::X) -> Self::X;

    /// Runs a function on the whole CPU: what system instructions do. Every value the emitter
    /// holds in registers of its own is in the CPU when it is called.
    fn system(&mut self, f: Exec<Cpu>, args: &Args) -> Result<(), Self::Stop>;

    #[inline(always)]
    fn add(&mut self, a: Self::X, b: Self::X) -> Self::X {
        self.int2(Int2::Add, a, b)
    }
    #[inline(always)]
    fn sub(&mut self, a: Self::X, b: Self::X) -> Self::X {
        self.int2(Int2::Sub, a, b)
    }
    #[inline(always)]
    fn and(&mut self, a: Self::X, b: Self::X) -> Self::X {
        self.int2(Int2::And, a, b)
    }
    #[inline(always)]
    fn or(&mut self, a: Self::X, b: Self::X) -> Self::X {
        self.int2(Int2::Or, a, b)
    }
    #[inline(always)]
    fn zext32(&mut self, a: Self::X) -> Self::X {
        self.int1(Int1::Zext32, a)
    }
    /// `base + offset` for a constant offset.
    #[inline(always)]
    fn offset(&mut self, base: Self::X, offset: u64) -> Self::X {
        let offset = self.imm(offset);
        self.int2(Int2::Add, base, offset)
    }
    /// Zero-extends a 32-bit result unless `is64`.
    #[inline(always)]
    fn fit(&mut self, is64: bool, a: Self::X) -> Self::X {
        if is64 { a } else { self.zext32(a) }
    }
}
