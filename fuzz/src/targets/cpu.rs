//! The software CPU: random code with random registers, translation and answers.

use std::sync::Arc;

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Gpa, Saved, pstate};
use memory::{Layout, Prot, Region};
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Event, Interpreter, Reply};

use crate::bytes::Bytes;
use crate::guest::{LOADED_AT, TABLES_AT, instruction, put, tables};
use crate::random::Random;

/// Where RAM begins.
const RAM: Gpa = Gpa(0x4000_0000);
/// Bytes of RAM: up to the end of the tables.
const RAM_BYTES: u64 = TABLES_AT + 0x1_0000 - RAM.0;
/// Instructions that one guest runs at most.
const MOST_INSTRUCTIONS: u64 = 3000;
/// Events after which a guest has done enough.
const MOST_EVENTS: usize = 400;

/// A clock made of instructions, so that runs repeat.
#[derive(Debug)]
struct Instructions;

impl Clock for Instructions {
    fn counter(&self) -> u64 {
        0
    }

    fn frequency(&self) -> u64 {
        1_000_000
    }

    fn counter_at(&self, retired: u64) -> u64 {
        retired
    }
}

/// No code brings the CPU down, and what it holds at the end can be saved and restored.
pub fn cpu(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let mut random = Random::new(bytes.u64());
    let Some(layout) = memory(&mut random, &mut bytes) else {
        return;
    };
    let cluster = Arc::new(Cluster::new(1));
    let mut cpu = Cpu::new(0, cluster.clone(), Arc::new(Instructions), layout);
    set_up(&mut cpu, &mut random);
    cpu.set_limit(Some(MOST_INSTRUCTIONS));
    let mut interpreter = Interpreter::new(1 << 12);
    for _ in 0..MOST_EVENTS {
        if random.below(16) == 0 {
            cluster.seat(0).expect("the only seat").kick();
        }
        let event = interpreter.run(&mut cpu);
        if matches!(event, Event::QuantumEnd | Event::ExceptionLoop(_)) {
            break;
        }
        cpu.reply(answer(event, &mut random));
        if random.below(8) == 0 {
            let _ = interpreter.settle(&mut cpu);
            check_round_trip(&mut cpu);
        }
        if random.below(4) == 0 {
            cpu.set_interrupts(random.below(2) == 0, random.below(2) == 0);
        }
    }
    check_round_trip(&mut cpu);
}

/// RAM with tables, code, and something at the vectors; and a page that cannot be written.
fn memory(random: &mut Random, bytes: &mut Bytes<'_>) -> Option<Arc<Layout>> {
    let ram = Arc::new(Region::new(RAM_BYTES).ok()?);
    let rom = Arc::new(Region::new(0x1000).ok()?);
    let layout = Layout::default().with(RAM, ram, Prot::ReadWrite);
    let layout = layout.and_then(|l| l.with(Gpa(0), rom, Prot::ReadOnly));
    let layout = layout.expect("regions apart");
    let mut code = Vec::new();
    while !bytes.is_empty() {
        code.push(instruction::any(bytes));
    }
    let mut image = vec![0; 4 * code.len()];
    put(&mut image, 0, &code);
    let write = |at, data: &[u8]| layout.write(Gpa(at), data).expect("it is in RAM");
    let room = (TABLES_AT - LOADED_AT - 0x2000) as usize;
    write(LOADED_AT + 0x1000, &image[..image.len().min(room)]);
    let skip: Vec<u8> = crate::guest::asm::skip_handler()
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    (0..16).for_each(|vector| write(LOADED_AT + 0x80 * vector, &skip));
    let tables = tables::random(random);
    let tables: Vec<u8> = tables.into_iter().flat_map(u64::to_le_bytes).collect();
    write(TABLES_AT, &tables);
    Some(Arc::new(layout))
}

