//! A vCPU's registers.

use aarch64::pstate::{self, EL0T, EL1H, EL1T, MODE};
use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::timer::{CTL_ISTATUS, Timer};
use aarch64::{Saved, SysReg};

use super::{Asked, HvfVcpu};
use crate::api::HostError;
use crate::hvf::abi::{reg, status};
use crate::hvf::debug::TAKEN;
use crate::hvf::sys::Failure;
use crate::hvf::sysregs::{Place, held, place};

/// Whether the framework says that it does not know a register.
fn is_unknown(failure: Failure) -> bool {
    [status::BAD_ARGUMENT, status::UNSUPPORTED, status::DENIED].contains(&failure.code)
}

/// What a failed access to a system register means.
fn no_register(reg: SysReg) -> impl FnOnce(Failure) -> HostError {
    move |failure| {
        if is_unknown(failure) {
            HostError::NoRegister(reg)
        } else {
            failure.into()
        }
    }
}

impl HvfVcpu {
    /// X0 to X30; register 31 reads as zero and is not the framework's register 31, which is the PC.
    pub(super) fn x(&self, n: u8) -> Result<u64, HostError> {
        match n {
            0..=30 => Ok(self.raw.reg(n.into())?),
            _ => Ok(0),
        }
    }

    /// Sets X0 to X30; register 31 takes nothing.
    pub(super) fn set_x(&mut self, n: u8, value: u64) -> Result<(), HostError> {
        match n {
            0..=30 => Ok(self.raw.set_reg(n.into(), value)?),
            _ => Ok(()),
        }
    }

    pub(super) fn pc(&self) -> Result<u64, HostError> {
        Ok(self.raw.reg(reg::PC)?)
    }

    pub(super) fn set_pc(&mut self, pc: u64) -> Result<(), HostError> {
        Ok(self.raw.set_reg(reg::PC, pc)?)
    }

    /// PSTATE as the guest has it, without the step that a debugger makes.
    pub(super) fn pstate(&self) -> Result<u64, HostError> {
        let pstate = self.raw.reg(reg::CPSR)?;
        Ok(match self.debugging {
            Some(_) => pstate & !pstate::SS,
            None => pstate,
        })
    }

    pub(super) fn set_pstate(&mut self, pstate: u64) -> Result<(), HostError> {
        Ok(self.raw.set_reg(reg::CPSR, pstate)?)
    }

    pub(super) fn core_registers(&self) -> Result<CoreRegs, HostError> {
        let mut regs = CoreRegs {
            pc: self.pc()?,
            pstate: self.pstate()?,
            ..CoreRegs::default()
        };
        for (x, n) in regs.x.iter_mut().zip(0..) {
            *x = self.x(n)?;
        }
        Ok(regs)
    }

    pub(super) fn set_core_registers(&mut self, regs: &CoreRegs) -> Result<(), HostError> {
        let CoreRegs { x, pc, pstate } = regs;
        if ![EL0T, EL1T, EL1H].contains(&(pstate & MODE)) || *pstate > u32::MAX.into() {
            let line = format!("PSTATE {pstate:#x} is no EL0 or EL1 state");
            return Err(HostError::BadState(line));
        }
        // Whatever was under way belongs to other registers.
        self.asked = Asked::Nothing;
        self.held = None;
        if let Some(executor) = &mut self.executor {
            executor.abandon();
        }
        for (x, n) in x.iter().zip(0..) {
            self.set_x(n, *x)?;
        }
        self.set_pc(*pc)?;
        self.set_pstate(*pstate)
    }

    pub(super) fn simd_registers(&self) -> Result<SimdRegs, HostError> {
        let mut regs = SimdRegs {
            fpcr: self.raw.reg(reg::FPCR)? as u32,
            fpsr: self.raw.reg(reg::FPSR)? as u32,
            ..SimdRegs::default()
        };
        for (v, n) in regs.v.iter_mut().zip(0..) {
            *v = self.raw.vector(n)?;
        }
        Ok(regs)
    }

    pub(super) fn set_simd_registers(&mut self, regs: &SimdRegs) -> Result<(), HostError> {
        let SimdRegs { v, fpcr, fpsr } = regs;
        for (v, n) in v.iter().zip(0..) {
            self.raw.set_vector(n, *v)?;
        }
        self.raw.set_reg(reg::FPCR, (*fpcr).into())?;
        self.raw.set_reg(reg::FPSR, (*fpsr).into())?;
        Ok(())
    }

    /// Where a register is while a debugger may have taken it over.
    fn place(&self, reg: Saved) -> Place {
        if self.debugging.is_some() && TAKEN.contains(&reg) {
            return Place::Here;
        }
        place(reg)
    }

    pub(super) fn saved(&self, reg: Saved) -> Result<u64, HostError> {
        let sysreg = reg.sysreg();
        let value = match self.place(reg) {
            Place::Here => self.here[reg],
            Place::Framework => self.raw.sysreg(sysreg).map_err(no_register(sysreg))?,
            Place::Newer => match self.raw.sysreg(sysreg) {
                Ok(value) => value,
                Err(failure) if is_unknown(failure) => self.here[reg],
                Err(failure) => return Err(failure.into()),
            },
        };
        Ok(held(reg, value))
    }

    pub(super) fn set_saved(&mut self, reg: Saved, value: u64) -> Result<(), HostError> {
        let sysreg = reg.sysreg();
        let value = held(reg, value);
        match self.place(reg) {
            Place::Here => self.here[reg] = value,
            Place::Framework => {
                let set = self.raw.set_sysreg(sysreg, value);
                set.map_err(no_register(sysreg))?;
            }
            Place::Newer => match self.raw.set_sysreg(sysreg, value) {
                Ok(()) => {}
                Err(failure) if is_unknown(failure) => self.here[reg] = value,
                Err(failure) => return Err(failure.into()),
            },
        }
        if matches!(reg, Saved::CntvCtlEl0 | Saved::CntvCvalEl0) {
            self.timer_unsure = true;
        }
        if matches!(reg, Saved::CntpCtlEl0 | Saved::CntpCvalEl0) {
            self.arm_physical_timer()?;
        }
        Ok(())
    }

    /// The counter as the guest reads it.
    pub(super) fn counter(&self) -> u64 {
        self.shared.time.counter(self.shared.framework)
    }

    /// The virtual timer.
    pub(super) fn virtual_timer(&self) -> Result<Timer, HostError> {
        Ok(Timer {
            ctl: self.saved(Saved::CntvCtlEl0)?,
            cval: self.saved(Saved::CntvCvalEl0)?,
        })
    }

    /// The physical timer, which is ours.
    pub(super) fn physical_timer(&self) -> Timer {
        Timer {
            ctl: self.here[Saved::CntpCtlEl0],
            cval: self.here[Saved::CntpCvalEl0],
        }
    }

    /// `CNTP_CTL_EL0` as the guest reads it.
    pub(super) fn physical_timer_control(&self) -> u64 {
        let Timer { ctl, cval } = self.physical_timer();
        let met = ctl & 1 != 0 && self.counter() >= cval;
        ctl | if met { CTL_ISTATUS } else { 0 }
    }

    pub(super) fn arm_physical_timer(&mut self) -> Result<(), HostError> {
        let deadline = self.physical_timer().deadline(self.counter());
        self.shared.set_alarm(self.id, deadline)
    }
}
