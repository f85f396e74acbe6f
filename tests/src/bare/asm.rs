//! A little assembler: bare-metal programs written as Rust, one method for each instruction.
//!
//! It knows what the tests' guests need and no more. Encodings are those of the Arm ARM (DDI 0487,
//! C6.2); `encodings_are_those_of_gnu_as` compares all of them with another assembler's. To add an
//! instruction: a method, and a line there.

use aarch64::{Size, SysReg};

/// A general register by its number; 31 is `XZR` or `SP`, as the instruction says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct X(pub u32);

/// A vector register by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V(pub u32);

/// The register that reads as zero.
pub const XZR: X = X(31);

/// A place in a program, which a branch may name before it is known.
#[derive(Clone, Copy, Debug)]
pub struct Label(usize);

/// What a load does with the bits above the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extend {
    /// Clears them.
    Zero,
    /// Copies the sign into bits 31 and down; clears the upper half.
    Sign32,
    /// Copies the sign into all of them.
    Sign64,
}

/// When an access moves its base register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writeback {
    /// Before the access.
    Pre,
    /// After it.
    Post,
}

/// Condition codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Ne = 1,
    /// Unsigned, less.
    Lo = 3,
}

/// What a branch still lacks.
#[derive(Clone, Copy, Debug)]
struct Fixup {
    at: usize,
    label: Label,
    /// Bits of the offset, and where they stand.
    bits: u32,
    low: u32,
}

/// A program under construction.
#[derive(Clone, Debug, Default)]
pub struct Asm {
    words: Vec<u32>,
    labels: Vec<Option<usize>>,
    fixups: Vec<Fixup>,
}

impl Asm {
    /// An empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The program's bytes. It lies where it was put, but all of it in one piece.
    ///
    /// # Panics
    /// When a branch names a label that was not placed, or one too far away.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut words = self.words.clone();
        for Fixup {
            at,
            label,
            bits,
            low,
        } in &self.fixups
        {
            let to = self.labels[label.0].expect("every label is placed");
            let offset = i64::try_from(to).expect("small") - i64::try_from(*at).expect("small");
            let reach = 1_i64 << (bits - 1);
            assert!((-reach..reach).contains(&offset), "a branch too far");
            let field = (offset & (2 * reach - 1)).cast_unsigned();
            words[*at] |= u32::try_from(field).expect("masked") << low;
        }
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// How many bytes there are so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        4 * self.words.len() as u64
    }

    /// Whether there is nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds an instruction by its encoding.
    pub fn word(&mut self, word: u32) -> &mut Self {
        self.words.push(word);
        self
    }

    /// A label to be placed later.
    #[must_use]
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub fn place(&mut self, label: Label) -> &mut Self {
        self.labels[label.0] = Some(self.words.len());
        self
    }

    /// A label for this place.
    #[must_use]
    pub fn here(&mut self) -> Label {
        let label = self.label();
        self.place(label);
        label
    }

    fn branch(&mut self, word: u32, label: Label, bits: u32, low: u32) -> &mut Self {
        self.fixups.push(Fixup {
            at: self.words.len(),
            label,
            bits,
            low,
        });
        self.word(word)
    }
}

/// Moves and arithmetic on 64 bits.
impl Asm {
    /// Loads a constant, by one instruction for each 16 bits that are not zero.
    pub fn mov(&mut self, to: X, value: u64) -> &mut Self {
        let mut opcode = 0xd280_0000;
        for part in 0..4 {
            let bits = (value >> (16 * part) & 0xffff) as u32;
            if bits != 0 || part == 3 && opcode == 0xd280_0000 {
                self.word(opcode | part << 21 | bits << 5 | to.0);
                opcode = 0xf280_0000;
            }
        }
        self
    }

    /// `add to, a, #imm`
    pub fn add_imm(&mut self, to: X, a: X, imm: u32) -> &mut Self {
        self.word(0x9100_0000 | (imm & 0xfff) << 10 | a.0 << 5 | to.0)
    }

    /// `sub to, a, #imm`
    pub fn sub_imm(&mut self, to: X, a: X, imm: u32) -> &mut Self {
        self.word(0xd100_0000 | (imm & 0xfff) << 10 | a.0 << 5 | to.0)
    }

