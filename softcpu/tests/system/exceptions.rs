//! Exceptions and their return.

use aarch64::{Saved, pstate};
use softcpu::Event;

use crate::machine::*;

const EL0: u64 = pstate::EL0T;
const SYNC_SAME: Event = Event::Hvc(0x104);
const IRQ_SAME: Event = Event::Hvc(0x105);
const SYNC_LOWER: Event = Event::Hvc(0x108);
const IRQ_LOWER: Event = Event::Hvc(0x109);

fn class(m: &Machine) -> u64 {
    m.get(Saved::EsrEl1) >> 26
}

#[test]
fn svc_enters_el1_and_eret_goes_on_behind_it() {
    let mut m = Machine::new();
    let flags = pstate::N | pstate::C;
    assert_eq!(
        m.exec_at(&[NOP, svc(7), mov(0, 9), svc(8)], EL0 | flags),
        SYNC_LOWER
    );
    assert_eq!(m.get(Saved::EsrEl1), 0x15 << 26 | 1 << 25 | 7);
    assert_eq!(m.get(Saved::ElrEl1), CODE + 8);
    assert_eq!(m.get(Saved::SpsrEl1), EL0 | flags);
    assert_eq!(m.cpu.core().pstate, pstate::EL1H | pstate::DAIF | flags);
    m.code(VECTORS + 0x400, &[ERET]);
    m.interpreter.forget_code();
    m.go(VECTORS + 0x400, m.cpu.core().pstate);
    m.code(VECTORS + 0x404, &[hvc(1)]);
    m.code(CODE + 12, &[0]);
    m.set(Saved::VbarEl1, VECTORS + 0x800);
    m.code(VECTORS + 0x800 + 0x400, &[hvc(2)]);
    assert_eq!(m.run(), Event::Hvc(2));
    assert_eq!(m.x(0), 9);
    assert_eq!(class(&m), 0, "the word 0 is undefined");
    assert_eq!(m.get(Saved::SpsrEl1), EL0 | flags);
}

#[test]
fn the_stack_pointer_follows_the_mode() {
    let mut m = Machine::new();
    m.set(Saved::SpEl0, 0x1110);
    m.set(Saved::SpEl1, 0x2220);
    // add x0, sp, #0
    let read_sp = add(0, 31, 0);
    assert_eq!(m.exec_at(&[read_sp, hvc(0)], pstate::EL1H), Event::Hvc(0));
    assert_eq!(m.x(0), 0x2220);
    m.exec_at(&[read_sp, hvc(0)], pstate::EL1T);
    assert_eq!(m.x(0), 0x1110);
    // add sp, sp, #16 at EL0 is seen by EL1 as SP_EL0.
    assert_eq!(m.exec_at(&[add(31, 31, 16), svc(0)], EL0), SYNC_LOWER);
    assert_eq!(m.get(Saved::SpEl0), 0x1120);
    assert_eq!(m.get(Saved::SpEl1), 0x2220);
}

#[test]
fn undefined_and_breakpoint_instructions_name_themselves() {
    let mut m = Machine::new();
    assert_eq!(m.exec(&[NOP, 0]), SYNC_SAME);
    assert_eq!(m.get(Saved::EsrEl1), 1 << 25);
    assert_eq!(m.get(Saved::ElrEl1), CODE + 4);
    assert_eq!(m.exec(&[brk(0xbeef)]), SYNC_SAME);
    assert_eq!(m.get(Saved::EsrEl1), 0x3c << 26 | 1 << 25 | 0xbeef);
    assert_eq!(m.get(Saved::ElrEl1), CODE);
    for insn in [hvc(0), ERET, mrs(0, Saved::VbarEl1.sysreg())] {
        assert_eq!(m.exec_at(&[insn], EL0), SYNC_LOWER);
        assert_eq!(class(&m), 0, "{insn:#x} at EL0");
    }
}

#[test]
fn calls_wait_for_the_answer_of_the_owner() {
    let mut m = Machine::new();
    assert_eq!(m.exec(&[hvc(3), hvc(4)]), Event::Hvc(3));
    assert_eq!(m.cpu.core().pc, CODE);
    m.cpu.reply(softcpu::Reply::Call([1, 2, 3, 4]));
    assert_eq!(m.run(), Event::Hvc(4));
    assert_eq!(m.cpu.core().x[..4], [1, 2, 3, 4]);
    m.cpu.reply(softcpu::Reply::Undefined);
    assert_eq!(m.run(), SYNC_SAME);
    assert_eq!(m.get(Saved::ElrEl1), CODE + 4);
}

#[test]
fn illegal_returns_end_in_an_illegal_state_exception() {
    let mut m = Machine::new();
    for mode in [0x1, 0x8, 0x9, 0xc, 0x10] {
        m.set(Saved::SpsrEl1, mode | pstate::DAIF | pstate::Z);
        m.set(Saved::ElrEl1, CODE + 4);
        assert_eq!(m.exec(&[ERET, hvc(1)]), SYNC_SAME, "mode {mode:#x}");
        assert_eq!(class(&m), 0x0e);
        assert_eq!(m.get(Saved::ElrEl1), CODE + 4);
        let spsr = m.get(Saved::SpsrEl1);
        assert_eq!(spsr, pstate::EL1H | pstate::IL | pstate::DAIF | pstate::Z);
        assert_eq!(m.cpu.core().pstate & pstate::IL, 0);
    }
}

