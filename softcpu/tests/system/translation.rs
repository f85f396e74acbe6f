//! Stage-1 translation as accesses and their faults show it.

use aarch64::{Saved, pstate};
use softcpu::Event;

use crate::machine::*;

const SYNC_SAME: Event = Event::Hvc(0x104);
const SYNC_LOWER: Event = Event::Hvc(0x108);
const VA: u64 = 0x12_3456_7000;
const HIGH: u64 = 0xffff_0000_0000_0000;

/// Loads from X1 at EL1: the value, or the fault status.
fn load(m: &mut Machine, va: u64) -> Result<u64, u64> {
    access(m, va, ldr(0, 1), pstate::EL1H | pstate::DAIF)
}

fn store(m: &mut Machine, va: u64) -> Result<u64, u64> {
    access(m, va, str(2, 1), pstate::EL1H | pstate::DAIF)
}

fn access(m: &mut Machine, va: u64, insn: u32, mode: u64) -> Result<u64, u64> {
    m.set_x(1, va);
    match m.exec_at(&[insn, svc(0)], mode) {
        SYNC_SAME | SYNC_LOWER => {}
        other => panic!("{other:?}"),
    }
    let esr = m.get(Saved::EsrEl1);
    match esr >> 26 {
        0x15 => Ok(m.x(0)),
        0x24 | 0x25 => {
            let page = va | 0xfff;
            let far = m.get(Saved::FarEl1);
            assert!(far == va || far == page + 1, "FAR {far:#x} for {va:#x}");
            assert_eq!(esr >> 6 & 1, u64::from(insn == str(2, 1)), "WnR");
            assert_eq!(
                esr >> 24 & 3,
                2,
                "32-bit instruction, no instruction syndrome"
            );
            Err(esr & 0x3f)
        }
        class => panic!("class {class:#x}"),
    }
}

#[test]
fn pages_and_blocks_of_both_granules_are_found() {
    for granule in [12, 14] {
        let mut m = Machine::new();
        let (tg0, tg1) = if granule == 12 { (0, 2) } else { (2, 1) };
        let mut tables = Tables::new(m.layout.clone(), granule);
        for page in (RAM..RAM + RAM_BYTES).step_by(1 << granule) {
            tables.map(page, page, 3, VALID);
        }
        tables.map(VA & !0x3fff, DATA, 3, VALID | NOT_GLOBAL);
        let block = 1_u64 << (granule + granule - 3);
        tables.map(7 * block, RAM & !(block - 1), 2, VALID);
        m.set(Saved::MairEl1, 0xff);
        m.set(Saved::TcrEl1, TCR_4K & !(3 << 30) | tg1 << 30 | tg0 << 14);
        m.set(Saved::Ttbr0El1, tables.root);
        m.set(Saved::Ttbr1El1, tables.root);
        m.set(Saved::SctlrEl1, 1);
        m.store(DATA + 8, 77);
        let last = (1 << granule) - 8;
        m.store(DATA + last, 78);
        let base = VA & !0x3fff;
        assert_eq!(load(&mut m, base + 8), Ok(77), "granule {granule}");
        assert_eq!(load(&mut m, base + last), Ok(78));
        assert_eq!(load(&mut m, HIGH + base + 8), Ok(77));
        assert_eq!(load(&mut m, 7 * block + (DATA & (block - 1)) + 8), Ok(77));
        assert_eq!(load(&mut m, base + (1 << granule)), Err(7));
    }
}

#[test]
fn faults_tell_kind_and_level() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    for (level, status) in [(0, 4), (1, 5), (2, 6), (3, 7)] {
        let va = VA + (1 << 46) + (u64::from(level) << 40);
        let slot = tables.slot(va, level);
        tables.write(slot, 0);
        assert_eq!(load(&mut m, va), Err(status), "level {level}");
    }
    tables.map(VA, DATA, 3, VALID & !(1 << 10));
    assert_eq!(load(&mut m, VA), Err(0x0b), "access flag");
    tables.map(VA, DATA, 3, VALID | READ_ONLY);
    assert_eq!(store(&mut m, VA), Err(0x0f), "permission");
    tables.map(VA, 1 << 41, 3, VALID);
    assert_eq!(load(&mut m, VA + 8), Ok(0), "a cached translation stays");
    m.cpu.flush_all();
    assert_eq!(load(&mut m, VA), Err(0x03), "address size");
    assert_eq!(load(&mut m, 1 << 50), Err(4), "outside of both halves");
    let slot = tables.slot(VA, 2);
    tables.write(slot, 0x10_0000_0000 | 3);
    assert_eq!(load(&mut m, VA), Err(0x17), "the table is not in memory");
}

#[test]
fn permissions_depend_on_the_exception_level_and_pan() {
    let el0 = pstate::EL0T;
    let el1 = pstate::EL1H | pstate::DAIF;
    let pan = el1 | pstate::PAN;
    // Attributes; what EL0, EL1 and EL1 with PAN may do: r, w.
    let rows = [
        (EL1_RW, ["", "rw", "rw"]),
        (READ_ONLY, ["", "r", "r"]),
        (USER_RW, ["rw", "rw", ""]),
        (USER_RW | READ_ONLY, ["r", "r", ""]),
    ];
    for (attributes, rights) in rows {
        let mut m = Machine::new();
        let mut tables = m.mmu_on();
        tables.map(CODE & !0x1f_ffff, CODE, 2, VALID | USER_RW | READ_ONLY);
        tables.map(VA, DATA, 3, VALID | attributes);
        for (mode, rights) in [el0, el1, pan].into_iter().zip(rights) {
            let read = access(&mut m, VA, ldr(0, 1), mode);
            assert_eq!(
                read.is_ok(),
                rights.contains('r'),
                "{attributes:#x} {mode:#x}"
            );
            let written = access(&mut m, VA, str(2, 1), mode);
            assert_eq!(
                written.is_ok(),
                rights.contains('w'),
                "{attributes:#x} {mode:#x}"
            );
        }
        let as_user = access(&mut m, VA, ldtr(0, 1), pan);
        assert_eq!(as_user.is_ok(), rights[0].contains('r'), "LDTR ignores PAN");
    }
}

