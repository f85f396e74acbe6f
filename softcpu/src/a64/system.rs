//! Exception generation and system instructions (C4.1.94): calls, hints, barriers, PSTATE,
//! maintenance, system registers.
//!
//! They work on the whole CPU, through [`Emitter::system`]. Rows of [`Kind::Special`] change
//! nothing that the translation of code depends on; those of [`Kind::System`] may, and end a block.
//! Undefined here: EL2 and EL3, halting debug, and all that came after ARMv8.1 and is not in the
//! `portable` model. Unallocated hints do nothing, as the architecture has it.

use std::sync::atomic::{Ordering, fence};

use aarch64::SysReg;
use aarch64::syndrome::Ec;
use memory::Mode;

use super::field::{bits, rd, reg};
use crate::cpu::{Cpu, Event, Stop};
use crate::emitter::{Args, Emitter, Exec};
use crate::maintenance::Scope;
use crate::mem::Direction;
use crate::replay::Awaiting;
use crate::sysregs;
use crate::table::{Kind, Table};

type Done<E> = Result<(), <E as Emitter>::Stop>;
type Ended = Result<(), Stop>;

/// A 16-bit immediate at bit 5.
fn imm16_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: bits(insn, 5, 16).into(),
        ..Args::default()
    })
}

fn no_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: insn.into(),
        ..Args::default()
    })
}

/// `MSR` to PSTATE: `k` is the immediate.
fn crm_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: insn.into(),
        k: bits(insn, 8, 4) as u16,
        ..Args::default()
    })
}

/// System registers: `k` is the row of [`sysregs`], `imm` the instruction.
fn sysreg_args(insn: u32) -> Option<Args> {
    let k = sysregs::find(SysReg::from_instruction(insn))?;
    Some(Args {
        imm: insn.into(),
        d: rd(insn),
        n: reg(insn, 0),
        k,
        ..Args::default()
    })
}

/// Instructions with an operand in Xt.
fn xt_args(insn: u32) -> Option<Args> {
    Some(Args {
        imm: insn.into(),
        n: reg(insn, 0),
        ..Args::default()
    })
}

