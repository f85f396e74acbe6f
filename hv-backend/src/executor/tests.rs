//! The executor against the `soft` backend: a software vCPU stands in for the guest of another
//! accelerator, and each instruction must end as it does where the software CPU runs by itself.

use std::sync::Arc;

use aarch64::cpu_model::CpuModel;
use aarch64::pstate::{DAIF, EL0T, EL1H};
use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Gpa, PAGE_SIZE, Saved, Size, VcpuId};
use memory::{Layout, Prot, Region};
use proptest::prelude::*;
use softcpu::interp::table;
use softcpu::table::Kind;

use super::{Executor, MOST_RETRIES, Outcome};
use crate::api::{
    DebugControl, DebugStop, Exit, GuestFault, Hypervisor, Resume, TimeSource, Vcpu, Vm, VmConfig,
};
use crate::soft::Soft;

const DEVICE: u64 = 0x0900_0000;
const RAM: Gpa = Gpa(0x4000_0000);
const RAM_BYTES: u64 = 0x2_0000;
/// Code and page tables, which no guest of the tests can write.
const ROM: Gpa = Gpa(0x4800_0000);
const ROM_BYTES: u64 = 0x8000;
const CODE: u64 = ROM.0;
const VECTORS: u64 = ROM.0 + 0x3000;
/// Where the ROM appears a second time, writable as far as page tables say.
const ALIAS: u64 = 0x4a00_0000;
/// Nothing is mapped there by the page tables.
const NOWHERE: u64 = 0x8000_0000;
const LEVEL_1: u64 = 0x1000;
const LEVEL_2: u64 = 0x2000;

/// A guest with page tables: device addresses and RAM for everyone, the ROM to read and execute.
struct Machine {
    _vm: Box<dyn Vm>,
    vcpu: Box<dyn Vcpu>,
    layout: Arc<Layout>,
    ram: Arc<Region>,
}

impl Machine {
    fn new(insn: u32, core: &CoreRegs, simd: &SimdRegs) -> Self {
        let config = VmConfig {
            vcpus: 1,
            address_bits: 40,
            time: TimeSource::Host,
            counter_frequency: None,
            cpu: CpuModel::Portable,
        };
        let vm = Soft::default().create_vm(&config).unwrap();
        let ram = Arc::new(Region::new(RAM_BYTES).unwrap());
        for at in (0..RAM_BYTES).step_by(8) {
            ram.write(at, &noise(at).to_le_bytes()).unwrap();
        }
        let rom = rom(insn);
        vm.map(RAM, ram.clone(), Prot::ReadWrite).unwrap();
        vm.map(ROM, rom.clone(), Prot::ReadOnly).unwrap();
        let layout = Layout::default()
            .with(RAM, ram.clone(), Prot::ReadWrite)
            .and_then(|layout| layout.with(ROM, rom, Prot::ReadOnly))
            .unwrap();
        let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        for (reg, value) in [
            (Saved::SctlrEl1, 0x3090_0800 | 1 << 14 | 1),
            (Saved::TcrEl1, 2 << 32 | 1 << 23 | 25),
            (Saved::MairEl1, 0xff),
            (Saved::Ttbr0El1, ROM.0 + LEVEL_1),
            (Saved::CpacrEl1, 3 << 20),
            (Saved::VbarEl1, VECTORS),
            (Saved::SpEl0, RAM.0 + 0x8000),
            (Saved::SpEl1, DEVICE + 0x100),
        ] {
            vcpu.set_sysreg(reg.sysreg(), value).unwrap();
        }
        vcpu.set_core(core).unwrap();
        vcpu.set_simd(simd).unwrap();
        let layout = Arc::new(layout);
        Self {
            _vm: vm,
            vcpu,
            layout,
            ram,
        }
    }

    fn sysreg(&self, reg: Saved) -> u64 {
        self.vcpu.sysreg(reg.sysreg()).unwrap()
    }

    /// What is to be equal afterwards.
    fn state(&self) -> (CoreRegs, SimdRegs, Vec<u64>, Vec<u8>) {
        let mut ram = vec![0; RAM_BYTES as usize];
        self.ram.read(0, &mut ram).unwrap();
        let sys = Saved::ALL.iter().map(|reg| self.sysreg(*reg)).collect();
        let core = self.vcpu.core().unwrap();
        (core, self.vcpu.simd().unwrap(), sys, ram)
    }
}

