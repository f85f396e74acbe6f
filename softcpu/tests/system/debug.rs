//! Software step, breakpoints and watchpoints: the guest's and its owner's.

use aarch64::{Saved, pstate};
use softcpu::Event;
use softcpu::debug::{DebugControl, Watchpoint};

use crate::machine::*;

const SYNC_SAME: Event = Event::Hvc(0x104);
const SYNC_LOWER: Event = Event::Hvc(0x108);
const EL1: u64 = pstate::EL1H | pstate::DAIF;
const MDE: u64 = 1 << 15;
const KDE: u64 = 1 << 13;

fn unlocked() -> Machine {
    let mut m = Machine::new();
    m.set(Saved::OslsrEl1, 0);
    m
}

#[test]
fn a_guest_steps_its_user_one_instruction_at_a_time() {
    let mut m = unlocked();
    m.code(CODE + 0x800, &[add(0, 0, 1), add(0, 0, 1), svc(1)]);
    m.set(Saved::MdscrEl1, 1);
    for (n, pc) in [CODE + 0x804, CODE + 0x808].into_iter().enumerate() {
        m.set(Saved::SpsrEl1, pstate::EL0T | pstate::SS);
        m.set(Saved::ElrEl1, pc - 4);
        assert_eq!(m.exec(&[ERET]), SYNC_LOWER);
        assert_eq!(m.get(Saved::EsrEl1), 0x32 << 26 | 1 << 25 | 1 << 24 | 0x22);
        assert_eq!(m.get(Saved::ElrEl1), pc);
        assert_eq!(m.x(0), n as u64 + 1);
        assert_eq!(m.get(Saved::SpsrEl1) & pstate::SS, 0);
    }
    // A system call is taken first, and its return address is stepped to without running.
    m.set(Saved::SpsrEl1, pstate::EL0T | pstate::SS);
    m.set(Saved::ElrEl1, CODE + 0x808);
    assert_eq!(m.exec(&[ERET]), SYNC_LOWER);
    assert_eq!(m.get(Saved::EsrEl1) >> 26, 0x15);
    assert_eq!(m.get(Saved::SpsrEl1) & pstate::SS, 0);
    assert_eq!(m.exec(&[ERET]), SYNC_LOWER);
    assert_eq!(
        (m.get(Saved::EsrEl1) >> 26, m.get(Saved::ElrEl1)),
        (0x32, CODE + 0x80c)
    );
}

#[test]
fn the_os_lock_and_masks_hold_debug_exceptions_back() {
    let mut m = unlocked();
    m.set(Saved::MdscrEl1, 1);
    assert_eq!(m.exec(&[hvc(1)]), Event::Hvc(1), "EL1 without KDE");
    m.set(Saved::MdscrEl1, 1 | KDE);
    assert_eq!(m.exec(&[hvc(1)]), Event::Hvc(1), "masked by D");
    assert_eq!(m.exec_at(&[hvc(1)], pstate::EL1H), SYNC_SAME);
    assert_eq!(m.get(Saved::EsrEl1) >> 26, 0x33);
    m.set(Saved::OslsrEl1, 2);
    assert_eq!(m.exec_at(&[hvc(1)], pstate::EL1H), Event::Hvc(1), "locked");
}

#[test]
fn guest_breakpoints_compare_address_level_and_context() {
    let mut m = unlocked();
    m.set(Saved::MdscrEl1, MDE);
    let user = CODE + 0x804;
    m.code(CODE + 0x800, &[add(0, 0, 1), svc(1)]);
    m.set(Saved::Dbgbvr2El1, user);
    let control = |pmc: u64| 1 | pmc << 1 | 0xf << 5;
    let class = |m: &mut Machine| {
        m.go(CODE + 0x800, pstate::EL0T);
        m.run();
        m.get(Saved::EsrEl1) >> 26
    };
    m.set(Saved::Dbgbcr2El1, control(2));
    assert_eq!(class(&mut m), 0x30);
    assert_eq!(m.get(Saved::ElrEl1), user);
    m.set(Saved::Dbgbcr2El1, control(1));
    assert_eq!(class(&mut m), 0x15, "EL1 only");
    // Linked to breakpoint 5, which compares CONTEXTIDR_EL1.
    m.set(Saved::Dbgbcr2El1, control(2) | 5 << 16 | 1 << 20);
    m.set(Saved::Dbgbvr5El1, 42);
    m.set(Saved::Dbgbcr5El1, control(2) | 3 << 20);
    assert_eq!(class(&mut m), 0x15);
    m.set(Saved::ContextidrEl1, 42);
    assert_eq!(class(&mut m), 0x30);
}