/// The row's function on the CPU, as a semantics function of any emitter.
macro_rules! on_cpu {
    ($($(#[$doc:meta])* $name:ident($cpu:ident, $a:ident) $body:block)*) => {$(
        $(#[$doc])*
        fn $name<E: Emitter>(e: &mut E, a: &Args) -> Done<E> {
            let f: Exec<Cpu> = |$cpu, $a| $body;
            e.system(f, a)
        }
    )*};
}

on_cpu! {
    svc(cpu, a) { Err(cpu.raise_retiring(Ec::Svc64, a.imm as u32)) }
    hvc(cpu, a) { cpu.hypervisor_call(a.imm as u16) }
    smc(cpu, a) { cpu.monitor_call(a.imm as u16) }
    brk(cpu, a) {
        if cpu.debug.traps_brk() {
            return cpu.leave(Awaiting::Notice(Event::Brk(a.imm as u16)));
        }
        Err(cpu.raise(Ec::Brk64, a.imm as u32, None))
    }
    eret(cpu, _a) { cpu.exception_return() }
    give_way(_cpu, _a) {
        std::thread::yield_now();
        Ok(())
    }
    wfe(cpu, a) {
        cpu.insn = a.imm as u32;
        cpu.wait_for_event()
    }
    wfi(cpu, a) {
        cpu.insn = a.imm as u32;
        cpu.wait_for_interrupt()
    }
    sev(cpu, _a) {
        cpu.cluster.send_events();
        Ok(())
    }
    sevl(cpu, _a) {
        cpu.seat().send_event();
        Ok(())
    }
    clrex(cpu, _a) {
        cpu.monitor = None;
        Ok(())
    }
    dsb(cpu, _a) {
        cpu.synchronize();
        Ok(())
    }
    dmb(_cpu, _a) {
        fence(Ordering::SeqCst);
        Ok(())
    }
    /// Orders loads before all that follows.
    dmb_loads(_cpu, _a) {
        fence(Ordering::Acquire);
        Ok(())
    }
    /// Orders stores before stores.
    dmb_stores(_cpu, _a) {
        fence(Ordering::Release);
        Ok(())
    }
    set_spsel(cpu, a) {
        cpu.check_el1()?;
        cpu.set_mode_bits(cpu.pstate & !1 | u64::from(a.k & 1));
        Ok(())
    }
    set_pan(cpu, a) {
        use aarch64::pstate::PAN;
        cpu.check_el1()?;
        let pan = if a.k & 1 == 0 { 0 } else { PAN };
        cpu.set_mode_bits(cpu.pstate & !PAN | pan);
        Ok(())
    }
    daif_set(cpu, a) {
        cpu.insn = a.imm as u32;
        cpu.set_masks(a.k.into())
    }
    daif_clear(cpu, a) {
        cpu.insn = a.imm as u32;
        cpu.clear_masks(a.k.into())
    }
    mrs(cpu, a) {
        let value = cpu.read_register(a.k, a.imm as u32)?;
        cpu.put(a.d, value);
        Ok(())
    }
    msr(cpu, a) {
        let value = cpu.get(a.n);
        cpu.write_register(a.k, a.imm as u32, value)
    }
    ic_all(cpu, _a) { cpu.invalidate_all_code(false) }
    ic_all_shared(cpu, _a) { cpu.invalidate_all_code(true) }
    ic_address(cpu, a) {
        cpu.insn = a.imm as u32;
        let va = cpu.get(a.n);
        cpu.invalidate_code(va)
    }
    dc_address(cpu, a) {
        cpu.insn = a.imm as u32;
        let va = cpu.get(a.n);
        cpu.maintain_data(va)
    }
    dc_invalidate(cpu, a) {
        cpu.check_el1()?;
        let va = cpu.get(a.n);
        cpu.maintain_data(va)
    }
    dc_set_way(cpu, _a) { cpu.check_el1() }
    dc_zva(cpu, a) {
        cpu.insn = a.imm as u32;
        let va = cpu.get(a.n);
        cpu.zero_block(va)
    }
}

fn nop<E: Emitter>(_: &mut E, _: &Args) -> Done<E> {
    Ok(())
}

fn at<E: Emitter, const EL0: bool, const WRITE: bool>(e: &mut E, a: &Args) -> Done<E> {
    let f: Exec<Cpu> = |cpu, a| {
        let mode = if EL0 { Mode::User } else { Mode::Kernel };
        let direction = if WRITE {
            Direction::Write
        } else {
            Direction::Read
        };
        let va = cpu.get(a.n);
        cpu.translate_to_par(va, mode, direction)
    };
    e.system(f, a)
}

fn tlbi<E: Emitter, const SCOPE: u8, const SHARED: bool>(e: &mut E, a: &Args) -> Done<E> {
    let f: Exec<Cpu> = |cpu, a| -> Ended {
        let scope = match SCOPE {
            0 => Scope::Everything,
            1 => Scope::Address,
            2 => Scope::Asid,
            _ => Scope::AddressAllAsids,
        };
        let operand = cpu.get(a.n);
        cpu.invalidate_tlb(scope, SHARED, operand)
    };
    e.system(f, a)
}

/// Adds the rows of this class.
pub fn rows<E: Emitter>(t: &mut Table<E>) {
    exceptions(t);
    hints(t);
    pstate(t);
    maintenance(t);
    registers(t);
}

#[rustfmt::skip]
fn exceptions<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::System;
    t.row(k, "SVC", "11010100 000..... ........ ...00001", imm16_args, svc);
    t.row(k, "HVC", "11010100 000..... ........ ...00010", imm16_args, hvc);
    t.row(k, "SMC", "11010100 000..... ........ ...00011", imm16_args, smc);
    t.row(k, "BRK", "11010100 001..... ........ ...00000", imm16_args, brk);
    t.row(k, "ERET", "11010110 10011111 00000011 11100000", no_args, eret);
}

#[rustfmt::skip]
fn hints<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::Special;
    t.row(k, "YIELD", "11010101 00000011 00100000 00111111", no_args, give_way);
    t.row(k, "WFE", "11010101 00000011 00100000 01011111", no_args, wfe);
    t.row(k, "WFI", "11010101 00000011 00100000 01111111", no_args, wfi);
    t.row(k, "SEV", "11010101 00000011 00100000 10011111", no_args, sev);
    t.row(k, "SEVL", "11010101 00000011 00100000 10111111", no_args, sevl);
    t.row(k, "NOP", "11010101 00000011 0010.... ...11111", no_args, nop);
    t.row(k, "CLREX", "11010101 00000011 0011.... 01011111", no_args, clrex);
    t.row(k, "DSB", "11010101 00000011 0011.... 10011111", no_args, dsb);
    t.row(k, "DMB (loads)", "11010101 00000011 0011..01 10111111", no_args, dmb_loads);
    t.row(k, "DMB (stores)", "11010101 00000011 0011..10 10111111", no_args, dmb_stores);
    t.row(k, "DMB", "11010101 00000011 0011.... 10111111", no_args, dmb);
    t.row(k, "ISB", "11010101 00000011 0011.... 11011111", no_args, nop);
}

