//! What a guest does after it has booted: checks itself, plugs CPUs, reboots, crashes, idles.

use armlet_tests::guest::Setup;
use armlet_tests::{or_skip, skip::does_not_apply};
use guests::Kernel;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

const KERNEL: Kernel = Kernel::V6_12Cloud;

#[test]
fn the_guest_finds_itself_in_order() {
    let log = or_skip!("self-check", Setup::new(KERNEL, "check"))
        .cpus(2)
        .run();
    let result = log
        .iter()
        .find(|line| line.contains("ARMLET-CHECK"))
        .expect("a result");
    assert!(result.ends_with("8 of 8"), "{result}");
}

#[test]
fn a_cpu_goes_offline_and_comes_back() {
    for cpus in [2, 4] {
        let log = or_skip!("CPU hotplug", Setup::new(KERNEL, "hotplug"))
            .cpus(cpus)
            .run();
        assert_eq!(
            log.iter()
                .filter(|line| line.contains("ARMLET-HOTPLUG"))
                .count(),
            3
        );
    }
}

#[test]
fn a_reboot_comes_up_again() {
    for cpus in [1, 4] {
        let mut guest = or_skip!("reboot", Setup::new(KERNEL, "ask"))
            .cpus(cpus)
            .reboots()
            .start();
        for _ in 0..2 {
            guest.expect("ARMLET-ASK");
            guest.send("reboot");
            guest.expect("reboot: Restarting system");
        }
        guest.expect("ARMLET-ASK");
        guest.send("poweroff");
        let log = guest.end_well();
        let boots = log
            .iter()
            .filter(|line| line.contains("ARMLET-INIT"))
            .count();
        assert_eq!(boots, 3, "the first boot and two more");
    }
}

#[test]
fn a_reboot_ends_the_guest_where_asked_to() {
    let mut guest = or_skip!("--no-reboot", Setup::new(KERNEL, "reboot")).start();
    guest.expect("ARMLET-INIT");
    guest.expect("reboot: Restarting system");
    assert!(
        guest.ends_within(Duration::from_secs(20)),
        "it goes on after a reset"
    );
}

#[test]
fn input_reaches_the_guest_whole() {
    let mut guest = or_skip!("console input", Setup::new(KERNEL, "ask")).start();
    guest.expect("ARMLET-ASK");
    // Longer than any FIFO of a UART.
    let long = "x".repeat(200);
    guest.send(&format!("say {long}"));
    guest.expect(&format!("ARMLET-SAY {long}"));
    guest.send("poweroff");
    assert!(!guest.end_well().is_empty());
}

#[test]
fn an_idle_guest_costs_next_to_nothing() {
    const TEST: &str = "idle cost";
    let mut guest = or_skip!(TEST, Setup::new(KERNEL, "idle")).cpus(4).start();
    guest.expect("ARMLET-IDLE-BEGIN");
    // What the boot left to do is done by then.
    sleep(Duration::from_secs(3));
    let Some(before) = processor_seconds(guest.process()) else {
        return does_not_apply(
            TEST,
            "this system does not tell the processor time of another process",
        );
    };
    let begun = Instant::now();
    sleep(Duration::from_secs(20));
    let after = processor_seconds(guest.process()).expect("told before");
    let share = (after - before) / begun.elapsed().as_secs_f64();
    eprintln!(
        "idle guest with 4 CPUs: {:.2}% of a host core",
        share * 100.0
    );
    assert!(
        share < 0.03,
        "an idle guest takes {:.1}% of a host core",
        share * 100.0
    );
    guest.expect("ARMLET-IDLE-END");
    assert!(!guest.end_well().is_empty());
}

/// The processor time a process has used, from Linux's /proc.
fn processor_seconds(process: u32) -> Option<f64> {
    /// Linux counts in hundredths there on every machine.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything; fields 14 and 15 are 12 and 13 after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
