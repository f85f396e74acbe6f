//! Exception classes and syndromes as `ESR_EL1` reports them (D17.2.37).

/// Exception class, `ESR_ELx.EC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ec {
    /// Unknown reason: an undefined instruction.
    Unknown = 0x00,
    /// Trapped WFI or WFE.
    Wfx = 0x01,
    /// Trapped FP or AdvSIMD access.
    FpAccess = 0x07,
    /// Illegal execution state.
    IllegalState = 0x0e,
    /// SVC in AArch64 state.
    Svc64 = 0x15,
    /// HVC in AArch64 state.
    Hvc64 = 0x16,
    /// SMC in AArch64 state.
    Smc64 = 0x17,
    /// Trapped MSR, MRS or system instruction.
    SysReg = 0x18,
    /// Instruction abort from a lower exception level.
    InsnAbortLower = 0x20,
    /// Instruction abort from the same exception level.
    InsnAbortSame = 0x21,
    /// PC alignment fault.
    PcAlignment = 0x22,
    /// Data abort from a lower exception level.
    DataAbortLower = 0x24,
    /// Data abort from the same exception level.
    DataAbortSame = 0x25,
    /// SP alignment fault.
    SpAlignment = 0x26,
    /// Trapped floating-point exception, AArch64.
    FpException = 0x2c,
    /// SError.
    SError = 0x2f,
    /// Breakpoint from a lower exception level.
    BreakpointLower = 0x30,
    /// Breakpoint from the same exception level.
    BreakpointSame = 0x31,
    /// Software step from a lower exception level.
    StepLower = 0x32,
    /// Software step from the same exception level.
    StepSame = 0x33,
    /// Watchpoint from a lower exception level.
    WatchpointLower = 0x34,
    /// Watchpoint from the same exception level.
    WatchpointSame = 0x35,
    /// BRK in AArch64 state.
    Brk64 = 0x3c,
}

/// `ESR_ELx.IL`: the trapped instruction was 32 bits long.
pub const IL: u64 = 1 << 25;

/// `ESR_ELx` with this class and ISS (bits 24:0), for a 32-bit instruction.
#[must_use]
pub const fn esr(ec: Ec, iss: u32) -> u64 {
    ((ec as u64) << 26) | IL | (iss as u64 & 0x1ff_ffff)
}
