//! The few instructions that guests are put together with.

use aarch64::SysReg;

/// `HVC #0`
pub const HVC: u32 = 0xd400_0002;
/// `SMC #0`
pub const SMC: u32 = 0xd400_0003;
/// `WFI`
pub const WFI: u32 = 0xd503_207f;
/// `ISB`
pub const ISB: u32 = 0xd503_3fdf;
/// `ERET`
pub const ERET: u32 = 0xd69f_03e0;
/// `MSR DAIFClr, #15`
pub const UNMASK: u32 = 0xd503_4fff;

/// `MOVZ` and `MOVK`s that put `value` into X`reg`.
#[must_use]
pub fn set(reg: u32, value: u64) -> Vec<u32> {
    let part = |n: u32| (value >> (16 * n)) as u32 & 0xffff;
    let wide = |opcode: u32, n: u32| opcode | n << 21 | part(n) << 5 | reg;
    let rest = (1..4)
        .filter(|&n| part(n) != 0)
        .map(|n| wide(0xf280_0000, n));
    std::iter::once(wide(0xd280_0000, 0)).chain(rest).collect()
}

/// `MSR` from X`from`.
#[must_use]
pub fn msr(reg: SysReg, from: u32) -> u32 {
    0xd500_0000 | system(reg) | from
}

/// `MRS` to X`to`.
#[must_use]
pub fn mrs(reg: SysReg, to: u32) -> u32 {
    0xd520_0000 | system(reg) | to
}

fn system(reg: SysReg) -> u32 {
    let (op0, op1, crn, crm, op2) = reg.fields();
    // op0 has one bit in the instruction beside the one that says it is a move.
    1 << 20
        | (u32::from(op0) & 1) << 19
        | u32::from(op1) << 16
        | u32::from(crn) << 12
        | u32::from(crm) << 8
        | u32::from(op2) << 5
}

/// `B` by this many bytes.
#[must_use]
pub fn branch(bytes: i64) -> u32 {
    0x1400_0000 | (bytes >> 2) as u32 & 0x03ff_ffff
}

/// `BR` X`reg`.
#[must_use]
pub fn jump(reg: u32) -> u32 {
    0xd61f_0000 | reg << 5
}

/// `SUBS` X`reg` by 1, and `B.NE` back over `body` instructions.
#[must_use]
pub fn count_down(reg: u32, body: usize) -> [u32; 2] {
    let back = -(4 * (body as i64 + 1));
    [
        0xf100_0400 | reg << 5 | reg,
        0x5400_0001 | ((back >> 2) as u32 & 0x7_ffff) << 5,
    ]
}

/// Lets EL0 and EL1 use floating point.
#[must_use]
pub fn enable_fp() -> Vec<u32> {
    let mut code = set(0, 3 << 20);
    code.push(msr(SysReg::new(3, 0, 1, 0, 2), 0));
    code.push(ISB);
    code
}

/// PSCI `SYSTEM_OFF`, and a loop should it return.
#[must_use]
pub fn power_off() -> Vec<u32> {
    let mut code = set(0, 0x8400_0008);
    code.extend([HVC, branch(0)]);
    code
}

/// Skips the instruction that took the exception. X28 is lost.
#[must_use]
pub fn skip_handler() -> [u32; 4] {
    let elr = SysReg::new(3, 0, 4, 0, 1);
    // add x28, x28, #4
    [mrs(elr, 28), 0x9100_139c, msr(elr, 28), ERET]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_agree_with_the_assembler() {
        assert_eq!(set(3, 0x1_0000_0002), [0xd280_0043, 0xf2c0_0023]);
        assert_eq!(msr(SysReg::new(3, 0, 12, 0, 0), 9), 0xd518_c009);
        assert_eq!(mrs(SysReg::new(3, 0, 4, 0, 1), 9), 0xd538_4029);
        assert_eq!(mrs(SysReg::new(2, 0, 0, 2, 2), 1), 0xd530_0241);
        assert_eq!(branch(-8), 0x17ff_fffe);
        assert_eq!(jump(5), 0xd61f_00a0);
        assert_eq!(count_down(1, 2), [0xf100_0421, 0x54ff_ffa1]);
    }
}
