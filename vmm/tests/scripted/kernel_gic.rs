//! The composed machine on a host whose kernel provides the interrupt controller.

use aarch64::gic::v2m;
use aarch64::machine::{GICD, GICV2M, GICV2M_SPIS, UART, UART_INTID};
use aarch64::psci::id;
use aarch64::{Gpa, Intid, Size, VcpuId};
use hv_backend::api::{Exit, Resume};
use hv_backend::scripted::{GicEvent, Script, Scripted, Step};
use vmm::machine::Machine;
use vmm::outcome::Outcome;

use crate::harness::{call, now, power_off};
use crate::machine::Files;

const RESET: [u64; 4] = [id::SYSTEM_RESET as u64, 0, 0, 0];
/// The UART's interrupt mask.
const UART_IMSC: u64 = 0x38;

fn store(script: Script, gpa: u64, data: u64) -> Script {
    script.exit(Exit::MmioWrite {
        gpa: Gpa(gpa),
        size: Size::W,
        data,
    })
}

fn run(test: &str, scripts: Vec<Script>) -> (Scripted, Outcome) {
    let scripted = Scripted::new(scripts, now).with_kernel_gic();
    let outcome = run_on(&scripted, test, 2);
    (scripted, outcome)
}

fn run_on(scripted: &Scripted, test: &str, cpus: u16) -> Outcome {
    let mut config = Files::new(test).config(false);
    config.cpus = cpus.to_string().parse().unwrap();
    Machine::on(scripted, config).unwrap().run().unwrap()
}

#[test]
fn wires_and_msis_reach_the_kernel() {
    // The transmitter of a UART is ready at once; a guest that listens to it is interrupted.
    let script = store(Script::new(), UART.base.0 + UART_IMSC, 1 << 5);
    let script = store(script, UART.base.0, 0x21);
    let script = store(script, UART.base.0 + UART_IMSC, 0);
    let msi = Intid::spi(GICV2M_SPIS.0 + 3);
    let script = store(script, GICV2M.base.0 + v2m::SETSPI, msi.0.into());
    let (scripted, outcome) = run("kernel-wires", vec![power_off(script), Script::new()]);
    assert_eq!(outcome, Outcome::PoweredOff);
    let edges = |intid| {
        let level = |event| match event {
            GicEvent::Spi(of, high) if of == intid => Some(high),
            GicEvent::Spi(..)
            | GicEvent::Save
            | GicEvent::Restore
            | GicEvent::Reset
            | GicEvent::Interface(_) => None,
        };
        let log = scripted.kernel_gic().unwrap().log();
        log.into_iter().filter_map(level).collect::<Vec<_>>()
    };
    assert_eq!(edges(UART_INTID), [true, false]);
    assert_eq!(edges(msi), [true, false]);
}

#[test]
fn the_frames_of_the_kernel_are_not_the_vmms() {
    let gpa = GICD.base;
    let read = Exit::MmioRead { gpa, size: Size::W };
    let script = power_off(Script::new().exit(read));
    let (scripted, _) = run("kernel-frames", vec![script, Script::new()]);
    assert!(scripted.resumes(VcpuId(0)).contains(&Resume::ExternalAbort));
}

#[test]
fn a_reset_of_the_machine_resets_it_once() {
    let script = power_off(call(Script::new(), RESET));
    let (scripted, outcome) = run("kernel-reset", vec![script, Script::new()]);
    assert_eq!(outcome, Outcome::PoweredOff);
    // The devices have let go of their wires by then, which the reset leaves as they are.
    let log = scripted.kernel_gic().unwrap().log();
    let (last, before) = log.split_last().unwrap();
    assert_eq!(*last, GicEvent::Reset);
    let lowered = |event: &GicEvent| matches!(event, GicEvent::Spi(_, false));
    assert!(before.iter().all(lowered), "{before:?}");
}

#[test]
fn a_vcpu_that_turns_off_leaves_its_interface_at_reset() {
    let on = [
        u64::from(id::CPU_ON) | 1 << 30,
        1,
        aarch64::machine::RAM_BASE.0,
        0,
    ];
    // vCPU 0 computes on until the other one, turned off, is followed by its own time running out.
    let first = call(Script::new(), on).then(Step::UntilKicked);
    let second = call(Script::new(), [id::CPU_OFF.into(), 0, 0, 0]);
    let scripted = Scripted::new(vec![first, second], now).with_kernel_gic();
    let mut config = Files::new("kernel-off").config(false);
    config.cpus = "2".parse().unwrap();
    let machine = Machine::on(&scripted, config).unwrap();
    let control = machine.control();
    let ended = std::thread::spawn(move || machine.run());
    let gic = scripted.kernel_gic().unwrap();
    while gic.log().is_empty() {
        std::thread::yield_now();
    }
    assert!(control.end(Outcome::Left));
    assert_eq!(ended.join().unwrap(), Ok(Outcome::Left));
    assert_eq!(gic.log(), [GicEvent::Interface(VcpuId(1))]);
}

#[test]
fn a_machine_whose_kernel_refuses_the_reset_ends_with_the_reason() {
    let script = power_off(call(Script::new(), RESET));
    let scripted = Scripted::new(vec![script], now).with_kernel_gic();
    scripted
        .kernel_gic()
        .unwrap()
        .fail("the kernel is out of sorts");
    let Outcome::HostFailed(line) = run_on(&scripted, "kernel-refuses", 1) else {
        panic!("it went on")
    };
    assert!(line.contains("out of sorts"), "{line}");
}
