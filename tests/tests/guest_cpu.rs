//! The processor that a Linux guest finds: with the model `portable`, the same on every accelerator.

use armlet_tests::guest::Setup;
use armlet_tests::program::{armlet, run};
use armlet_tests::{accelerator_name, or_skip, skip::skip};
use guests::Kernel;
use std::env;
use std::time::Duration;

/// Linux's names for what `portable` has. `evtstrm` and `cpuid` are the kernel's own.
const FEATURES: &str = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid \
                        asimdrdm lrcpc dcpop asimddp";

#[test]
fn linux_finds_the_features_of_the_model_portable() {
    let test = "features of the processor";
    let setup = or_skip!(test, Setup::new(Kernel::V6_12Cloud, "cpu"));
    let program = or_skip!(test, armlet());
    let accel = accelerator_name();
    let doctor = run(&program, &["doctor"], Duration::from_secs(60)).stdout;
    let enforced = format!("{accel}: enforces --cpu portable");
    if env::var_os("ARMLET_TEST_VMM").is_some() || !doctor.contains(&enforced) {
        return skip(
            test,
            &format!("the model cannot be enforced here: {doctor}"),
        );
    }
    let log = setup.cpus(2).run();
    let found: Vec<&str> = log
        .iter()
        .filter_map(|line| line.strip_prefix("ARMLET-CPU "))
        .collect();
    assert_eq!(found, [FEATURES], "one line: all CPUs are the same");
}