#[test]
fn table_descriptors_take_rights_away() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    tables.map(VA, DATA, 3, VALID | USER_RW);
    let slot = tables.slot(VA, 1);
    let table = m.load(slot);
    tables.write(slot, table | 1 << 62);
    assert_eq!(load(&mut m, VA), Ok(0));
    assert_eq!(store(&mut m, VA), Err(0xf), "APTable[1]");
    m.cpu.flush_all();
    tables.write(slot, table | 1 << 61);
    assert_eq!(
        access(&mut m, VA, ldtr(0, 1), pstate::EL1H),
        Err(0xf),
        "APTable[0]"
    );
}

#[test]
fn execution_needs_its_own_right() {
    let el0 = pstate::EL0T;
    let el1 = pstate::EL1H | pstate::DAIF;
    let wxn = 1 << 19;
    let rows = [
        (el1, EL1_RW, 0, true),
        (el1, EL1_RW | PXN, 0, false),
        (el1, EL1_RW | UXN, 0, true),
        (el1, EL1_RW, wxn, false),
        (el1, READ_ONLY, wxn, true),
        (el1, USER_RW, 0, false),
        (el1, USER_RW | READ_ONLY, 0, true),
        (el0, EL1_RW, 0, true),
        (el0, USER_RW | UXN, 0, false),
        (el0, USER_RW, wxn, false),
        (el0, USER_RW | PXN, 0, true),
    ];
    for (mode, attributes, sctlr, may) in rows {
        let mut m = Machine::new();
        let mut tables = m.mmu_on();
        let text = if mode == el0 {
            USER_RW | READ_ONLY
        } else {
            READ_ONLY
        };
        tables.map(CODE, CODE, 2, VALID | text);
        tables.map(VA, DATA, 3, VALID | attributes);
        m.code(DATA, &[svc(1)]);
        m.set(Saved::SctlrEl1, m.get(Saved::SctlrEl1) | sctlr);
        m.set_x(1, VA);
        m.exec_at(&[br(1)], mode);
        let esr = m.get(Saved::EsrEl1);
        let class = match (may, mode == el0) {
            (true, _) => 0x15,
            (false, true) => 0x20,
            (false, false) => 0x21,
        };
        assert_eq!(esr >> 26, class, "{attributes:#x} {sctlr:#x} at {mode:#x}");
        if !may {
            assert_eq!((esr & 0x3f, m.get(Saved::FarEl1)), (0xf, VA));
        }
    }
}

#[test]
fn device_memory_and_mmu_off_refuse_misaligned_accesses() {
    let mut m = Machine::new();
    assert_eq!(load(&mut m, DATA + 1), Err(0x21), "MMU off");
    let mut tables = m.mmu_on();
    tables.map(VA, DATA, 3, VALID);
    m.store(DATA, 0x1122_3344_5566_7788);
    assert_eq!(load(&mut m, VA + 1), Ok(0x11_2233_4455_6677));
    assert_eq!(load(&mut m, VA + 0xffc), Err(7), "into the next page");
    tables.map(VA + 0x1000, DATA + 0x1000, 3, VALID | DEVICE);
    assert_eq!(load(&mut m, VA + 0x1001), Err(0x21));
    assert_eq!(
        load(&mut m, VA + 0xffc),
        Err(0x21),
        "half of it is a device"
    );
}

#[test]
fn tags_are_ignored_if_tbi_says_so() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    tables.map(VA, DATA, 3, VALID);
    m.store(DATA, 5);
    assert_eq!(load(&mut m, VA | 0xab << 56), Err(4));
    m.set(Saved::TcrEl1, TCR_4K | 1 << 37);
    assert_eq!(load(&mut m, VA | 0xab << 56), Ok(5));
    m.code(DATA, &[svc(3)]);
    m.set_x(1, VA | 0xab << 56);
    assert_eq!(m.exec(&[br(1)]), SYNC_SAME);
    assert_eq!(m.get(Saved::ElrEl1), VA + 4, "branches drop the tag");
}

#[test]
fn at_instructions_report_to_par() {
    let mut m = Machine::new();
    let mut tables = m.mmu_on();
    tables.map(VA, DATA, 3, VALID | READ_ONLY);
    m.set_x(1, VA + 0x123);
    let par = Saved::ParEl1;
    m.exec(&[sys(0, 7, 8, 0, 1), hvc(0)]);
    assert_eq!(m.get(par), DATA | 0xff << 56 | 1 << 11 | 3 << 7, "S1E1R");
    m.exec(&[sys(0, 7, 8, 1, 1), hvc(0)]);
    assert_eq!(m.get(par), 1 << 11 | 0xf << 1 | 1, "S1E1W");
    m.exec(&[sys(0, 7, 8, 2, 1), hvc(0)]);
    assert_eq!(m.get(par) & 0xff, 0xf << 1 | 1, "S1E0R");
}
