//! What system instructions do to the CPU besides memory: calls, masks, hints and their traps.

use aarch64::cpu_model::CTR_EL0;
use aarch64::syndrome::Ec;
use aarch64::{Saved, cpu_model, pstate};

use crate::cpu::{Cpu, Event, Stop};
use crate::replay::Awaiting;
use crate::sysregs::{Read, Write, registers};

/// `SCTLR_EL1.UMA`: EL0 may access DAIF.
const UMA: u64 = 1 << 9;
/// `SCTLR_EL1.DZE`: EL0 may use `DC ZVA`.
pub(crate) const DZE: u64 = 1 << 14;
/// `SCTLR_EL1.UCT`: EL0 may read `CTR_EL0`.
const UCT: u64 = 1 << 15;
/// `SCTLR_EL1.nTWI`: WFI at EL0 does not trap.
const NTWI: u64 = 1 << 16;
/// `SCTLR_EL1.nTWE`: WFE at EL0 does not trap.
const NTWE: u64 = 1 << 18;
/// `SCTLR_EL1.UCI`: EL0 may use cache maintenance by address.
pub(crate) const UCI: u64 = 1 << 26;
/// `MDSCR_EL1.TDCC`: EL0 may not use the debug communication channel.
const TDCC: u64 = 1 << 12;

impl Cpu {
    /// Makes the run loop look up before the next block.
    pub(crate) fn look_up_soon(&mut self) {
        self.stop_at = 0;
    }

    /// `MRS` of a row of [`registers`], for the instruction `insn`.
    #[inline]
    pub(crate) fn read_register(&mut self, row: u16, insn: u32) -> Result<u64, Stop> {
        let Some(register) = registers().get(usize::from(row)) else {
            return Err(self.undefined());
        };
        if self.el() == 0 && !register.el0.0 {
            return Err(self.undefined());
        }
        self.insn = insn;
        match register.read {
            Read::Saved(saved) => Ok(self.sys[saved]),
            Read::Constant(value) => Ok(value),
            Read::Call(f) => f(self),
            Read::Ask => self.ask_sysreg_read(aarch64::SysReg::from_instruction(insn)),
            Read::No => Err(self.undefined()),
        }
    }

    /// `MSR` of a row of [`registers`].
    pub(crate) fn write_register(&mut self, row: u16, insn: u32, value: u64) -> Result<(), Stop> {
        let Some(register) = registers().get(usize::from(row)) else {
            return Err(self.undefined());
        };
        if self.el() == 0 && !register.el0.1 {
            return Err(self.undefined());
        }
        self.insn = insn;
        match register.write {
            Write::Saved(saved) => {
                self.set_saved(saved, value);
                Ok(())
            }
            Write::Ignore => Ok(()),
            Write::Call(f) => f(self, value),
            Write::Ask => self.ask_sysreg_write(aarch64::SysReg::from_instruction(insn), value),
            Write::No => Err(self.undefined()),
        }
    }

    /// EL0 may not do what [`Cpu::insn`] does.
    pub(crate) fn system_trap(&mut self) -> Stop {
        let insn = self.insn;
        let field = |low: u32, len: u32| insn >> low & ((1 << len) - 1);
        let iss = field(19, 2) << 20
            | field(5, 3) << 17
            | field(16, 3) << 14
            | field(12, 4) << 10
            | field(0, 5) << 5
            | field(8, 4) << 1
            | field(21, 1);
        self.raise(Ec::SysReg, iss, None)
    }

    /// Traps from EL0 unless a bit of `SCTLR_EL1` allows the instruction.
    pub(crate) fn check_el0(&mut self, sctlr_bit: u64) -> Result<(), Stop> {
        if self.el() == 0 && self.sys[Saved::SctlrEl1] & sctlr_bit == 0 {
            return Err(self.system_trap());
        }
        Ok(())
    }

    /// The instruction is undefined at EL0.
    pub(crate) fn check_el1(&mut self) -> Result<(), Stop> {
        if self.el() == 0 {
            return Err(self.undefined());
        }
        Ok(())
    }

    /// `CTR_EL0`
    pub(crate) fn read_ctr(&mut self) -> Result<u64, Stop> {
        self.check_el0(UCT)?;
        Ok(cpu_model::id_register(CTR_EL0).unwrap_or_default())
    }

    /// `DCZID_EL0`, whose DZP says whether `DC ZVA` traps here.
    pub(crate) fn read_dczid(&mut self) -> Result<u64, Stop> {
        let prohibited = self.el() == 0 && self.sys[Saved::SctlrEl1] & DZE == 0;
        Ok(u64::from(cpu_model::ZVA_BYTES.trailing_zeros() - 2) | u64::from(prohibited) << 4)
    }