    /// `add to, a, b`
    pub fn add(&mut self, to: X, a: X, b: X) -> &mut Self {
        self.word(0x8b00_0000 | b.0 << 16 | a.0 << 5 | to.0)
    }

    /// `sub to, a, b`
    pub fn sub(&mut self, to: X, a: X, b: X) -> &mut Self {
        self.word(0xcb00_0000 | b.0 << 16 | a.0 << 5 | to.0)
    }

    /// `eor to, a, b`
    pub fn eor(&mut self, to: X, a: X, b: X) -> &mut Self {
        self.word(0xca00_0000 | b.0 << 16 | a.0 << 5 | to.0)
    }

    /// `cmp a, b`
    pub fn cmp(&mut self, a: X, b: X) -> &mut Self {
        self.word(0xeb00_001f | b.0 << 16 | a.0 << 5)
    }

    /// `lsl to, a, #shift`, 1 to 63
    pub fn lsl(&mut self, to: X, a: X, shift: u32) -> &mut Self {
        let (rotate, top) = (64 - shift, 63 - shift);
        self.word(0xd340_0000 | rotate << 16 | top << 10 | a.0 << 5 | to.0)
    }
}

/// Branches, exceptions, hints and barriers.
impl Asm {
    /// `b label`
    pub fn b(&mut self, label: Label) -> &mut Self {
        self.branch(0x1400_0000, label, 26, 0)
    }

    /// `b.cond label`
    pub fn b_cond(&mut self, cond: Cond, label: Label) -> &mut Self {
        self.branch(0x5400_0000 | cond as u32, label, 19, 5)
    }

    /// `cbz x, label`
    pub fn cbz(&mut self, x: X, label: Label) -> &mut Self {
        self.branch(0xb400_0000 | x.0, label, 19, 5)
    }

    /// `cbnz x, label`
    pub fn cbnz(&mut self, x: X, label: Label) -> &mut Self {
        self.branch(0xb500_0000 | x.0, label, 19, 5)
    }

    /// `adr to, label`
    pub fn adr(&mut self, to: X, label: Label) -> &mut Self {
        // Labels are words, so the two lowest bits of the offset, which stand apart, are zero.
        self.branch(0x1000_0000 | to.0, label, 19, 5)
    }

    /// `b .`
    pub fn stay(&mut self) -> &mut Self {
        self.word(0x1400_0000)
    }

    /// `br x`
    pub fn br(&mut self, x: X) -> &mut Self {
        self.word(0xd61f_0000 | x.0 << 5)
    }

    /// `svc #imm`
    pub fn svc(&mut self, imm: u16) -> &mut Self {
        self.word(0xd400_0001 | u32::from(imm) << 5)
    }

    /// `hvc #imm`
    pub fn hvc(&mut self, imm: u16) -> &mut Self {
        self.word(0xd400_0002 | u32::from(imm) << 5)
    }

    /// `smc #imm`
    pub fn smc(&mut self, imm: u16) -> &mut Self {
        self.word(0xd400_0003 | u32::from(imm) << 5)
    }

    /// `brk #imm`
    pub fn brk(&mut self, imm: u16) -> &mut Self {
        self.word(0xd420_0000 | u32::from(imm) << 5)
    }

    /// `eret`
    pub fn eret(&mut self) -> &mut Self {
        self.word(0xd69f_03e0)
    }

    /// `nop`
    pub fn nop(&mut self) -> &mut Self {
        self.word(0xd503_201f)
    }

    /// `wfi`
    pub fn wfi(&mut self) -> &mut Self {
        self.word(0xd503_207f)
    }

    /// `isb`
    pub fn isb(&mut self) -> &mut Self {
        self.word(0xd503_3fdf)
    }

    /// `dsb sy`
    pub fn dsb(&mut self) -> &mut Self {
        self.word(0xd503_3f9f)
    }

    /// `msr daifclr, #2`: lets interrupts in.
    pub fn unmask_irq(&mut self) -> &mut Self {
        self.word(0xd503_42ff)
    }

