//! Saved state: architectural values only, the same for every accelerator.

use crate::pstate;
use crate::sysreg::Saved;

/// Values of every [`Saved`] register, indexed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysRegFile(pub [u64; Saved::COUNT]);

impl Default for SysRegFile {
    /// The reset values of the table.
    fn default() -> Self {
        Self(std::array::from_fn(|i| Saved::ALL[i].reset_value()))
    }
}

impl std::ops::Index<Saved> for SysRegFile {
    type Output = u64;
    #[inline(always)]
    fn index(&self, reg: Saved) -> &u64 {
        &self.0[reg as usize]
    }
}

impl std::ops::IndexMut<Saved> for SysRegFile {
    #[inline(always)]
    fn index_mut(&mut self, reg: Saved) -> &mut u64 {
        &mut self.0[reg as usize]
    }
}

/// General registers of a vCPU. The stack pointers are system registers (`SP_EL0`, `SP_EL1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRegs {
    /// X0 to X30.
    pub x: [u64; 31],
    /// Program counter.
    pub pc: u64,
    /// PSTATE in the layout of `SPSR_EL1`, see [`pstate`].
    pub pstate: u64,
}

impl Default for CoreRegs {
    fn default() -> Self {
        Self {
            x: [0; 31],
            pc: 0,
            pstate: pstate::RESET,
        }
    }
}

/// FP and AdvSIMD registers of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SimdRegs {
    /// V0 to V31.
    pub v: [u128; 32],
    /// FP control register.
    pub fpcr: u32,
    /// FP status register.
    pub fpsr: u32,
}

/// All of a vCPU's architectural state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct VcpuState {
    /// General registers.
    pub core: CoreRegs,
    /// FP and AdvSIMD registers.
    pub simd: SimdRegs,
    /// System registers.
    pub sys: SysRegFile,
}

/// The VM-wide counter that guests read as `CNTVCT_EL0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CounterState {
    /// Counter value, in ticks of `frequency`.
    pub value: u64,
    /// `CNTFRQ_EL0`, in Hz.
    pub frequency: u64,
}
