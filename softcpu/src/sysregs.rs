//! The system registers: which there are, who may access them, what reading and writing does.
//!
//! Tables say it all. [`aarch64::portable`] has the writable bits of each register of the saved
//! state, [`CONCERNS`] what else a write concerns. [`registers`] has one row for each encoding that
//! `MRS` and `MSR` can name; everything else is undefined. The registers of the GIC's CPU interface
//! are the owner's: accesses become events.

use std::sync::OnceLock;

use aarch64::cpu_model::{self, MPIDR_EL1};
use aarch64::{Saved, SysReg, VcpuId, portable, pstate};

use crate::cpu::{Cpu, Stop};
use crate::fp::{fpcr, fpsr};
use crate::timer::Which;

/// What a write of a saved register concerns besides the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concern {
    /// Nothing.
    Nothing,
    /// All translations: they are forgotten.
    Translation,
    /// The ASID.
    AddressSpace,
    /// Whether FP is enabled.
    Fp,
    /// Outputs of timers.
    Timer,
    /// Breakpoints, watchpoints, software step.
    Debug,
}

/// What writes of these registers concern; those of the others concern nothing.
const CONCERNS: &[(Saved, Concern)] = &[
    (Saved::SctlrEl1, Concern::Translation),
    (Saved::CpacrEl1, Concern::Fp),
    (Saved::Ttbr0El1, Concern::AddressSpace),
    (Saved::Ttbr1El1, Concern::AddressSpace),
    (Saved::TcrEl1, Concern::Translation),
    (Saved::MairEl1, Concern::Translation),
    (Saved::ContextidrEl1, Concern::Debug),
    (Saved::CntpCtlEl0, Concern::Timer),
    (Saved::CntpCvalEl0, Concern::Timer),
    (Saved::CntvCtlEl0, Concern::Timer),
    (Saved::CntvCvalEl0, Concern::Timer),
    (Saved::MdscrEl1, Concern::Debug),
    (Saved::OslsrEl1, Concern::Debug),
    (Saved::Dbgbvr0El1, Concern::Debug),
    (Saved::Dbgbvr1El1, Concern::Debug),
    (Saved::Dbgbvr2El1, Concern::Debug),
    (Saved::Dbgbvr3El1, Concern::Debug),
    (Saved::Dbgbvr4El1, Concern::Debug),
    (Saved::Dbgbvr5El1, Concern::Debug),
    (Saved::Dbgbcr0El1, Concern::Debug),
    (Saved::Dbgbcr1El1, Concern::Debug),
    (Saved::Dbgbcr2El1, Concern::Debug),
    (Saved::Dbgbcr3El1, Concern::Debug),
    (Saved::Dbgbcr4El1, Concern::Debug),
    (Saved::Dbgbcr5El1, Concern::Debug),
    (Saved::Dbgwvr0El1, Concern::Debug),
    (Saved::Dbgwvr1El1, Concern::Debug),
    (Saved::Dbgwvr2El1, Concern::Debug),
    (Saved::Dbgwvr3El1, Concern::Debug),
    (Saved::Dbgwcr0El1, Concern::Debug),
    (Saved::Dbgwcr1El1, Concern::Debug),
    (Saved::Dbgwcr2El1, Concern::Debug),
    (Saved::Dbgwcr3El1, Concern::Debug),
];

/// [`Concern`] of every saved register, by its number.
static CONCERN: [Concern; Saved::COUNT] = {
    let mut concerns = [Concern::Nothing; Saved::COUNT];
    let mut i = 0;
    while i < CONCERNS.len() {
        let (reg, concern) = CONCERNS[i];
        concerns[reg as usize] = concern;
        i += 1;
    }
    concerns
};

impl Cpu {
    /// Sets a register of the saved state: the bits that exist, and what hangs on them.
    pub fn set_saved(&mut self, reg: Saved, value: u64) {
        let value = portable::bits(reg).kept(value);
        let (old, asid) = (self.sys[reg], self.asid());
        if matches!(reg, Saved::SpEl0 | Saved::SpEl1) {
            return self.set_stack(reg, value);
        }
        self.sys[reg] = value;
        match CONCERN[reg as usize] {
            Concern::Nothing => {}
            Concern::Translation if old == value => {}
            Concern::Translation => {
                self.flush_translations();
                self.address_space_changed(asid);
            }
            Concern::AddressSpace => self.address_space_changed(asid),
            Concern::Fp => self.refresh(),
            Concern::Timer => self.look_up_soon(),
            Concern::Debug => self.debug_changed(),
        }
    }