#[test]
fn guest_watchpoints_see_every_access_to_their_bytes() {
    let mut m = unlocked();
    m.set(Saved::MdscrEl1, MDE | KDE);
    m.set(Saved::Dbgwvr1El1, DATA + 0x10);
    // Stores at EL1 to the bytes 4 to 7.
    m.set(Saved::Dbgwcr1El1, 1 | 1 << 1 | 2 << 3 | 0xf0 << 5);
    let mut try_at = |words: &[u32], va: u64| {
        m.set_x(1, va);
        match m.exec_at(words, pstate::EL1H) {
            Event::Hvc(0) => None,
            SYNC_SAME => Some((m.get(Saved::EsrEl1), m.get(Saved::FarEl1))),
            other => panic!("{other:?}"),
        }
    };
    let hit = 0x35 << 26 | 1 << 25 | 1 << 6 | 0x22;
    assert_eq!(try_at(&[ldr(0, 1), hvc(0)], DATA + 0x10), None);
    assert_eq!(try_at(&[str(0, 1), hvc(0)], DATA + 0x8), None);
    assert_eq!(
        try_at(&[str(0, 1), hvc(0)], DATA + 0x10),
        Some((hit, DATA + 0x10))
    );
    let str_w = 0xb900_0020;
    assert_eq!(
        try_at(&[str_w, hvc(0)], DATA + 0x10),
        None,
        "the bytes before"
    );
    assert_eq!(
        try_at(&[str_w, hvc(0)], DATA + 0x14),
        Some((hit, DATA + 0x14))
    );
    let stp = 0xa900_0020; // stp x0, x0, [x1]
    assert_eq!(try_at(&[stp, hvc(0)], DATA + 0x8), Some((hit, DATA + 0x10)));
    let ldadd = 0xf820_0020; // ldadd x0, x0, [x1]
    assert_eq!(
        try_at(&[ldadd, hvc(0)], DATA + 0x10),
        Some((hit, DATA + 0x10))
    );
}

#[test]
fn an_owner_steps_breaks_and_watches() {
    let mut m = Machine::new();
    m.code(
        CODE,
        &[NOP, add(0, 0, 1), str(0, 1), ldr(2, 1), brk(5), hvc(1)],
    );
    m.set_x(1, DATA);
    m.cpu.set_debug(DebugControl {
        single_step: true,
        ..DebugControl::default()
    });
    assert_eq!(m.run(), Event::Step);
    assert_eq!(m.cpu.core().pc, CODE + 4);
    m.cpu.set_debug(DebugControl {
        breakpoints: vec![CODE + 4],
        watchpoints: vec![Watchpoint {
            va: DATA + 7,
            bytes: 1,
            reads: false,
            writes: true,
        }],
        trap_brk: true,
        ..DebugControl::default()
    });
    assert_eq!(m.run(), Event::Breakpoint);
    assert_eq!((m.cpu.core().pc, m.x(0)), (CODE + 4, 0));
    assert_eq!(m.run(), Event::Watchpoint(DATA));
    assert_eq!((m.cpu.core().pc, m.load(DATA)), (CODE + 8, 0));
    assert_eq!(m.run(), Event::Brk(5));
    assert_eq!((m.cpu.core().pc, m.x(2)), (CODE + 16, 1));
    m.cpu.set_debug(DebugControl::default());
    assert_eq!(m.run(), SYNC_SAME, "now it is the guest's");
    assert_eq!(m.get(Saved::EsrEl1) >> 26, 0x3c);
}

#[test]
fn a_step_over_a_device_access_ends_after_it() {
    let mut m = Machine::new();
    m.code(CODE, &[ldr(0, 1), hvc(0)]);
    m.set_x(1, 0x900_0000);
    m.cpu.set_debug(DebugControl {
        single_step: true,
        ..DebugControl::default()
    });
    assert!(matches!(m.run(), Event::MmioRead { .. }));
    m.cpu.reply(softcpu::Reply::Data(3));
    assert_eq!(m.run(), Event::Step);
    assert_eq!((m.cpu.core().pc, m.x(0)), (CODE + 4, 3));
    assert_eq!(m.cpu.core().pstate, EL1);
}

#[test]
fn a_step_over_a_jump_to_itself_is_one_step() {
    const JUMP_HERE: u32 = 0x1400_0000;
    let mut m = Machine::new();
    m.code(CODE, &[JUMP_HERE]);
    m.cpu.set_debug(DebugControl {
        single_step: true,
        ..DebugControl::default()
    });
    let before = m.cpu.retired();
    assert_eq!(m.run(), Event::Step);
    assert_eq!((m.cpu.core().pc, m.cpu.retired() - before), (CODE, 1));
}
