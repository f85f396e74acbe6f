//! TLB and instruction cache maintenance, on one CPU and across two.

use std::thread::JoinHandle;

use aarch64::{Saved, pstate};
use softcpu::{Event, Interpreter};

use crate::machine::*;

const VA: u64 = 0x12_3456_7000;
const EL1: u64 = pstate::EL1H | pstate::DAIF;

/// `TLBI` by its CRm (3: all CPUs, 7: this one) and op2, with Xt.
const fn tlbi(crm: u8, op2: u8, t: u32) -> u32 {
    sys(0, 8, crm, op2, t)
}

fn read(m: &mut Machine, va: u64) -> u64 {
    m.set_x(1, va);
    assert_eq!(m.exec(&[ldr(0, 1), hvc(0)]), Event::Hvc(0));
    m.x(0)
}

/// A machine whose page VA led to a page with 1 and now leads to one with 2.
fn remapped(attributes: u64) -> Machine {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    m.store(DATA, 1);
    m.store(DATA + 0x1000, 2);
    tables.map(VA, DATA, 3, VALID | attributes);
    assert_eq!(read(&mut m, VA), 1);
    tables.map(VA, DATA + 0x1000, 3, VALID | attributes);
    assert_eq!(read(&mut m, VA), 1, "the TLB still has it");
    m
}

#[test]
fn each_tlbi_finds_what_it_concerns() {
    let page = VA >> 12;
    let rows = [
        (0, 0, true),                     // VMALLE1
        (1, page | 1 << 48, true),        // VAE1, our ASID
        (1, page | 2 << 48, false),       // another ASID
        (1, (page + 1) | 1 << 48, false), // another page
        (2, 1 << 48, true),               // ASIDE1
        (2, 2 << 48, false),
        (3, page, true),           // VAAE1
        (5, page | 1 << 48, true), // VALE1
        (7, page, true),           // VAALE1
    ];
    for (op2, operand, finds) in rows {
        for crm in [3, 7] {
            let mut m = remapped(NOT_GLOBAL);
            m.set_x(5, operand);
            m.exec(&[tlbi(crm, op2, 5), DSB, ISB, hvc(0)]);
            let now = read(&mut m, VA);
            assert_eq!(now == 2, finds, "op2 {op2} operand {operand:#x}");
        }
    }
    let mut m = remapped(0);
    m.set_x(5, 1 << 48);
    m.exec(&[tlbi(7, 2, 5), DSB, hvc(0)]);
    assert_eq!(read(&mut m, VA), 1, "global pages have no ASID");
}

#[test]
fn one_page_of_a_block_stands_for_all_of_it() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    let va = 0x8000_0000;
    tables.map(va, RAM, 2, VALID);
    m.store(RAM + 0x2_0000, 1);
    m.store(RAM + 0x22_0000, 2);
    assert_eq!(read(&mut m, va + 0x2_0000), 1);
    tables.map(va, RAM + 0x20_0000, 2, VALID);
    m.set_x(5, (va + 0x7000) >> 12 | 1 << 48);
    m.exec(&[tlbi(7, 1, 5), DSB, hvc(0)]);
    assert_eq!(read(&mut m, va + 0x2_0000), 2);
}

#[test]
fn address_spaces_keep_their_translations_apart() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    tables.map(VA, DATA, 3, VALID | NOT_GLOBAL);
    m.store(DATA, 1);
    m.store(DATA + 0x1000, 2);
    assert_eq!(read(&mut m, VA), 1);
    let root = m.get(Saved::Ttbr0El1) & 0xffff_ffff_ffff;
    tables.map(VA, DATA + 0x1000, 3, VALID | NOT_GLOBAL);
    m.set(Saved::Ttbr0El1, root | 2 << 48);
    assert_eq!(read(&mut m, VA), 2, "nothing of ASID 1 is used");
    m.set(Saved::Ttbr0El1, root | 1 << 48);
    assert_eq!(read(&mut m, VA), 1, "and it was kept");
}

#[test]
fn new_code_runs_once_announced() {
    let mut m = Machine::new();
    // Runs a function, overwrites its first instruction, announces it and runs it again.
    let function = CODE + 0x800;
    m.code(function, &[mov(3, 1), br(9)]);
    m.set_x(1, function);
    m.set_x(2, u64::from(mov(3, 2)));
    m.set_x(9, CODE + 4);
    let str_w = 0xb900_0022; // str w2, [x1]
    let ic_ivau = sys(3, 7, 5, 1, 1);
    let adr_x9 = 0x1000_0069; // adr x9, .+12
    let code = [
        br(1),
        add(4, 3, 0),
        str_w,
        DSB,
        ic_ivau,
        DSB,
        ISB,
        adr_x9,
        br(1),
        NOP,
        hvc(0),
    ];
    assert_eq!(m.exec(&code), Event::Hvc(0));
    assert_eq!((m.x(4), m.x(3)), (1, 2));
}

