//! Recording traces: which runs, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use aarch64::machine::{GICV2M, GPIO, RTC, UART};
use aarch64::psci::id;
use aarch64::{Size, gic::v2m};
use vmm::config::RawConfig;
use vmm::machine::Machine;
use vmm::outcome::Outcome;

use super::{Log, Observed, Trace};
use crate::bare::accelerator;
use crate::bare::asm::{Asm, Cond, X, XZR};
use crate::program::Scratch;

/// What a recording may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Lines of a recorded boot.
const BOOT_LINES: usize = 3000;
/// Lines that no small program reaches.
const ALL: usize = 10_000;
/// `CPU_ON` and `AFFINITY_INFO` with arguments of 64 bits.
const CPU_ON: u64 = WIDE | id::CPU_ON as u64;
const AFFINITY_INFO: u64 = WIDE | id::AFFINITY_INFO as u64;
const WIDE: u64 = 0x4000_0000;

/// Records every trace that is kept, on the accelerator that the environment names: name and trace
/// of each. `linux` is a kernel.
///
/// # Panics
/// When a machine cannot be made.
#[must_use]
pub fn record_all(linux: &Path) -> Vec<(&'static str, Trace)> {
    let scratch = Scratch::new("traces");
    let flat = |name, asm: &Asm| PathBuf::from(scratch.file(name, &asm.bytes()));
    vec![
        (
            "devices",
            record(&flat("devices", &devices()), 1, "64M", ALL),
        ),
        ("psci", record(&flat("psci", &lives()), 2, "64M", ALL)),
        ("linux", record(linux, 1, "256M", BOOT_LINES)),
    ]
}

fn record(kernel: &Path, cpus: u16, memory: &str, most: usize) -> Trace {
    let log = Arc::new(Log::new(most));
    let observed = Observed::new(accelerator(), log.clone());
    let config = RawConfig {
        kernel: Some(kernel.into()),
        cmdline: Some("console=ttyAMA0 panic=-1".into()),
        cpus: Some(cpus.to_string()),
        memory: Some(memory.into()),
        serial: Some("none".into()),
        no_reboot: Some(true),
        ..RawConfig::default()
    };
    let config = config.try_into().expect("a configuration of ours");
    let machine = Machine::on(&observed, config).expect("a machine");
    let control = machine.control();
    let watcher = {
        let log = log.clone();
        thread::spawn(move || {
            log.wait_for_end(LIMIT);
            // It may have ended by itself.
            control.end(Outcome::Left);
        })
    };
    let outcome = machine.run().expect("it runs");
    log.close();
    watcher.join().expect("it only waits");
    eprintln!(
        "{}: {} lines, {outcome:?}",
        kernel.display(),
        log.lines().len()
    );
    Trace {
        cpus,
        memory: memory.into(),
        lines: log.lines(),
    }
}

/// Reads and writes registers of every device, in every size that it takes, and powers off.
fn devices() -> Asm {
    let (value, base) = (X(0), X(1));
    let mut a = Asm::new();
    for device in [UART, RTC, GPIO] {
        a.mov(base, device.base.0);
        for offset in (0..0x60).step_by(4).chain((0xfe0..0x1000).step_by(4)) {
            a.load(Size::W, value, base, offset);
        }
        a.load(Size::H, value, base, 0xfe0)
            .load(Size::B, value, base, 0xff0);
    }
    a.mov(base, GICV2M.base.0)
        .load(Size::W, value, base, v2m::MSI_TYPER);
    a.mov(base, UART.base.0)
        .mov(value, 0x301)
        .store(Size::W, value, base, 0x30);
    for (letter, size) in b"trace\n"
        .iter()
        .zip([Size::B, Size::H, Size::W].into_iter().cycle())
    {
        a.mov(value, (*letter).into()).store(size, value, base, 0);
        a.load(Size::W, value, base, 0x18);
    }
    a.mov(base, GPIO.base.0)
        .mov(value, 0xff)
        .store(Size::B, value, base, 0x400);
    a.load(Size::W, value, base, 0x400);
    off(&mut a);
    a
}

fn call(a: &mut Asm, x: [u64; 4]) -> &mut Asm {
    for (n, value) in (0..).zip(x) {
        a.mov(X(n), value);
    }
    a.hvc(0)
}

fn off(a: &mut Asm) {
    call(a, [id::SYSTEM_OFF.into(), 0, 0, 0]).stay();
}

/// Waits until the flag at X20 holds `value`.
fn wait_for(a: &mut Asm, value: X) {
    let waiting = a.here();
    a.load(Size::D, X(21), X(20), 0)
        .cmp(X(21), value)
        .b_cond(Cond::Ne, waiting);
}

/// One vCPU asks about PSCI, and turns the other on, twice. Between them is a flag in memory: the
/// second one sets it to what it was started with, and turns itself off when it is one more.
fn lives() -> Asm {
    let mut a = Asm::new();
    let (second, flag) = (a.label(), a.label());
    a.adr(X(20), flag);
    let version = id::VERSION.into();
    for (function, argument) in [
        (version, 0),
        (id::FEATURES.into(), CPU_ON),
        (id::FEATURES.into(), 0x8400_1234),
        (id::MIGRATE_INFO_TYPE.into(), 0),
        (AFFINITY_INFO, 1),
        (AFFINITY_INFO, 0),
        (AFFINITY_INFO, 9),
        (CPU_ON, 9),
        (CPU_ON, 0),
    ] {
        call(&mut a, [function, argument, 0, 0]);
    }
    // The entry is no memory.
    call(&mut a, [CPU_ON, 1, 0x0900_0000, 0]);
    for life in [1, 3] {
        a.mov(X(0), CPU_ON)
            .mov(X(1), 1)
            .adr(X(2), second)
            .mov(X(3), life)
            .hvc(0);
        a.mov(X(22), life);
        wait_for(&mut a, X(22));
        call(&mut a, [AFFINITY_INFO, 1, 0, 0]);
        a.add_imm(X(22), X(22), 1).store(Size::D, X(22), X(20), 0);
        // It has time to turn off.
        a.mov(X(0), 100_000_000);
        let waiting = a.here();
        a.sub_imm(X(0), X(0), 1).cbnz(X(0), waiting);
        call(&mut a, [AFFINITY_INFO, 1, 0, 0]);
    }
    off(&mut a);
    a.place(second)
        .adr(X(20), flag)
        .mov(X(1), UART.base.0)
        .store(Size::B, X(0), X(1), 0);
    a.store(Size::D, X(0), X(20), 0).add_imm(X(0), X(0), 1);
    wait_for(&mut a, X(0));
    call(&mut a, [id::CPU_OFF.into(), 0, 0, 0]).stay();
    if !a.len().is_multiple_of(8) {
        a.nop();
    }
    a.place(flag).word(0).word(0).add(XZR, XZR, XZR);
    a
}