    /// A system register, as saved state has it: one of [`Saved`] or an identification register.
    #[must_use]
    pub fn sysreg(&self, reg: SysReg) -> Option<u64> {
        if let Some(saved) = Saved::from_sysreg(reg) {
            return Some(self.saved(saved));
        }
        if reg == MPIDR_EL1 {
            return Some(self.mpidr());
        }
        cpu_model::id_register(reg)
    }

    /// Sets a system register of the saved state; false if it is not one.
    pub fn set_sysreg(&mut self, reg: SysReg, value: u64) -> bool {
        let Some(saved) = Saved::from_sysreg(reg) else {
            return false;
        };
        self.set_saved(saved, value);
        true
    }

    fn mpidr(&self) -> u64 {
        let index = u16::try_from(self.index).unwrap_or(u16::MAX);
        cpu_model::mpidr(VcpuId(index))
    }
}

/// How `MRS` reads a register.
#[derive(Clone, Copy)]
pub(crate) enum Read {
    /// It cannot.
    No,
    /// From the saved state.
    Saved(Saved),
    /// Always this.
    Constant(u64),
    /// By a function.
    Call(fn(&mut Cpu) -> Result<u64, Stop>),
    /// The owner does.
    Ask,
}

/// How `MSR` writes a register.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    /// It cannot.
    No,
    /// To the saved state.
    Saved(Saved),
    /// Without effect.
    Ignore,
    /// By a function.
    Call(fn(&mut Cpu, u64) -> Result<(), Stop>),
    /// The owner does.
    Ask,
}

/// An encoding of `MRS` and `MSR`.
pub(crate) struct Register {
    pub reg: SysReg,
    pub read: Read,
    pub write: Write,
    /// EL0 may read, EL0 may write; the functions may still trap.
    pub el0: (bool, bool),
}

const NOBODY: (bool, bool) = (false, false);
const READER: (bool, bool) = (true, false);
const BOTH: (bool, bool) = (true, true);