    /// `msr daifset, #2`: keeps interrupts out.
    pub fn mask_irq(&mut self) -> &mut Self {
        self.word(0xd503_42df)
    }
}

/// System registers.
impl Asm {
    /// `mrs to, reg`
    pub fn mrs(&mut self, to: X, reg: SysReg) -> &mut Self {
        self.word(0xd520_0000 | u32::from(reg.0) << 5 | to.0)
    }

    /// `msr reg, from`
    pub fn msr(&mut self, reg: SysReg, from: X) -> &mut Self {
        self.word(0xd500_0000 | u32::from(reg.0) << 5 | from.0)
    }
}

/// Loads and stores.
impl Asm {
    /// A store at `base + offset`, a multiple of the size.
    pub fn store(&mut self, size: Size, x: X, base: X, offset: u64) -> &mut Self {
        self.access(size, 0, x, base, offset)
    }

    /// A zero-extending load at `base + offset`, a multiple of the size.
    pub fn load(&mut self, size: Size, x: X, base: X, offset: u64) -> &mut Self {
        self.load_extended(size, Extend::Zero, x, base, offset)
    }

    /// A load at `base + offset`, a multiple of the size.
    pub fn load_extended(
        &mut self,
        size: Size,
        extend: Extend,
        x: X,
        base: X,
        offset: u64,
    ) -> &mut Self {
        self.access(size, opc(extend), x, base, offset)
    }

    fn access(&mut self, size: Size, opc: u32, x: X, base: X, offset: u64) -> &mut Self {
        let scaled = (offset / size.bytes()) as u32 & 0xfff;
        self.word(0x3900_0000 | width(size) | opc << 22 | scaled << 10 | base.0 << 5 | x.0)
    }

    /// A store that moves its base register by `by`.
    pub fn store_moving(
        &mut self,
        size: Size,
        x: X,
        base: X,
        by: i32,
        when: Writeback,
    ) -> &mut Self {
        self.moving(size, 0, x, base, by, when)
    }

    /// A zero-extending load that moves its base register by `by`.
    pub fn load_moving(
        &mut self,
        size: Size,
        x: X,
        base: X,
        by: i32,
        when: Writeback,
    ) -> &mut Self {
        self.moving(size, 1, x, base, by, when)
    }

    fn moving(
        &mut self,
        size: Size,
        opc: u32,
        x: X,
        base: X,
        by: i32,
        when: Writeback,
    ) -> &mut Self {
        let mode = match when {
            Writeback::Post => 0b01,
            Writeback::Pre => 0b11,
        };
        let by = by.cast_unsigned() & 0x1ff;
        self.word(0x3800_0000 | width(size) | opc << 22 | by << 12 | mode << 10 | base.0 << 5 | x.0)
    }

    /// A load at `base + index`, with the index shifted by the size if `scaled`.
    pub fn load_indexed(&mut self, size: Size, x: X, base: X, index: X, scaled: bool) -> &mut Self {
        let s = u32::from(scaled) << 12;
        self.word(0x3860_6800 | width(size) | index.0 << 16 | s | base.0 << 5 | x.0)
    }

    /// `stp a, b, [base, #offset]` on 32 or 64 bits.
    pub fn store_pair(&mut self, size: Size, a: X, b: X, base: X, offset: i32) -> &mut Self {
        self.pair(0x2900_0000, size, a, b, base, offset)
    }

    /// `ldp a, b, [base, #offset]` on 32 or 64 bits.
    pub fn load_pair(&mut self, size: Size, a: X, b: X, base: X, offset: i32) -> &mut Self {
        self.pair(0x2940_0000, size, a, b, base, offset)
    }

    fn pair(&mut self, opcode: u32, size: Size, a: X, b: X, base: X, offset: i32) -> &mut Self {
        let (wide, bytes) = if size == Size::D { (1, 8) } else { (0, 4) };
        let scaled = (offset / bytes).cast_unsigned() & 0x7f;
        self.word(opcode | wide << 31 | scaled << 15 | b.0 << 10 | base.0 << 5 | a.0)
    }