    /// `SP_EL0`, which has no other name while it is the stack pointer in use.
    pub(crate) fn read_sp_el0(&mut self) -> Result<u64, Stop> {
        if self.pstate & 1 == 0 {
            return Err(self.undefined());
        }
        Ok(self.sys[Saved::SpEl0])
    }

    /// See [`Self::read_sp_el0`].
    pub(crate) fn write_sp_el0(&mut self, value: u64) -> Result<(), Stop> {
        if self.pstate & 1 == 0 {
            return Err(self.undefined());
        }
        self.sys[Saved::SpEl0] = value;
        Ok(())
    }

    /// `DAIF`
    pub(crate) fn read_daif(&mut self) -> Result<u64, Stop> {
        self.check_el0(UMA)?;
        Ok(self.pstate & pstate::DAIF)
    }

    /// `DAIF`
    pub(crate) fn write_daif(&mut self, value: u64) -> Result<(), Stop> {
        self.check_el0(UMA)?;
        self.pstate = self.pstate & !pstate::DAIF | value & pstate::DAIF;
        self.masks_changed()
    }

    /// Ends the block after this instruction if an interrupt may come in now.
    fn masks_changed(&mut self) -> Result<(), Stop> {
        if self.irq || self.fiq {
            return Err(Stop::LookUp);
        }
        Ok(())
    }

    /// `MSR DAIFSet, #imm`
    pub(crate) fn set_masks(&mut self, imm: u64) -> Result<(), Stop> {
        self.check_el0(UMA)?;
        self.pstate |= imm << 6 & pstate::DAIF;
        Ok(())
    }

    /// `MSR DAIFClr, #imm`
    pub(crate) fn clear_masks(&mut self, imm: u64) -> Result<(), Stop> {
        self.check_el0(UMA)?;
        self.pstate &= !(imm << 6 & pstate::DAIF);
        self.masks_changed()
    }

    /// `HVC`
    pub(crate) fn hypervisor_call(&mut self, imm: u16) -> Result<(), Stop> {
        self.check_el1()?;
        self.leave(Awaiting::Call(Event::Hvc(imm)))
    }

    /// `SMC`
    pub(crate) fn monitor_call(&mut self, imm: u16) -> Result<(), Stop> {
        self.check_el1()?;
        self.leave(Awaiting::Call(Event::Smc(imm)))
    }

    /// `WFI`
    pub(crate) fn wait_for_interrupt(&mut self) -> Result<(), Stop> {
        if self.interrupt_pending() {
            return Ok(());
        }
        self.check_wait(NTWI, 0)?;
        self.leave(Awaiting::Wfi)
    }

    /// `WFE`: waiting is handing the host's processor to others once.
    pub(crate) fn wait_for_event(&mut self) -> Result<(), Stop> {
        if !self.seat().take_event() {
            self.check_wait_for_event()?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether a WFE at EL0 goes to EL1.
    pub(crate) fn check_wait_for_event(&mut self) -> Result<(), Stop> {
        self.check_wait(NTWE, 1)
    }

    fn check_wait(&mut self, sctlr_bit: u64, kind: u32) -> Result<(), Stop> {
        if self.el() == 0 && self.sys[Saved::SctlrEl1] & sctlr_bit == 0 {
            // CV is set and COND is 0b1110 for A64.
            return Err(self.raise(Ec::Wfx, 1 << 24 | 0xe << 20 | kind, None));
        }
        Ok(())
    }

    /// Whether an interrupt input is high, masked or not: what ends a WFI.
    fn interrupt_pending(&self) -> bool {
        self.irq || self.fiq
    }

    /// `OSLAR_EL1`
    pub(crate) fn write_oslar(&mut self, value: u64) -> Result<(), Stop> {
        self.set_saved(Saved::OslsrEl1, (value & 1) << 1);
        Ok(())
    }

    /// The registers of the debug communication channel: always empty.
    pub(crate) fn read_dcc(&mut self) -> Result<u64, Stop> {
        self.check_dcc()?;
        Ok(0)
    }

    /// See [`Self::read_dcc`].
    pub(crate) fn write_dcc(&mut self, _: u64) -> Result<(), Stop> {
        self.check_dcc()
    }

    fn check_dcc(&mut self) -> Result<(), Stop> {
        if self.el() == 0 && self.sys[Saved::MdscrEl1] & TDCC != 0 {
            return Err(self.system_trap());
        }
        Ok(())
    }
}