/// Registers: mostly such that something runs.
fn set_up(cpu: &mut Cpu, random: &mut Random) {
    let mut core = CoreRegs {
        pc: LOADED_AT + 0x1000,
        ..CoreRegs::default()
    };
    core.x = std::array::from_fn(|_| value(random));
    core.pstate = random.pick(&[
        pstate::RESET,
        pstate::EL1H,
        pstate::EL1T,
        pstate::EL0T,
        pstate::EL1H | pstate::IL,
        pstate::EL1H | pstate::SS | pstate::PAN,
    ]);
    if random.below(16) == 0 {
        core.pc = value(random);
    }
    cpu.set_core(&core);
    cpu.set_simd(&SimdRegs {
        v: std::array::from_fn(|_| u128::from(random.next_u64()) << 64 | u128::from(value(random))),
        fpcr: random.next_u32(),
        fpsr: random.next_u32(),
    });
    cpu.set_saved(Saved::VbarEl1, LOADED_AT);
    cpu.set_saved(Saved::CpacrEl1, 3 << 20);
    cpu.set_saved(Saved::SpEl0, value(random));
    cpu.set_saved(Saved::SpEl1, value(random));
    if random.below(2) == 0 {
        cpu.set_saved(Saved::MairEl1, tables::MAIR);
        cpu.set_saved(Saved::TcrEl1, tables::TCR);
        cpu.set_saved(Saved::Ttbr0El1, TABLES_AT);
        cpu.set_saved(Saved::Ttbr1El1, TABLES_AT + 0x1000);
        cpu.set_saved(Saved::SctlrEl1, 0x30d0_1805);
    }
    for _ in 0..random.below(4) {
        let reg = random.pick(Saved::ALL);
        cpu.set_saved(reg, value(random));
    }
}

/// Addresses of all kinds, flags and numbers.
fn value(random: &mut Random) -> u64 {
    let base = random.pick(&[
        0x4000_0000,
        LOADED_AT,
        TABLES_AT,
        0x8000_0000,
        0x900_0000,
        0,
    ]);
    match random.below(8) {
        0 => random.next_u64(),
        1 => 1 << random.below(64),
        2 => 0_u64.wrapping_sub(random.below(0x4000) as u64),
        3 => base + random.below(0x1_0000) as u64,
        _ => base + (random.below(0x1_0000) as u64 & !15),
    }
}

/// An answer that fits the event, mostly.
fn answer(event: Event, random: &mut Random) -> Reply {
    let value = random.next_u64();
    let other = [
        Reply::Done,
        Reply::Data(value),
        Reply::Undefined,
        Reply::ExternalAbort,
    ];
    if random.below(8) == 0 {
        return random.pick(&other);
    }
    match event {
        Event::MmioRead { .. } | Event::SysRegRead { .. } => Reply::Data(value),
        Event::Hvc(_) | Event::Smc(_) => Reply::Call([value, 0, 1, u64::MAX]),
        Event::MmioWrite { .. } | Event::SysRegWrite { .. } | Event::Wfi | Event::Timer => {
            Reply::Done
        }
        Event::Step | Event::Breakpoint | Event::Brk(_) | Event::Watchpoint(_) => Reply::Done,
        Event::Kicked | Event::QuantumEnd => Reply::Done,
        Event::ExceptionLoop(_) | Event::Trapped(_) => Reply::Done,
    }
}

/// Saved state is taken back as it is.
fn check_round_trip(cpu: &mut Cpu) {
    let (core, simd) = (cpu.core(), cpu.simd());
    assert_eq!(core.pstate & !pstate::DEFINED, 0, "{:#x}", core.pstate);
    let mode = core.pstate & pstate::MODE;
    let modes = [pstate::EL0T, pstate::EL1T, pstate::EL1H];
    assert!(modes.contains(&mode), "mode {mode:#x}");
    for &reg in Saved::ALL {
        let before = cpu.saved(reg);
        cpu.set_saved(reg, before);
        assert_eq!(cpu.saved(reg), before, "{}", reg.name());
    }
    cpu.set_core(&core);
    cpu.set_simd(&simd);
    assert_eq!((cpu.core(), cpu.simd()), (core, simd));
}