#[rustfmt::skip]
fn pstate<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::System;
    t.row(k, "MSR (PAN)", "11010101 00000000 0100.... 10011111", crm_args, set_pan);
    t.row(k, "MSR (SPSel)", "11010101 00000000 0100.... 10111111", crm_args, set_spsel);
    t.row(Kind::Special, "MSR (DAIFSet)", "11010101 00000011 0100.... 11011111", crm_args, daif_set);
    t.row(Kind::Special, "MSR (DAIFClr)", "11010101 00000011 0100.... 11111111", crm_args, daif_clear);
}

#[rustfmt::skip]
fn maintenance<E: Emitter>(t: &mut Table<E>) {
    let k = Kind::Special;
    t.row(Kind::System, "IC IALLUIS", "11010101 00001000 01110001 000.....", xt_args, ic_all_shared);
    t.row(Kind::System, "IC IALLU", "11010101 00001000 01110101 000.....", xt_args, ic_all);
    t.row(Kind::System, "IC IVAU", "11010101 00001011 01110101 001.....", xt_args, ic_address);
    t.row(k, "DC IVAC", "11010101 00001000 01110110 001.....", xt_args, dc_invalidate);
    t.row(k, "DC ISW", "11010101 00001000 01110110 010.....", xt_args, dc_set_way);
    t.row(k, "DC CSW", "11010101 00001000 01111010 010.....", xt_args, dc_set_way);
    t.row(k, "DC CISW", "11010101 00001000 01111110 010.....", xt_args, dc_set_way);
    t.row(k, "DC ZVA", "11010101 00001011 01110100 001.....", xt_args, dc_zva);
    t.row(k, "DC CVAC", "11010101 00001011 01111010 001.....", xt_args, dc_address);
    t.row(k, "DC CVAU", "11010101 00001011 01111011 001.....", xt_args, dc_address);
    t.row(k, "DC CVAP", "11010101 00001011 01111100 001.....", xt_args, dc_address);
    t.row(k, "DC CIVAC", "11010101 00001011 01111110 001.....", xt_args, dc_address);
    t.row(k, "AT S1E1R", "11010101 00001000 01111000 000.....", xt_args, at::<E, false, false>);
    t.row(k, "AT S1E1W", "11010101 00001000 01111000 001.....", xt_args, at::<E, false, true>);
    t.row(k, "AT S1E0R", "11010101 00001000 01111000 010.....", xt_args, at::<E, true, false>);
    t.row(k, "AT S1E0W", "11010101 00001000 01111000 011.....", xt_args, at::<E, true, true>);
    macro_rules! tlbi {
        ($($name:literal $op2:literal $scope:literal;)*) => {$(
            t.row(Kind::System, concat!("TLBI ", $name, "IS"), concat!("11010101 00001000 10000011 ", $op2, "....."), xt_args, tlbi::<E, $scope, true>);
            t.row(Kind::System, concat!("TLBI ", $name), concat!("11010101 00001000 10000111 ", $op2, "....."), xt_args, tlbi::<E, $scope, false>);
        )*};
    }
    tlbi! {
        "VMALLE1" "000" 0; "VAE1" "001" 1; "ASIDE1" "010" 2;
        "VAAE1" "011" 3; "VALE1" "101" 1; "VAALE1" "111" 3;
    }
}

/// Writes of these registers change nothing that code depends on and are frequent.
#[rustfmt::skip]
fn registers<E: Emitter>(t: &mut Table<E>) {
    t.row(Kind::Special, "MRS", "11010101 0011.... ........ ........", sysreg_args, mrs);
    let k = Kind::Special;
    t.row(k, "MSR (SP_EL0)", "11010101 00011000 01000001 000.....", sysreg_args, msr);
    t.row(k, "MSR (SPSR_EL1)", "11010101 00011000 01000000 000.....", sysreg_args, msr);
    t.row(k, "MSR (ELR_EL1)", "11010101 00011000 01000000 001.....", sysreg_args, msr);
    t.row(k, "MSR (TPIDR_EL1)", "11010101 00011000 11010000 100.....", sysreg_args, msr);
    t.row(k, "MSR (TPIDR_EL0)", "11010101 00011011 11010000 010.....", sysreg_args, msr);
    t.row(k, "MSR (TPIDRRO_EL0)", "11010101 00011011 11010000 011.....", sysreg_args, msr);
    t.row(k, "MSR (NZCV)", "11010101 00011011 01000010 000.....", sysreg_args, msr);
    t.row(k, "MSR (DAIF)", "11010101 00011011 01000010 001.....", sysreg_args, msr);
    t.row(k, "MSR (FPCR)", "11010101 00011011 01000100 000.....", sysreg_args, msr);
    t.row(k, "MSR (FPSR)", "11010101 00011011 01000100 001.....", sysreg_args, msr);
    t.row(Kind::System, "MSR", "11010101 0001.... ........ ........", sysreg_args, msr);
}