/// Every register but the saved and the identification registers, and those of them that are more
/// than storage.
#[rustfmt::skip]
const CALLS: &[Register] = &[
    row((3, 0, 0, 0, 5), Read::Call(|c| Ok(c.mpidr())), Write::No, NOBODY),
    row((3, 1, 0, 0, 0), Read::Call(read_ccsidr), Write::No, NOBODY),
    row((3, 3, 0, 0, 1), Read::Call(Cpu::read_ctr), Write::No, READER),
    row((3, 3, 0, 0, 7), Read::Call(Cpu::read_dczid), Write::No, READER),
    row((3, 0, 4, 1, 0), Read::Call(Cpu::read_sp_el0), Write::Call(Cpu::write_sp_el0), NOBODY),
    row((3, 0, 4, 2, 0), Read::Call(|c| Ok(c.pstate & 1)), Write::Call(write_spsel), NOBODY),
    row((3, 0, 4, 2, 2), Read::Call(|c| Ok(c.el() << 2)), Write::No, NOBODY),
    row((3, 0, 4, 2, 3), Read::Call(|c| Ok(c.pstate & pstate::PAN)), Write::Call(write_pan), NOBODY),
    row((3, 3, 4, 2, 0), Read::Call(|c| Ok(c.nzcv_bits())), Write::Call(write_nzcv), BOTH),
    row((3, 3, 4, 2, 1), Read::Call(Cpu::read_daif), Write::Call(Cpu::write_daif), BOTH),
    row((3, 3, 4, 4, 0), Read::Call(read_fpcr), Write::Call(write_fpcr), BOTH),
    row((3, 3, 4, 4, 1), Read::Call(read_fpsr), Write::Call(write_fpsr), BOTH),
    // The model has no RAS, but a guest that started where it could not be hidden may come here: no
    // errors are recorded or deferred.
    row((3, 0, 5, 3, 0), Read::Constant(0), Write::No, NOBODY), // ERRIDR_EL1
    row((3, 0, 5, 3, 1), Read::Constant(0), Write::Ignore, NOBODY), // ERRSELR_EL1
    row((3, 0, 5, 4, 0), Read::Constant(0), Write::No, NOBODY), // ERXFR_EL1
    row((3, 0, 5, 4, 1), Read::Constant(0), Write::Ignore, NOBODY), // ERXCTLR_EL1
    row((3, 0, 5, 4, 2), Read::Constant(0), Write::Ignore, NOBODY), // ERXSTATUS_EL1
    row((3, 0, 5, 4, 3), Read::Constant(0), Write::Ignore, NOBODY), // ERXADDR_EL1
    row((3, 0, 5, 5, 0), Read::Constant(0), Write::Ignore, NOBODY), // ERXMISC0_EL1
    row((3, 0, 5, 5, 1), Read::Constant(0), Write::Ignore, NOBODY), // ERXMISC1_EL1
    row((3, 0, 12, 1, 1), Read::Constant(0), Write::Ignore, NOBODY), // DISR_EL1
    row((3, 0, 12, 0, 1), Read::Constant(0), Write::No, NOBODY), // RVBAR_EL1
    row((3, 0, 12, 1, 0), Read::Call(read_isr), Write::No, NOBODY),
    row((3, 3, 13, 0, 2), Read::Saved(Saved::TpidrEl0), Write::Saved(Saved::TpidrEl0), BOTH),
    row((3, 3, 13, 0, 3), Read::Saved(Saved::TpidrroEl0), Write::Saved(Saved::TpidrroEl0), READER),
    row((3, 3, 14, 0, 0), Read::Call(Cpu::read_counter_frequency), Write::No, READER),
    row((3, 3, 14, 0, 1), Read::Call(Cpu::read_physical_counter), Write::No, READER),
    row((3, 3, 14, 0, 2), Read::Call(Cpu::read_virtual_counter), Write::No, READER),
    row((3, 3, 14, 2, 0), Read::Call(|c| c.read_timer_tval(Which::Physical)), Write::Call(|c, v| c.write_timer_tval(Which::Physical, v)), BOTH),
    row((3, 3, 14, 2, 1), Read::Call(|c| c.read_timer_ctl(Which::Physical)), Write::Call(|c, v| c.write_timer_ctl(Which::Physical, v)), BOTH),
    row((3, 3, 14, 2, 2), Read::Call(|c| c.read_timer_cval(Which::Physical)), Write::Call(|c, v| c.write_timer_cval(Which::Physical, v)), BOTH),
    row((3, 3, 14, 3, 0), Read::Call(|c| c.read_timer_tval(Which::Virtual)), Write::Call(|c, v| c.write_timer_tval(Which::Virtual, v)), BOTH),
    row((3, 3, 14, 3, 1), Read::Call(|c| c.read_timer_ctl(Which::Virtual)), Write::Call(|c, v| c.write_timer_ctl(Which::Virtual, v)), BOTH),
    row((3, 3, 14, 3, 2), Read::Call(|c| c.read_timer_cval(Which::Virtual)), Write::Call(|c, v| c.write_timer_cval(Which::Virtual, v)), BOTH),
    // The debug communication channel has nobody at its other end.
    row((2, 0, 0, 0, 2), Read::Constant(0), Write::Ignore, NOBODY), // OSDTRRX_EL1
    row((2, 0, 0, 3, 2), Read::Constant(0), Write::Ignore, NOBODY), // OSDTRTX_EL1
    row((2, 0, 0, 6, 2), Read::Constant(0), Write::Ignore, NOBODY), // OSECCR_EL1
    row((2, 0, 1, 0, 0), Read::Constant(0), Write::No, NOBODY), // MDRAR_EL1
    row((2, 0, 1, 0, 4), Read::No, Write::Call(Cpu::write_oslar), NOBODY),
    row((2, 0, 1, 1, 4), Read::Saved(Saved::OslsrEl1), Write::No, NOBODY),
    row((2, 0, 1, 4, 4), Read::Constant(0), Write::Ignore, NOBODY), // DBGPRCR_EL1
    row((2, 0, 7, 8, 6), Read::Constant(0xff), Write::Ignore, NOBODY), // DBGCLAIMSET_EL1
    row((2, 0, 7, 9, 6), Read::Constant(0), Write::Ignore, NOBODY), // DBGCLAIMCLR_EL1
    row((2, 0, 7, 14, 6), Read::Constant(0), Write::No, NOBODY), // DBGAUTHSTATUS_EL1
    row((2, 3, 0, 1, 0), Read::Call(Cpu::read_dcc), Write::No, READER), // MDCCSR_EL0
    row((2, 3, 0, 4, 0), Read::Call(Cpu::read_dcc), Write::Call(Cpu::write_dcc), BOTH), // DBGDTR_EL0
    row((2, 3, 0, 5, 0), Read::Call(Cpu::read_dcc), Write::Call(Cpu::write_dcc), BOTH), // DBGDTR{R,T}X_EL0
];

