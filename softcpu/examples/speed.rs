//! Guest instructions per second of plain loops, without a guest system: `cargo run --release
//! --example speed`.
#![expect(clippy::unwrap_used, reason = "a measuring tool")]
use std::sync::Arc;
use std::time::Instant;

use aarch64::Gpa;
use aarch64::state::CoreRegs;
use memory::{Layout, Prot, Region};
use softcpu::cluster::{Clock, Cluster};
use softcpu::{Cpu, Interpreter};

#[derive(Debug)]
struct Still;
impl Clock for Still {
    fn counter(&self) -> u64 {
        0
    }
    fn frequency(&self) -> u64 {
        62_500_000
    }
}

fn run(name: &str, code: &[u32]) {
    let ram = Arc::new(Region::new(1 << 20).unwrap());
    for (i, word) in code.iter().enumerate() {
        ram.write(4 * i as u64, &word.to_le_bytes()).unwrap();
    }
    let layout = Arc::new(
        Layout::default()
            .with(Gpa(0x4000_0000), ram, Prot::ReadWrite)
            .unwrap(),
    );
    let mut cpu = Cpu::new(0, Arc::new(Cluster::new(1)), Arc::new(Still), layout);
    let mut core = CoreRegs {
        pc: 0x4000_0000,
        ..CoreRegs::default()
    };
    core.x[0] = 50_000_000;
    core.x[1] = 0x4008_0000;
    cpu.set_core(&core);
    let start = Instant::now();
    let event = Interpreter::new(100_000).run(&mut cpu);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{name:12} {:7.0} MIPS  ({event:?})",
        cpu.retired() as f64 / seconds / 1e6
    );
}

fn main() {
    // Each loop counts x0 down and ends with a store to an address without memory (x2 = 0).
    let end = [0xf1000400, 0, 0xf9000042];
    let looped = |body: &[u32]| {
        let mut code = body.to_vec();
        code.push(end[0]); // subs x0, x0, #1
        let back = (-(code.len() as i32) as u32) & 0x7ffff;
        code.push(0x5400_0001 | back << 5); // b.ne
        code.push(end[2]); // str x2, [x2]
        code
    };
    run("empty", &looped(&[]));
    run(
        "alu",
        &looped(&[
            0x8b030063, 0xca040084, 0x8b050ca5, 0x93c61cc6, 0x9b077ce7, 0xd3431d08,
        ]),
    );
    run(
        "load",
        &looped(&[0xf9400023, 0xf9400424, 0xf9400825, 0xf9400c26]),
    );
    run(
        "store",
        &looped(&[0xf9000023, 0xf9000424, 0xf9000825, 0xf9000c26]),
    );
}