fn rom(insn: u32) -> Arc<Region> {
    let rom = Region::new(ROM_BYTES).unwrap();
    let put = |at: u64, value: u64| rom.write(at, &value.to_le_bytes()).unwrap();
    // Nothing can be executed after the instruction.
    put(0, u64::from(insn));
    let (block, table, used) = (1, 3, 1 << 10);
    let (everyone, read_only) = (1 << 6, 3 << 6);
    put(LEVEL_1, used | everyone | block);
    put(LEVEL_1 + 8, (ROM.0 + LEVEL_2) | table);
    let entry = |va: u64| LEVEL_2 + 8 * (va >> 21 & 511);
    put(entry(RAM.0), RAM.0 | used | everyone | block);
    put(entry(ROM.0), ROM.0 | used | read_only | block);
    put(entry(ALIAS), ROM.0 | used | everyone | block);
    Arc::new(rom)
}

fn noise(seed: u64) -> u64 {
    let mixed = (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// What a device answers: something for each address, or now and then an abort.
fn answer(exit: Exit, aborts: bool) -> Resume {
    let (gpa, done) = if let Exit::MmioRead { gpa, size } = exit {
        (gpa, Resume::Data(noise(gpa.0) & size.mask()))
    } else if let Exit::MmioWrite { gpa, .. } = exit {
        (gpa, Resume::Done)
    } else {
        panic!("{exit:?} is no access");
    };
    if aborts && noise(gpa.0).is_multiple_of(4) {
        return Resume::ExternalAbort;
    }
    done
}

/// Runs the instruction where it is, on the software CPU.
fn run_directly(machine: &mut Machine, aborts: bool) -> Vec<Exit> {
    let control = DebugControl {
        single_step: true,
        ..DebugControl::default()
    };
    machine.vcpu.set_debug(&control).unwrap();
    let mut exits = Vec::new();
    let mut resume = Resume::Done;
    loop {
        let exit = machine.vcpu.run(resume).unwrap();
        if exit == Exit::Debug(DebugStop::Step) {
            return exits;
        }
        resume = Resume::Done;
        if exit != Exit::Kicked {
            exits.push(exit);
            resume = answer(exit, aborts);
        }
    }
}

/// Runs the instruction in the executor, for the vCPU.
fn run_elsewhere(machine: &mut Machine, aborts: bool) -> Vec<Exit> {
    let mut executor = Executor::default();
    let vcpu = &mut *machine.vcpu;
    let mut exits = Vec::new();
    let mut outcome = executor.begin(vcpu, Gpa(DEVICE), machine.layout.clone());
    loop {
        match outcome.unwrap() {
            Outcome::Done => return exits,
            Outcome::Exit(exit) => {
                assert!(executor.is_busy());
                exits.push(exit);
                outcome = executor.go_on(vcpu, answer(exit, aborts));
            }
        }
    }
}

/// Addresses that make accesses interesting: each kind of place, and where one meets another.
fn address() -> impl Strategy<Value = u64> {
    let near = prop_oneof![
        Just(DEVICE),
        Just(RAM.0),
        Just(RAM.0 + 0x8000),
        Just(RAM.0 + RAM_BYTES),
        Just(ROM.0 + 0x4000),
        Just(ALIAS + 0x4000),
        Just(ALIAS + ROM_BYTES),
        Just(NOWHERE),
    ];
    let offset = prop_oneof![
        3 => (-4_i64..5).prop_map(|n| 8 * n),
        1 => -70_i64..70,
    ];
    (near, offset).prop_map(|(near, offset)| near.wrapping_add_signed(offset))
}

/// Instructions of every row of loads and stores, and `DC ZVA`.
fn access() -> impl Strategy<Value = u32> {
    let rows: Vec<(u32, u32)> = table()
        .rows()
        .iter()
        .filter(|row| matches!(row.kind, Kind::Memory | Kind::SimdMemory) || row.name == "DC ZVA")
        .map(|row| (row.mask, row.value))
        .collect();
    assert!(rows.len() > 50);
    (prop::sample::select(rows), any::<u32>())
        .prop_map(|((mask, value), random)| random & !mask | value)
        .prop_filter("unallocated", |insn| table().decode(*insn).is_some())
}

fn registers() -> impl Strategy<Value = CoreRegs> {
    let x = prop::collection::vec(prop_oneof![3 => address(), 1 => 0_u64..64], 31);
    (x, any::<bool>(), 0_u64..16).prop_map(|(values, el0, flags)| {
        let mut x = [0; 31];
        x.copy_from_slice(&values);
        let mode = if el0 { EL0T } else { EL1H | DAIF };
        let pstate = mode | flags << 28;
        CoreRegs {
            x,
            pc: CODE,
            pstate,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn executed_elsewhere_an_access_ends_the_same(
        insn in access(),
        core in registers(),
        aborts in any::<bool>(),
    ) {
        let mut simd = SimdRegs::default();
        for (n, v) in (0..).zip(&mut simd.v) {
            *v = u128::from(noise(n)) << 64 | u128::from(noise(n + 99));
        }
        let mut direct = Machine::new(insn, &core, &simd);
        let mut elsewhere = Machine::new(insn, &core, &simd);
        prop_assert_eq!(run_directly(&mut direct, aborts), run_elsewhere(&mut elsewhere, aborts));
        prop_assert!(direct.state() == elsewhere.state(), "{insn:08x} of {core:?}");
    }
}

fn core_at_device() -> CoreRegs {
    let mut core = CoreRegs {
        pc: CODE,
        ..CoreRegs::default()
    };
    core.x[1] = DEVICE;
    core
}

/// `ldp x2, x3, [x1], #16`
const LDP: u32 = 0xa8c1_0c22;

fn begin(executor: &mut Executor, machine: &mut Machine) -> Outcome {
    let layout = machine.layout.clone();
    let result = executor.begin(&mut *machine.vcpu, Gpa(DEVICE), layout);
    result.unwrap()
}

#[test]
fn registers_change_only_when_all_is_answered() {
    let core = core_at_device();
    let mut machine = Machine::new(LDP, &core, &SimdRegs::default());
    let mut executor = Executor::default();
    let read = |offset| {
        let gpa = Gpa(DEVICE + offset);
        Outcome::Exit(Exit::MmioRead { gpa, size: Size::D })
    };
    assert_eq!(begin(&mut executor, &mut machine), read(0));
    let second = executor.go_on(&mut *machine.vcpu, Resume::Data(5)).unwrap();
    assert_eq!(second, read(8));
    assert_eq!(machine.vcpu.core().unwrap(), core);
    executor.abandon();
    assert_eq!(
        begin(&mut executor, &mut machine),
        read(0),
        "it starts again"
    );
    for value in [7, 8] {
        executor
            .go_on(&mut *machine.vcpu, Resume::Data(value))
            .unwrap();
    }
    let after = machine.vcpu.core().unwrap();
    assert_eq!(after.x[1..4], [DEVICE + 16, 7, 8]);
    assert_eq!(after.pc, CODE + 4);
}

#[test]
fn other_instructions_are_left_to_the_vcpu_a_few_times() {
    // hvc #0
    let mut machine = Machine::new(0xd400_0002, &core_at_device(), &SimdRegs::default());
    let mut executor = Executor::default();
    for _ in 0..MOST_RETRIES {
        assert_eq!(begin(&mut executor, &mut machine), Outcome::Done);
    }
    let fault = GuestFault::CannotEmulate(0xd400_0002);
    assert_eq!(
        begin(&mut executor, &mut machine),
        Outcome::Exit(Exit::Fault(fault))
    );
    assert_eq!(machine.vcpu.core().unwrap(), core_at_device());
}

#[test]
fn what_the_model_lacks_is_a_fault() {
    // ld1b {z0.b}, p0/z, [x1] of SVE
    let sve = 0xa400_a020;
    let mut machine = Machine::new(sve, &core_at_device(), &SimdRegs::default());
    let fault = GuestFault::CannotEmulate(sve);
    let outcome = begin(&mut Executor::default(), &mut machine);
    assert_eq!(outcome, Outcome::Exit(Exit::Fault(fault)));
}

#[test]
fn code_that_cannot_be_fetched_is_no_loop() {
    let mut core = core_at_device();
    core.pc = NOWHERE;
    let mut machine = Machine::new(LDP, &core, &SimdRegs::default());
    let mut executor = Executor::default();
    for _ in 0..MOST_RETRIES {
        assert_eq!(begin(&mut executor, &mut machine), Outcome::Done);
    }
    let fault = GuestFault::UndecodedAccess(Gpa(DEVICE));
    assert_eq!(
        begin(&mut executor, &mut machine),
        Outcome::Exit(Exit::Fault(fault))
    );
}

/// Memory that an instruction writes half is written whole, once the other half is answered.
#[test]
fn stores_may_span_memory_and_a_device() {
    // stp x2, x3, [x1]
    let mut core = core_at_device();
    let last = RAM.0 + RAM_BYTES - 8;
    (core.x[1], core.x[2], core.x[3]) = (last, 11, 22);
    let mut machine = Machine::new(0xa900_0c22, &core, &SimdRegs::default());
    let exits = run_elsewhere(&mut machine, false);
    let gpa = Gpa(RAM.0 + RAM_BYTES);
    assert_eq!(gpa.0 % PAGE_SIZE, 0);
    let write = Exit::MmioWrite {
        gpa,
        size: Size::D,
        data: 22,
    };
    assert_eq!(exits, [write]);
    assert_eq!(machine.ram.load_u64(RAM_BYTES - 8), Some(11));
}
