//! What EL0 may do only if EL1 lets it, and registers that hold only some bits.

use aarch64::cpu_model::{CTR_EL0, DCZID_EL0};
use aarch64::{Saved, SysReg, pstate};
use softcpu::{Event, Reply};

use crate::machine::*;

const SYNC_LOWER: Event = Event::Hvc(0x108);
const CNTVCT: SysReg = SysReg::new(3, 3, 14, 0, 2);
const DAIF: SysReg = SysReg::new(3, 3, 4, 2, 1);

#[test]
fn el0_traps_until_sctlr_allows() {
    let mut m = Machine::new();
    m.set_x(1, DATA);
    // Instruction, bit of SCTLR_EL1, class, ISS.
    let rows = [
        (mrs(0, CTR_EL0), 15, 0x18, 0x32_c001),
        (sys(3, 7, 11, 1, 1), 26, 0x18, 0),
        (sys(3, 7, 5, 1, 1), 26, 0x18, 0),
        (sys(3, 7, 4, 1, 1), 14, 0x18, 0),
        (mrs(0, DAIF), 9, 0x18, 0),
        (WFI, 16, 0x01, 0x1e0_0000),
    ];
    for (insn, bit, class, iss) in rows {
        m.set(Saved::SctlrEl1, 0);
        assert_eq!(m.exec_at(&[insn, svc(0)], pstate::EL0T), SYNC_LOWER);
        let esr = m.get(Saved::EsrEl1);
        assert_eq!(esr >> 26, class, "{insn:#x}");
        if iss != 0 {
            assert_eq!(esr & 0x1ff_ffff, iss, "{insn:#x}");
        }
        m.set(Saved::SctlrEl1, 1 << bit);
        let event = m.exec_at(&[insn, svc(0)], pstate::EL0T);
        if insn == WFI {
            assert_eq!(event, Event::Wfi);
            m.cpu.reply(Reply::Done);
            m.run();
        }
        // DC ZVA goes to Device memory here, since the MMU is off.
        let expected = if bit == 14 { 0x24 } else { 0x15 };
        assert_eq!(m.get(Saved::EsrEl1) >> 26, expected, "{insn:#x} allowed");
    }
}

#[test]
fn el0_reads_the_counter_if_it_may() {
    let mut m = Machine::new();
    m.clock.0.store(77, std::sync::atomic::Ordering::SeqCst);
    m.exec_at(&[mrs(0, CNTVCT), svc(0)], pstate::EL0T);
    assert_eq!(m.get(Saved::EsrEl1) >> 26, 0x18);
    m.set(Saved::CntkctlEl1, 2);
    m.exec_at(&[mrs(0, CNTVCT), svc(0)], pstate::EL0T);
    assert_eq!(m.get(Saved::EsrEl1) >> 26, 0x15);
    assert_eq!(m.x(0), 77);
}

#[test]
fn zva_is_announced_where_it_may_be_used() {
    let mut m = Machine::new();
    m.exec_at(&[mrs(0, DCZID_EL0), svc(0)], pstate::EL0T);
    assert_eq!(m.x(0), 0x14);
    m.exec(&[mrs(0, DCZID_EL0), hvc(0)]);
    assert_eq!(m.x(0), 4);
}

#[test]
fn registers_of_the_owner_are_asked_for() {
    let mut m = Machine::new();
    let iar = SysReg::new(3, 0, 12, 12, 0);
    let pmr = SysReg::new(3, 0, 4, 6, 0);
    m.set_x(2, 0xf0);
    assert_eq!(
        m.exec(&[mrs(1, iar), msr(pmr, 2), hvc(0)]),
        Event::SysRegRead { reg: iar }
    );
    m.cpu.reply(Reply::Data(27));
    assert_eq!(
        m.run(),
        Event::SysRegWrite {
            reg: pmr,
            data: 0xf0
        }
    );
    assert_eq!(m.x(1), 27);
    m.cpu.reply(Reply::Done);
    assert_eq!(m.run(), Event::Hvc(0));
    assert_eq!(m.exec_at(&[mrs(1, iar)], pstate::EL0T), SYNC_LOWER);
}

#[test]
fn identification_registers_read_as_the_model_says() {
    let mut m = Machine::new();
    let isar0 = SysReg::new(3, 0, 0, 6, 0);
    let mpidr = aarch64::cpu_model::MPIDR_EL1;
    let aarch32 = SysReg::new(3, 0, 0, 2, 3);
    m.exec(&[mrs(0, isar0), mrs(1, mpidr), mrs(2, aarch32), hvc(0)]);
    assert_eq!(m.x(0), aarch64::cpu_model::id_register(isar0).unwrap());
    assert_eq!((m.x(1), m.x(2)), (0x8000_0000, 0));
    assert_eq!(m.cpu.sysreg(mpidr), Some(0x8000_0000));
    assert!(!m.cpu.set_sysreg(isar0, 0));
    assert_eq!(m.exec(&[msr(isar0, 0)]), Event::Hvc(0x104), "read-only");
}

#[test]
fn only_bits_that_exist_are_kept() {
    let mut m = Machine::new();
    let kept = [
        (Saved::VbarEl1, !0x7ff),
        (Saved::CntvCtlEl0, 3),
        (Saved::CpacrEl1, 3 << 20),
        (Saved::TcrEl1, 0x77_ffff_ffbf),
    ];
    for (reg, mask) in kept {
        m.set_x(0, u64::MAX);
        m.exec(&[msr(reg.sysreg(), 0), hvc(0)]);
        assert_eq!(m.get(reg), mask, "{}", reg.name());
        m.set(reg, 0);
    }
    m.set(Saved::SctlrEl1, 0);
    assert_eq!(m.get(Saved::SctlrEl1), 0x3050_0800, "RES1");
}

#[test]
fn a_pair_from_a_device_asks_twice_and_settles_without_forgetting() {
    let mut m = Machine::new();
    m.set_x(1, 0x900_0000);
    let ldp = 0xa940_0820; // ldp x0, x2, [x1]
    let first = m.exec(&[ldp, hvc(0)]);
    assert!(matches!(first, Event::MmioRead { gpa, .. } if gpa.0 == 0x900_0000));
    m.cpu.reply(Reply::Data(1));
    let second = m.interpreter.settle(&mut m.cpu);
    assert!(matches!(second, Some(Event::MmioRead { gpa, .. }) if gpa.0 == 0x900_0008));
    assert_eq!(m.cpu.core().pc, CODE);
    m.cpu.reply(Reply::Data(2));
    assert_eq!(m.interpreter.settle(&mut m.cpu), None);
    assert_eq!(m.cpu.core().pc, CODE + 4);
    assert_eq!(m.run(), Event::Hvc(0));
    assert_eq!((m.x(0), m.x(2)), (1, 2));
}