    /// `str v` of 32, 64 or fewer bits at `base + offset`.
    pub fn store_simd(&mut self, size: Size, v: V, base: X, offset: u64) -> &mut Self {
        let scaled = (offset / size.bytes()) as u32 & 0xfff;
        self.word(0x3d00_0000 | width(size) | scaled << 10 | base.0 << 5 | v.0)
    }

    /// `ldr v` of 32, 64 or fewer bits at `base + offset`.
    pub fn load_simd(&mut self, size: Size, v: V, base: X, offset: u64) -> &mut Self {
        let scaled = (offset / size.bytes()) as u32 & 0xfff;
        self.word(0x3d40_0000 | width(size) | scaled << 10 | base.0 << 5 | v.0)
    }

    /// `str q` at `base + offset`, a multiple of 16.
    pub fn store_q(&mut self, v: V, base: X, offset: u64) -> &mut Self {
        self.word(0x3d80_0000 | ((offset / 16) as u32 & 0xfff) << 10 | base.0 << 5 | v.0)
    }

    /// `ldr q` at `base + offset`, a multiple of 16.
    pub fn load_q(&mut self, v: V, base: X, offset: u64) -> &mut Self {
        self.word(0x3dc0_0000 | ((offset / 16) as u32 & 0xfff) << 10 | base.0 << 5 | v.0)
    }

    /// `ldaddal add, old, [base]` on 64 bits: an atomic addition.
    pub fn fetch_add(&mut self, old: X, add: X, base: X) -> &mut Self {
        self.word(0xf8e0_0000 | add.0 << 16 | base.0 << 5 | old.0)
    }
}

fn width(size: Size) -> u32 {
    size.bytes().trailing_zeros() << 30
}

