//! `cargo xtask bench kvm`: armlet beside QEMU, both on arm64 KVM, on the same kernel, initramfs,
//! memory and CPUs.
//!
//! armlet runs twice: with the CPU model `host`, as QEMU does on KVM, and with `portable`, the usual
//! one, for which KVM traps reads of `CTR_EL0` where the processor says more than the model. Where that
//! model is not offered, its columns have no numbers.
//!
//! Everything runs where [`kvm_host`] puts it: on an arm64 host itself, elsewhere in an emulated
//! one ([`Emulator::Recent`], unless it is to be the installed one). QEMU is Debian's for arm64
//! ([`super::program`]). All run in turns, [`ROUNDS`] times, under a small program that measures them
//! from outside (`xtask/files/meter.c`, which says how); [`report`] makes a table of what it prints.
//!
//! In an emulated host free memory is written over before each start ([`SCRUB`]): the emulator keeps
//! translations of code by where it lies, and who writes there first pays for the guest that ran
//! before, with tenths of a second. Seconds are many times those of a real host, and leaving the guest
//! for user space costs most, so ratios and counts are what to look at.

mod contender;
mod report;

use super::program::QEMU;
use crate::command::{Profile, target, workspace};
use crate::error::Error;
use crate::kvm_host::Emulator;
use crate::{host, kvm_host};
use contender::{Contender, Guest};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often each runs, unless `--rounds` says otherwise.
const ROUNDS: usize = 5;
/// Numbers of CPUs.
const CPUS: [usize; 2] = [1, 2];
const MEMORY_MIB: usize = 256;
/// Writes over free memory, as much as the guests before had. Those pages are the next to be used.
const SCRUB: &str = "dd if=/dev/zero of=./scrub bs=1M count=400 2> /dev/null; rm ./scrub";
/// Shows and keeps what armlet says of the model `portable` there, which not every kernel can give.
/// Fails where it says nothing.
const ASK_PORTABLE: &str = "model=$(armlet doctor | \
    grep -E '^kvm: (enforces --cpu portable$|no --cpu portable,)')\necho \"$model\"";
/// What it says where it offers it.
const PORTABLE: &str = "kvm: enforces --cpu portable";
/// For each start of a guest, in seconds; far beyond what it takes.
const LIMIT_EACH: u64 = 120;
const CROSS_GCC: &str = "aarch64-linux-gnu-gcc";
/// What init says first.
const MARKER: &str = "ARMLET-INIT";

const LINUX: Guest = Guest {
    kernel: "Image",
    initrd: Some("initramfs.cpio.gz"),
};
const LINE_WRITER: Guest = Guest {
    kernel: "writer.bin",
    initrd: None,
};
/// A program that writes lines of 64 bytes to the serial port, byte by byte, for ever.
const LINE_WRITER_CODE: [u32; 9] = [
    0xd2a1_2000, // mov  x0, #0x09000000
    0x5280_05c1, // mov  w1, #'.'
    0x5280_0143, // mov  w3, #'\n'
    0x5280_07e2, // mov  w2, #63           <-+
    0xb900_0001, // str  w1, [x0]      <-+   |
    0x7100_0442, // subs w2, w2, #1      |   |
    0x54ff_ffc1, // b.ne               --+   |
    0xb900_0003, // str  w3, [x0]            |
    0x17ff_fffb, // b                      --+
];

/// Runs the benchmark, with so many rounds if not the usual number, and in an emulated host of this
/// emulator's where there is no other.
pub fn run(rounds: Option<usize>, emulator: Emulator) -> Result<bool, Error> {
    let rounds = rounds.unwrap_or(ROUNDS);
    host::require(&[CROSS_GCC, "/usr/aarch64-linux-gnu/lib/libc.a"])?;
    let directory = target().join("bench-kvm");
    fs::create_dir_all(&directory)?;
    let writer = directory.join(LINE_WRITER.kernel);
    fs::write(&writer, LINE_WRITER_CODE.map(u32::to_le_bytes).concat())?;
    let mut files = QEMU.files(&directory)?;
    files.push((LINE_WRITER.kernel.to_owned(), writer));
    files.push(("meter".to_owned(), compile_meter(&directory)?));
    let boots = Contender::ALL.len() * CPUS.len() * rounds;
    let starts = (boots + Contender::PEERS.len()) as u64;
    let request = kvm_host::Request {
        limit: Duration::from_secs(LIMIT_EACH * (starts + 1)),
        command: vec!["sh".to_owned(), "-c".to_owned(), script(rounds)],
        files,
        profile: Profile::Dist,
        emulator,
        ..kvm_host::Request::default()
    };
    eprintln!("bench: starts up to {starts} guests; in an emulated host about 10 s each");
    let output = kvm_host::capture(&request)?;
    let mut success = true;
    for cpus in CPUS {
        let table = report::boot(&output, cpus)?;
        print!("{}", table.text);
        success &= table.met;
    }
    print!("{}", report::exit(&output)?);
    Ok(success)
}

/// What runs on the host: all measurements, each with a line before it that says whose it is.
fn script(rounds: usize) -> String {
    let mut text = format!("set -e\n{ASK_PORTABLE}\n");
    let scrub = match host::accelerator("kvm") {
        Ok(()) => ":",
        Err(_) => SCRUB,
    };
    let mut measure = |label: &str, how: &str, contender: Contender, cpus, guest| {
        let name = contender.name();
        let command = contender.command(guest, cpus, MEMORY_MIB);
        let lines = format!(
            "{scrub}\necho {label} {name} {cpus}\ntimeout {LIMIT_EACH} ./meter {how} {command} < /dev/null\n"
        );
        text += &match contender {
            Contender::Portable => format!("if [ \"$model\" = '{PORTABLE}' ]; then\n{lines}fi\n"),
            Contender::Armlet | Contender::Qemu => lines,
        };
    };
    let boot = format!("boot {MARKER} {MEMORY_MIB}");
    for _ in 0..rounds {
        for cpus in CPUS {
            for contender in Contender::ALL {
                measure(report::BOOT, &boot, contender, cpus, LINUX);
            }
        }
    }
    for contender in Contender::PEERS {
        measure(report::EXIT, "exit", contender, 1, LINE_WRITER);
    }
    text
}

/// Compiles the program that measures.
pub fn compile_meter(directory: &Path) -> Result<PathBuf, Error> {
    let program = directory.join("meter");
    let status = Command::new(CROSS_GCC)
        .args(["-static", "-O2", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(workspace().join("xtask/files/meter.c"))
        .status()?;
    if !status.success() {
        return Err(Error::new("xtask/files/meter.c does not compile"));
    }
    Ok(program)
}