const fn row(
    (op0, op1, crn, crm, op2): (u8, u8, u8, u8, u8),
    read: Read,
    write: Write,
    el0: (bool, bool),
) -> Register {
    Register {
        reg: SysReg::new(op0, op1, crn, crm, op2),
        read,
        write,
        el0,
    }
}

/// Every row, sorted by encoding. The last is that of the owner's registers.
pub(crate) fn registers() -> &'static [Register] {
    static ROWS: OnceLock<Vec<Register>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut rows: Vec<Register> = Vec::new();
        let known = |rows: &[Register], reg| rows.iter().any(|r| r.reg == reg);
        for &Register {
            reg,
            read,
            write,
            el0,
        } in CALLS
        {
            rows.push(Register {
                reg,
                read,
                write,
                el0,
            });
        }
        // At EL1 the name SP_EL1 is undefined.
        for &saved in Saved::ALL.iter().filter(|s| **s != Saved::SpEl1) {
            let reg = saved.sysreg();
            if !known(&rows, reg) {
                rows.push(Register {
                    reg,
                    read: Read::Saved(saved),
                    write: Write::Saved(saved),
                    el0: NOBODY,
                });
            }
        }
        for bits in 0..=u16::MAX {
            let reg = SysReg(bits);
            if let Some(value) = cpu_model::id_register(reg)
                && !known(&rows, reg)
            {
                rows.push(Register {
                    reg,
                    read: Read::Constant(value),
                    write: Write::No,
                    el0: NOBODY,
                });
            }
        }
        rows.sort_by_key(|r| r.reg);
        rows.push(Register {
            reg: SysReg(0),
            read: Read::Ask,
            write: Write::Ask,
            el0: NOBODY,
        });
        rows
    })
}

/// The row of an encoding, as an index of [`registers`].
pub(crate) fn find(reg: SysReg) -> Option<u16> {
    let rows = registers();
    let owners = rows.len() - 1;
    let index = match rows[..owners].binary_search_by_key(&reg, |r| r.reg) {
        Ok(index) => index,
        Err(_) if belongs_to_owner(reg) => owners,
        Err(_) => return None,
    };
    u16::try_from(index).ok()
}

/// Whether it is a register of the GIC's CPU interface: `ICC_*_EL1`.
fn belongs_to_owner(reg: SysReg) -> bool {
    match reg.fields() {
        (3, 0, 4, 6, 0) => true,
        (3, 0, 12, crm, _) => crm >= 8,
        _ => false,
    }
}

fn read_ccsidr(cpu: &mut Cpu) -> Result<u64, Stop> {
    Ok(cpu_model::ccsidr(cpu.sys[Saved::CsselrEl1]))
}

fn read_isr(cpu: &mut Cpu) -> Result<u64, Stop> {
    Ok(u64::from(cpu.irq) << 7 | u64::from(cpu.fiq) << 6)
}

fn write_spsel(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    cpu.set_mode_bits(cpu.pstate & !1 | value & 1);
    Ok(())
}

fn write_pan(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    cpu.set_mode_bits(cpu.pstate & !pstate::PAN | value & pstate::PAN);
    Ok(())
}

fn write_nzcv(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    cpu.set_nzcv_bits(value);
    Ok(())
}

fn check_fp(cpu: &mut Cpu) -> Result<(), Stop> {
    if cpu.fp_enabled() {
        Ok(())
    } else {
        Err(cpu.fp_trap())
    }
}

fn read_fpcr(cpu: &mut Cpu) -> Result<u64, Stop> {
    check_fp(cpu)?;
    Ok(cpu.fp.fpcr.into())
}

fn write_fpcr(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    check_fp(cpu)?;
    cpu.fp.fpcr = value as u32 & fpcr::DEFINED;
    Ok(())
}

fn read_fpsr(cpu: &mut Cpu) -> Result<u64, Stop> {
    check_fp(cpu)?;
    Ok(cpu.fp.fpsr.into())
}

fn write_fpsr(cpu: &mut Cpu, value: u64) -> Result<(), Stop> {
    check_fp(cpu)?;
    cpu.fp.fpsr = value as u32 & fpsr::DEFINED;
    Ok(())
}
