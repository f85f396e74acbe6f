//! The state that a vCPU of the framework is given before its first run.
//!
//! Nobody says what a new vCPU's registers hold, and for some (`SCTLR_EL1`, PSTATE) it is seen to be
//! of no use. So all are written: those of the saved state with their reset values, and those beyond
//! it, which a guest may have but nobody saves, with zero.

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Saved, SysReg};

use super::abi::reg;
use super::sys::Failure;
use super::sys::vcpu::RawVcpu;
use super::sysregs::{Place, place};

/// Registers that the framework has and the saved state has not: keys of pointer authentication,
/// breakpoints and watchpoints beyond the model's, software context numbers, and SME's. Which of them
/// there are depends on processor and macOS.
fn beyond() -> impl Iterator<Item = SysReg> {
    let keys = (0..10).map(|n| SysReg::new(3, 0, 2, 1 + n / 4, n % 4));
    let points = (0..16).flat_map(|n| (4..8).map(move |op2| SysReg::new(2, 0, 0, n, op2)));
    let others = [
        SysReg::new(3, 0, 13, 0, 7),
        SysReg::new(3, 3, 13, 0, 7),
        SysReg::new(3, 3, 13, 0, 5),
        SysReg::new(3, 0, 1, 2, 4),
        SysReg::new(3, 0, 1, 2, 6),
    ];
    let saved = |reg: &SysReg| Saved::from_sysreg(*reg).is_none();
    keys.chain(points).chain(others).filter(saved)
}

/// Writes every register that the framework keeps, but those that say what the vCPU is.
pub fn reset(raw: &mut RawVcpu) -> Result<(), Failure> {
    let CoreRegs { x, pc, pstate } = CoreRegs::default();
    for (x, n) in x.iter().zip(0..) {
        raw.set_reg(n, *x)?;
    }
    raw.set_reg(reg::PC, pc)?;
    raw.set_reg(reg::CPSR, pstate)?;
    let SimdRegs { v, fpcr, fpsr } = SimdRegs::default();
    for (v, n) in v.iter().zip(0..) {
        raw.set_vector(n, *v)?;
    }
    raw.set_reg(reg::FPCR, fpcr.into())?;
    raw.set_reg(reg::FPSR, fpsr.into())?;
    for saved in Saved::ALL {
        match place(*saved) {
            Place::Framework => raw.set_sysreg(saved.sysreg(), saved.reset_value())?,
            // Where it is not there, nothing is to be written.
            Place::Newer => drop(raw.set_sysreg(saved.sysreg(), saved.reset_value())),
            Place::Here => {}
        }
    }
    for reg in beyond() {
        // As above.
        let _ = raw.set_sysreg(reg, 0);
    }
    raw.set_debug_exceptions_trap(false)?;
    raw.set_debug_registers_trap(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_beyond_the_saved_state_are_known_by_their_encodings() {
        let all: Vec<SysReg> = beyond().collect();
        // APGAKeyHi_EL1, DBGWCR15_EL1.
        assert!(all.contains(&SysReg(0xc119)) && all.contains(&SysReg(0x807f)));
        assert!(all.iter().all(|reg| Saved::from_sysreg(*reg).is_none()));
        // 10 keys, 64 debug registers but those of 6 breakpoints and 4 watchpoints, 5 others.
        assert_eq!(all.len(), 10 + (64 - 20) + 5);
    }
}