#[test]
fn invalidating_a_page_of_code_moves_execution_to_the_new_page() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    m.code(DATA, &[mov(3, 1), hvc(1)]);
    m.code(DATA + 0x1000, &[mov(3, 2), hvc(2)]);
    tables.map(VA, DATA, 3, VALID);
    m.go(VA, EL1);
    assert_eq!(m.run(), Event::Hvc(1));
    tables.map(VA, DATA + 0x1000, 3, VALID);
    m.set_x(5, VA >> 12);
    m.set_x(6, VA);
    assert_eq!(m.exec(&[tlbi(3, 7, 5), DSB, ISB, br(6)]), Event::Hvc(2));
}

/// Runs a CPU on its own thread: its last event, X0 and X3.
fn run_apart(machine: Machine) -> JoinHandle<(Event, u64, u64)> {
    let mut cpu = machine.cpu;
    std::thread::spawn(move || {
        let event = Interpreter::new(10_000).run(&mut cpu);
        (event, cpu.core().x[0], cpu.core().x[3])
    })
}

/// CPU 1 reads a page over and over; CPU 0 gives the page another frame, invalidates, and only
/// then raises a flag. Who sees the flag must not see the old frame.
#[test]
fn no_cpu_uses_an_old_translation_after_the_dsb() {
    for (attributes, op2) in [(NOT_GLOBAL, 1), (0, 7)] {
        let mut m = Machine::new();
        let mut tables = m.mmu_on();
        let flag = DATA + 0x4000;
        tables.map(VA, DATA, 3, VALID | attributes);
        let slot = tables.slot(VA, 3);
        let mut reader = m.second();
        // x1 = VA, x2 = flag, x4 counts rounds: load the flag (round number) and then the data,
        // which holds its round as well; stop if it is older.
        reader.set_x(1, VA);
        reader.set_x(2, flag);
        let back = 0x54ff_ff82; // b.hs -4 words
        let compare = 0xeb03_001f; // cmp x0, x3
        reader.code(
            CODE + 0x400,
            &[ldr(3, 2), DMB, ldr(0, 1), compare, back, hvc(7)],
        );
        reader.go(CODE + 0x400, EL1);
        let thread = run_apart(reader);
        let rounds = 500;
        // Fill the frames with growing numbers and go through them.
        for round in 1..=rounds {
            let frame = DATA + 0x1000 * (round % 4);
            m.store(frame, round);
            m.set_x(1, slot);
            m.set_x(2, frame | VALID | attributes | 2);
            m.set_x(3, VA >> 12 | 1 << 48);
            m.set_x(4, flag);
            m.set_x(5, round);
            m.code(
                CODE,
                &[str(2, 1), DSB, tlbi(3, op2, 3), DSB, str(5, 4), hvc(0)],
            );
            m.go(CODE, EL1);
            assert_eq!(m.run(), Event::Hvc(0));
        }
        m.cluster.seat(1).unwrap().kick();
        let (event, data, seen) = thread.join().unwrap();
        assert_eq!(
            event,
            Event::Kicked,
            "read {data} after the flag said {seen}"
        );
    }
}

/// As above with code: CPU 1 runs a function that returns a number.
#[test]
fn no_cpu_runs_old_code_after_the_dsb() {
    let mut m = Machine::new();
    let function = CODE + 0x3000;
    let flag = DATA;
    m.code(function, &[mov(0, 0), br(30)]);
    let mut runner = m.second();
    runner.set_x(1, function);
    runner.set_x(2, flag);
    let start = CODE + 0x400;
    runner.set_x(30, start + 16);
    let compare = 0xeb03_001f; // cmp x0, x3
    let back = 0x54ff_ff62; // b.hs -5 words
    runner.code(start, &[ldr(3, 2), DMB, ISB, br(1), compare, back, hvc(7)]);
    runner.go(start, EL1);
    let thread = run_apart(runner);
    for round in 1..500_u64 {
        m.set_x(1, function);
        m.set_x(2, u64::from(mov(0, round as u32)));
        m.set_x(4, flag);
        m.set_x(5, round);
        let str_w = 0xb900_0022;
        m.code(
            CODE,
            &[str_w, DSB, sys(3, 7, 5, 1, 1), DSB, str(5, 4), hvc(0)],
        );
        m.go(CODE, EL1);
        assert_eq!(m.run(), Event::Hvc(0));
    }
    m.cluster.seat(1).unwrap().kick();
    let (event, number, seen) = thread.join().unwrap();
    assert_eq!(
        event,
        Event::Kicked,
        "ran {number} after the flag said {seen}"
    );
}