#[test]
fn misaligned_pc_and_sp_fault() {
    let mut m = Machine::new();
    m.set_x(1, CODE + 2);
    assert_eq!(m.exec(&[br(1)]), SYNC_SAME);
    assert_eq!((class(&m), m.get(Saved::FarEl1)), (0x22, CODE + 2));
    assert_eq!(m.get(Saved::ElrEl1), CODE + 2);
    m.set(Saved::SpEl1, DATA + 8);
    assert_eq!(m.exec(&[ldr(0, 31), hvc(0)]), Event::Hvc(0), "SA is off");
    m.set(Saved::SctlrEl1, m.get(Saved::SctlrEl1) | 1 << 3);
    assert_eq!(m.exec(&[ldr(0, 31), hvc(0)]), SYNC_SAME);
    assert_eq!(class(&m), 0x26);
}

#[test]
fn fp_traps_until_enabled() {
    let mut m = Machine::new();
    let fmov = 0x1e60_4020; // fmov d0, d1
    assert_eq!(m.exec(&[fmov, hvc(0)]), SYNC_SAME);
    assert_eq!(m.get(Saved::EsrEl1), 0x1fe0_0000);
    m.set(Saved::CpacrEl1, 1 << 20);
    assert_eq!(m.exec(&[fmov, hvc(0)]), Event::Hvc(0));
    assert_eq!(m.exec_at(&[fmov, svc(0)], EL0), SYNC_LOWER);
    assert_eq!(class(&m), 0x07);
    m.set(Saved::CpacrEl1, 3 << 20);
    assert_eq!(m.exec_at(&[fmov, svc(0)], EL0), SYNC_LOWER);
    assert_eq!(class(&m), 0x15);
}

#[test]
fn interrupts_wait_for_their_mask() {
    let mut m = Machine::new();
    m.cpu.set_interrupts(true, false);
    let clear_i = 0xd503_42ff; // msr daifclr, #2
    assert_eq!(m.exec(&[NOP, clear_i, NOP]), IRQ_SAME);
    assert_eq!(m.get(Saved::ElrEl1), CODE + 8, "right behind the unmasking");
    assert_eq!(
        m.get(Saved::SpsrEl1),
        pstate::EL1H | pstate::DAIF & !pstate::I
    );
    assert_eq!(m.exec_at(&[NOP], EL0), IRQ_LOWER);
    assert_eq!(
        m.exec_at(&[WFI, hvc(9)], pstate::EL1H | pstate::DAIF),
        Event::Hvc(9)
    );
    m.cpu.set_interrupts(false, true);
    assert_eq!(m.exec_at(&[NOP], EL0), Event::Hvc(0x10a), "FIQ");
    m.cpu.set_interrupts(false, false);
    assert_eq!(m.exec(&[WFI, hvc(9)]), Event::Wfi);
    m.cpu.reply(softcpu::Reply::Done);
    assert_eq!(m.run(), Event::Hvc(9));
}

#[test]
fn entry_sets_pan_unless_told_otherwise() {
    let mut m = Machine::new();
    m.exec(&[0]);
    assert_eq!(m.cpu.core().pstate & pstate::PAN, 0, "SPAN is set at reset");
    m.set(Saved::SctlrEl1, m.get(Saved::SctlrEl1) & !(1 << 23));
    m.exec(&[0]);
    assert_eq!(m.cpu.core().pstate & pstate::PAN, pstate::PAN);
    assert_eq!(m.get(Saved::SpsrEl1) & pstate::PAN, 0);
}

#[test]
fn a_vector_that_faults_for_ever_is_reported() {
    let mut m = Machine::new();
    m.set(Saved::VbarEl1, 0x1000);
    assert_eq!(m.exec(&[0]), Event::ExceptionLoop(0x1200));
    assert_eq!(m.get(Saved::FarEl1), 0x1200);
    assert_eq!(m.get(Saved::EsrEl1), 0x21 << 26 | 1 << 25 | 0x10);
}

#[test]
fn a_vector_whose_device_access_is_refused_for_ever_is_reported() {
    let mut m = Machine::new();
    m.code(VECTORS + 0x200, &[ldr(0, 1)]);
    m.set_x(1, 0x900_0000);
    let mut event = m.exec(&[0]);
    let mut asked = 0;
    while matches!(event, Event::MmioRead { .. }) {
        asked += 1;
        assert!(asked < 1_000_000, "never reported");
        m.cpu.reply(softcpu::Reply::ExternalAbort);
        event = m.run();
    }
    assert_eq!(event, Event::ExceptionLoop(VECTORS + 0x200));
}
