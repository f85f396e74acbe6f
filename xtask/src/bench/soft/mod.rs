//! `cargo xtask bench soft`: armlet's software CPU beside QEMU's TCG, on the same kernel, initramfs,
//! memory and CPUs.
//!
//! Both run in turns, [`ROUNDS`] times, and the best of each number counts: noise of the host only
//! ever adds. Guest workloads are `tests/guest/workloads.c`; their checksums must agree. Time is the
//! guest's clock for workloads and the host's for the boot; processor seconds are the host's.

mod guest;
pub mod sample;
mod table;

use crate::command::{Profile, build_armlet, target, workspace};
use crate::error::Error;
use crate::host;
use guest::{Contender, Measured, Run};
use guests::{Kernel, Store};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often each runs, unless `--rounds` says otherwise.
const ROUNDS: usize = 2;

/// What the single-threaded workloads run on, and the others.
const RUNS: [Run; 2] = [
    Run {
        cpus: 1,
        workloads: "integer,sha256,copy,floating,simd,syscalls,faults",
    },
    Run {
        cpus: 4,
        workloads: "lock",
    },
];

/// Runs the guest's workloads; part of the benchmark's initramfs.
const ACTION: &str = "\
do_bench() {
    echo ARMLET-READY
    workloads $(setting workloads | tr , ' ')
}
";

/// Runs the benchmark, with so many rounds if not the usual number.
pub fn run(rounds: Option<usize>) -> Result<bool, Error> {
    let rounds = rounds.unwrap_or(ROUNDS);
    if let Some(tool) = host::ensure(&host::TOOLS)?
        .iter()
        .find(|tool| tool.purpose != CHECKS)
    {
        return Err(Error::new(format!(
            "{} is missing ({})",
            tool.program, tool.purpose
        )));
    }
    let store = Store::of_checkout();
    let kernel = store.kernel(Kernel::V6_12Cloud)?;
    let programs = [
        ("bin/workloads", std::fs::read(compile()?)?),
        ("actions/bench", ACTION.as_bytes().to_vec()),
    ];
    let initrd = store.initramfs_with("bench.cpio.gz", &programs)?;
    let contenders = [
        Contender::Armlet(build_armlet(Profile::Dist)?),
        Contender::Qemu,
    ];
    let mut success = true;
    for run in &RUNS {
        let mut best: [Measured; 2] = [Measured::default(), Measured::default()];
        for round in 1..=rounds {
            for (contender, best) in contenders.iter().zip(&mut best) {
                eprintln!(
                    "bench: {} with {} CPUs, round {round}",
                    contender.name(),
                    run.cpus
                );
                best.keep_better(guest::measure(contender, run, &kernel, &initrd)?);
            }
        }
        let [armlet, qemu] = &best;
        print!("{}", table::render(run, armlet, qemu));
        success &= table::agree(armlet, qemu);
    }
    Ok(success)
}

/// The purpose of the tools that only the tests use.
const CHECKS: &str = "checks the guest's results";

/// Compiles the workloads for the guest.
fn compile() -> Result<PathBuf, Error> {
    let source: &Path = &workspace().join("tests/guest/workloads.c");
    let program = target().join("guests/workloads");
    std::fs::create_dir_all(target().join("guests"))?;
    let status = Command::new("aarch64-linux-gnu-gcc")
        .args(["-static", "-O2", "-march=armv8-a", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .arg("-lm")
        .status()?;
    if status.success() {
        Ok(program)
    } else {
        Err(Error::new("the workloads do not compile"))
    }
}