fn opc(extend: Extend) -> u32 {
    match extend {
        Extend::Zero => 1,
        Extend::Sign64 => 2,
        Extend::Sign32 => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aarch64::Saved;

    /// One line of assembly and the words that we make of it.
    fn cases() -> Vec<(&'static str, Asm)> {
        fn asm(build: impl Fn(&mut Asm)) -> Asm {
            let mut asm = Asm::new();
            build(&mut asm);
            asm
        }
        macro_rules! cases {
            ($($text:literal $(. $call:ident ( $($argument:expr),* ))+;)*) => {
                vec![$(($text, asm(|a| { a $(.$call($($argument),*))+; }))),*]
            };
        }
        let (x0, x1, x2, x3) = (X(0), X(1), X(2), X(3));
        let tpidr = Saved::TpidrEl0.sysreg();
        cases! {
            "mov x1, #0x1234" .mov(x1, 0x1234);
            "movz x1, #0xdead, lsl #16; movk x1, #0xbeef, lsl #48" .mov(x1, 0xbeef_0000_dead_0000);
            "movz x1, #0, lsl #48" .mov(x1, 0);
            "add x1, x2, #0xfff" .add_imm(x1, x2, 0xfff);
            "sub x1, x2, #1" .sub_imm(x1, x2, 1);
            "add x1, x2, x3" .add(x1, x2, x3);
            "sub x1, x2, x3" .sub(x1, x2, x3);
            "eor x1, x2, x3" .eor(x1, x2, x3);
            "cmp x2, x3" .cmp(x2, x3);
            "lsl x1, x2, #12" .lsl(x1, x2, 12);
            "b ." .stay();
            "br x3" .br(x3);
            "svc #7; hvc #8; smc #9; brk #10" .svc(7) .hvc(8) .smc(9) .brk(10);
            "eret; nop; wfi; isb; dsb sy" .eret() .nop() .wfi() .isb() .dsb();
            "msr daifclr, #2; msr daifset, #2" .unmask_irq() .mask_irq();
            "mrs x3, tpidr_el0; msr tpidr_el0, x2" .mrs(x3, tpidr) .msr(tpidr, x2);
            "strb w1, [x2, #3]" .store(Size::B, x1, x2, 3);
            "strh w1, [x2, #6]" .store(Size::H, x1, x2, 6);
            "str w1, [x2, #12]" .store(Size::W, x1, x2, 12);
            "str xzr, [x2, #32760]" .store(Size::D, XZR, x2, 32760);
            "ldrb w1, [x2]" .load(Size::B, x1, x2, 0);
            "ldr x1, [x2, #8]" .load(Size::D, x1, x2, 8);
            "ldrsb w1, [x2]" .load_extended(Size::B, Extend::Sign32, x1, x2, 0);
            "ldrsh x1, [x2]" .load_extended(Size::H, Extend::Sign64, x1, x2, 0);
            "ldrsw x1, [x2, #4]" .load_extended(Size::W, Extend::Sign64, x1, x2, 4);
            "str x1, [x2], #-8" .store_moving(Size::D, x1, x2, -8, Writeback::Post);
            "ldr w1, [x2, #16]!" .load_moving(Size::W, x1, x2, 16, Writeback::Pre);
            "ldr x1, [x2, x3, lsl #3]" .load_indexed(Size::D, x1, x2, x3, true);
            "ldrh w1, [x2, x3]" .load_indexed(Size::H, x1, x2, x3, false);
            "stp x1, x3, [x2, #-16]" .store_pair(Size::D, x1, x3, x2, -16);
            "ldp w1, w3, [x2, #8]" .load_pair(Size::W, x1, x3, x2, 8);
            "str s1, [x2, #4]" .store_simd(Size::W, V(1), x2, 4);
            "ldr d1, [x2, #8]" .load_simd(Size::D, V(1), x2, 8);
            "str q1, [x2, #32]" .store_q(V(1), x2, 32);
            "ldr q1, [x2, #16]" .load_q(V(1), x2, 16);
            ".arch armv8-a+lse; ldaddal x3, x1, [x2]" .fetch_add(x1, x3, x2);
            "cbz x0, .+8" .cbz_over(x0);
            "adr x1, .+8; nop" .adr_over(x1);
        }
    }

    impl Asm {
        /// A branch over itself, for the table above.
        fn cbz_over(&mut self, x: X) -> &mut Self {
            let over = self.label();
            self.cbz(x, over).nop().place(over);
            self.words.pop();
            self
        }
    }

    impl Asm {
        /// The address after the next instruction.
        fn adr_over(&mut self, x: X) -> &mut Self {
            let over = self.label();
            self.adr(x, over).nop().place(over)
        }
    }

    /// GNU as of the guests' toolchain says the same, where it is installed.
    #[test]
    fn encodings_are_those_of_gnu_as() {
        let Some(theirs) = assemble() else {
            return crate::skip::skip("assembler", "no aarch64-linux-gnu-as on this machine");
        };
        let ours: Vec<u8> = cases().iter().flat_map(|(_, asm)| asm.bytes()).collect();
        let mut at = 0;
        for (text, asm) in cases() {
            let bytes = asm.bytes();
            assert_eq!(bytes, theirs[at..at + bytes.len()], "{text}");
            at += bytes.len();
        }
        assert_eq!(ours, theirs);
    }

    fn assemble() -> Option<Vec<u8>> {
        use crate::program::Scratch;
        use std::process::Command;
        let scratch = Scratch::new("assembler");
        let text: Vec<&str> = cases().iter().map(|(text, _)| *text).collect();
        let source = scratch.file("source.s", format!("{}\n", text.join("\n")).as_bytes());
        let (object, raw) = (scratch.path().join("object"), scratch.path().join("raw"));
        let run = |command: &mut Command| command.status().ok().filter(|status| status.success());
        run(Command::new("aarch64-linux-gnu-as")
            .arg("-o")
            .arg(&object)
            .arg(source))?;
        let mut copy = Command::new("aarch64-linux-gnu-objcopy");
        run(copy.args(["-O", "binary"]).arg(object).arg(&raw))?;
        std::fs::read(raw).ok()
    }

    #[test]
    fn branches_reach_their_labels_both_ways() {
        let mut a = Asm::new();
        let top = a.here();
        let end = a.label();
        a.cbz(X(0), end)
            .b(top)
            .b_cond(Cond::Ne, top)
            .place(end)
            .nop();
        let bytes = a.bytes();
        let word = |n: usize| u32::from_le_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap());
        assert_eq!(word(0), 0xb400_0060, "three ahead");
        assert_eq!(word(1), 0x17ff_ffff, "one back");
        assert_eq!(word(2), 0x54ff_ffc1, "two back, if not equal");
    }
}
