//! The CPU under a hypervisor: what leaves, and what is left undone.

use std::sync::Arc;

use aarch64::{Gpa, PAGE_SIZE, SysReg, pstate};
use memory::{Layout, Mapping, Prot, Region, Rights, rights};
use softcpu::cluster::{Clock, Cluster};
use softcpu::hypervised::{Stage2Access, Trap, Traps};
use softcpu::{Cpu, Event, Interpreter};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn counter(&self) -> u64 {
        0
    }
    fn frequency(&self) -> u64 {
        1
    }
}

/// Wants reads of one register, and WFE.
#[derive(Debug)]
struct Wanted(SysReg);

impl Traps for Wanted {
    fn wants(&self, insn: u32) -> bool {
        insn == WFE || insn >> 20 == 0xd53 && SysReg::from_instruction(insn) == self.0
    }
}

const WFE: u32 = 0xd503_205f;
const MRS_X1_PMCR: u32 = 0xd53b_9c01;
const PMCR: SysReg = SysReg::new(3, 3, 9, 12, 0);
const BASE: Gpa = Gpa(0x4000_0000);

/// A CPU at the start of memory that holds `code`, and the rights of its pages.
fn guest(code: &[u32]) -> (Cpu, Interpreter, Arc<Rights>) {
    let region = Region::new(4 * PAGE_SIZE).unwrap();
    for (i, word) in code.iter().enumerate() {
        region.write(4 * i as u64, &word.to_le_bytes()).unwrap();
    }
    let rights = Arc::new(Rights::new(4 * PAGE_SIZE, PAGE_SIZE, rights::ALL));
    let mapping = Mapping {
        gpa: BASE,
        region: Arc::new(region),
        prot: Prot::ReadWrite,
        rights: Some(Arc::clone(&rights)),
    };
    let layout = Layout::default().with_mapping(mapping).unwrap();
    let cluster = Arc::new(Cluster::with_room(4));
    let mut cpu = Cpu::new(2, cluster, Arc::new(Still), Arc::new(layout));
    cpu.supervise(Arc::new(Wanted(PMCR)), false);
    cpu.set_pc(BASE.0);
    (cpu, Interpreter::new(1000), rights)
}

fn stage2(va: u64, gpa: u64, access: Stage2Access) -> Event {
    Event::Trapped(Trap::Stage2 {
        va,
        gpa: Gpa(gpa),
        access,
    })
}

#[test]
fn chosen_instructions_leave_and_are_run_again_unless_stepped_over() {
    let (mut cpu, mut run, _) = guest(&[MRS_X1_PMCR, WFE, 0xd400_0002]);
    let trapped = |insn| Event::Trapped(Trap::Instruction(insn));
    assert_eq!(run.run(&mut cpu), trapped(MRS_X1_PMCR));
    assert_eq!(run.run(&mut cpu), trapped(MRS_X1_PMCR));
    assert_eq!(cpu.fetch(), Some((MRS_X1_PMCR, BASE)));
    cpu.set_x(1, 9);
    cpu.set_pc(BASE.0 + 4);
    assert_eq!(run.run(&mut cpu), trapped(WFE));
    cpu.set_pc(BASE.0 + 8);
    assert_eq!(run.run(&mut cpu), Event::Hvc(0));
    assert_eq!((cpu.x(1), cpu.pc()), (9, BASE.0 + 8));
}

#[test]
fn a_register_of_el1_is_undefined_at_el0() {
    let (mut cpu, mut run, _) = guest(&[MRS_X1_PMCR]);
    let mut core = cpu.core();
    core.pstate = pstate::EL0T;
    cpu.set_core(&core);
    // The vectors are at 0, where nothing is: the exception to EL1 comes first.
    assert_eq!(run.run(&mut cpu), stage2(0x400, 0x400, Stage2Access::Fetch));
}

#[test]
fn accesses_that_stage_2_stops_leave_until_it_lets_them_pass() {
    // str x1, [x0]; ldadd x1, x2, [x0]; dc cvac, x3; br x3
    let code = [0xf900_0001, 0xf821_0002, 0xd50b_7a23, 0xd61f_0060];
    let (mut cpu, mut run, rights) = guest(&code);
    let page = BASE.0 + PAGE_SIZE;
    cpu.set_x(0, page);
    cpu.set_x(1, 5);
    cpu.set_x(3, 0x9000_0000);
    rights.set(PAGE_SIZE, PAGE_SIZE, rights::READ | rights::EXECUTE);
    assert_eq!(
        run.run(&mut cpu),
        stage2(page, page, Stage2Access::Data),
        "a store to memory that may only be read"
    );
    cpu.set_pc(BASE.0 + 4);
    assert_eq!(run.run(&mut cpu), stage2(page, page, Stage2Access::Data));
    rights.set(PAGE_SIZE, PAGE_SIZE, rights::ALL);
    cpu.set_pc(BASE.0);
    let gone = 0x9000_0000;
    let maintenance = stage2(gone, gone, Stage2Access::Maintenance);
    assert_eq!(run.run(&mut cpu), maintenance);
    assert_eq!(cpu.x(2), 5, "the atomic found what was stored");
    cpu.set_pc(BASE.0 + 12);
    assert_eq!(run.run(&mut cpu), stage2(gone, gone, Stage2Access::Fetch));
}

#[test]
fn code_without_the_right_to_be_run_leaves() {
    let (mut cpu, mut run, rights) = guest(&[0xd400_0002]);
    rights.set(0, PAGE_SIZE, rights::READ | rights::WRITE);
    let refused = stage2(BASE.0, BASE.0, Stage2Access::Fetch);
    assert_eq!(run.run(&mut cpu), refused);
    rights.set(0, PAGE_SIZE, rights::ALL);
    assert_eq!(run.run(&mut cpu), Event::Hvc(0));
}

#[test]
fn walks_of_tables_that_are_not_there_say_where() {
    let (mut cpu, mut run, _) = guest(&[0xd400_0002]);
    cpu.set_saved(aarch64::Saved::TcrEl1, 25 | 1 << 23);
    cpu.set_saved(aarch64::Saved::Ttbr0El1, 0x7000_0000);
    cpu.set_saved(aarch64::Saved::SctlrEl1, 1);
    assert_eq!(
        run.run(&mut cpu),
        stage2(BASE.0, 0x7000_0008, Stage2Access::Walk { fetch: true })
    );
}

#[test]
fn debug_exceptions_leave_when_asked_for_whatever_the_masks_say() {
    // nop; nop
    let (mut cpu, mut run, _) = guest(&[0xd503_201f, 0xd503_201f]);
    cpu.supervise(Arc::new(Wanted(PMCR)), true);
    cpu.set_saved(aarch64::Saved::OslsrEl1, 0);
    cpu.set_saved(aarch64::Saved::MdscrEl1, 1);
    let mut core = cpu.core();
    core.pstate |= pstate::SS;
    cpu.set_core(&core);
    let event = run.run(&mut cpu);
    let Event::Trapped(Trap::Debug { esr, .. }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(esr >> 26, 0x32);
    assert_eq!(cpu.pc(), BASE.0 + 4);
}
