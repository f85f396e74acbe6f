//! Real programs of a real distribution give the same bytes in the guest as on the host.

use armlet_tests::guest::Setup;
use armlet_tests::program::Scratch;
use armlet_tests::{or_skip, skip::skip};
use guests::{Kernel, Store, USERLAND_SCRIPT};
use std::collections::BTreeMap;
use std::process::Command;

/// The sum of each result, by its name.
type Sums = BTreeMap<String, String>;

fn same_as_the_host(cpus: usize) {
    let test = format!("userland with {cpus} CPUs");
    let initrd = or_skip!(&test, Store::of_checkout().userland());
    let setup = or_skip!(
        &test,
        Setup::with_initrd(Kernel::V6_12Cloud, initrd, "userland")
    );
    let Some(host) = host_sums() else {
        return skip(
            &test,
            "the host lacks openssl, python3, xz or sqlite3 in /usr/bin",
        );
    };
    let log = setup.cpus(cpus).memory_mib(512).run();
    for cpu in 0..cpus {
        assert_eq!(guest_sums(&log, cpu), host, "CPU {cpu}");
    }
}

#[test]
fn programs_compute_the_same_on_one_cpu() {
    same_as_the_host(1);
}

#[test]
fn programs_compute_the_same_on_four_cpus_in_parallel() {
    same_as_the_host(4);
}

/// Runs the script here.
fn host_sums() -> Option<Sums> {
    let scratch = Scratch::new("userland");
    let script = scratch.file("userland.sh", USERLAND_SCRIPT.as_bytes());
    let results = scratch.path().join("results");
    let output = Command::new("sh").arg(script).arg(&results).output().ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let sums = Command::new("sh")
        .args(["-c", "sha256sum *"])
        .current_dir(&results)
        .output()
        .ok()?;
    let text = String::from_utf8(sums.stdout).ok()?;
    text.lines()
        .map(|line| {
            line.split_once("  ")
                .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        })
        .collect()
}

/// What CPU `cpu` of the guest found: lines `ARMLET-SUM cpuN NAME SUM`.
fn guest_sums(log: &[String], cpu: usize) -> Sums {
    let beginning = format!("ARMLET-SUM cpu{cpu} ");
    log.iter()
        .filter_map(|line| line.split_once(&beginning)?.1.split_once(' '))
        .map(|(name, sum)| (name.to_owned(), sum.to_owned()))
        .collect()
}
