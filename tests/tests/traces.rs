//! Exits recorded on KVM get the same answers from the VMM here, without KVM.
//!
//! The traces are the files of `tests/traces`; `cargo xtask traces` records them anew.

use std::fs;
use std::path::Path;

use armlet_tests::program::Scratch;
use armlet_tests::trace::{Trace, differences, replay};

fn recorded(name: &str) -> Trace {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let text = fs::read_to_string(directory.join(format!("{name}.trace"))).expect("a trace");
    text.parse().expect("well formed")
}

fn replays(name: &str) {
    let trace = recorded(name);
    let scratch = Scratch::new(name);
    // Nothing runs of it: `b .`
    let kernel = scratch.file("kernel", &0x1400_0000_u32.to_le_bytes());
    let replayed = replay(&trace, Path::new(&kernel));
    let found = differences(&trace, &replayed);
    assert!(
        found.is_empty(),
        "{}\n{:?}",
        found.join("\n"),
        replayed.outcome
    );
}

#[test]
fn a_guest_that_reads_its_devices_gets_the_same_answers() {
    replays("devices");
}

#[test]
fn the_lives_of_a_vcpu_go_the_same_way() {
    replays("psci");
}

#[test]
fn the_beginning_of_a_linux_boot_gets_the_same_answers() {
    replays("linux");
}

#[test]
fn another_answer_is_noticed() {
    let trace: Trace = "cpus 1\nmemory 64M\n0 read 9000018 4 data 1234\n"
        .parse()
        .unwrap();
    let scratch = Scratch::new("other");
    let kernel = scratch.file("kernel", &0x1400_0000_u32.to_le_bytes());
    let found = differences(&trace, &replay(&trace, Path::new(&kernel)));
    assert_eq!(found.len(), 1, "{found:?}");
}
