//! What a user reads of `armlet` on Macs that cannot do what is asked: one line that says what is the
//! matter and what to do.

use std::path::Path;
use std::time::Duration;

use armlet_tests::program::{Outcome, Scratch, run};

/// `armlet` on a simulated Mac.
const PROGRAM: &str = env!("CARGO_BIN_EXE_armlet-hvf-sim");
const LIMIT: Duration = Duration::from_secs(60);
/// Usage or input errors end with this.
const BAD_INPUT: i32 = 2;
/// Failures of the host do.
const HOST: i32 = 4;

/// An arm64 Image (Linux's Documentation/arch/arm64/booting.rst) that does nothing, for ever.
fn idle_image() -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    image[..4].copy_from_slice(&0x1400_0000_u32.to_le_bytes());
    image[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
    image[24..32].copy_from_slice(&0b1010_u64.to_le_bytes());
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// What `armlet run` says on the Mac, and how it ends. It has to say one line.
fn refused(mac: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let scratch = Scratch::new("refused-by-a-mac");
    let kernel = scratch.file("kernel", &idle_image());
    let mac = format!("ARMLET_HVF_SIM={mac}");
    let start = [&mac, PROGRAM, "run", "--accel", "hvf", "--kernel", &kernel];
    let arguments = [&start[..], arguments].concat();
    let outcome = run(Path::new("/usr/bin/env"), &arguments, LIMIT);
    let Outcome { status, stderr, .. } = outcome;
    assert_eq!(stderr.trim().lines().count(), 1, "{mac}: {stderr:?}");
    (status, stderr)
}

#[test]
fn a_mac_that_runs_no_guests_says_why() {
    for (mac, said) in [
        (
            "no-entitlement",
            ["com.apple.security.hypervisor", "codesign"],
        ),
        ("no-hypervisor", ["kern.hv_support", "--accel soft"]),
        ("intel", ["Apple Silicon", "--accel soft"]),
        ("m1-12", ["macOS 12.6.1", "macOS 13 or newer"]),
        ("m4-26-wrong-hz", ["1000000000", "please report"]),
        ("m1-13,fail-map=1", ["hv_vm_map", "HV_NO_RESOURCES"]),
        ("m1-13,unknown=1", ["does not end", "--accel soft"]),
    ] {
        let (status, line) = refused(mac, &[]);
        assert_eq!(status, Some(BAD_INPUT), "{mac}: {line}");
        for word in said {
            assert!(line.contains(word), "{mac}: no {word} in {line}");
        }
    }
}

#[test]
fn a_machine_that_the_mac_cannot_hold_says_what_to_do() {
    for (mac, arguments, said) in [
        ("m1-13", ["--memory", "100G"], "63 GiB at most"),
        ("m2-15", ["--cpus", "65"], "64"),
    ] {
        let (status, line) = refused(mac, &arguments);
        assert_eq!(status, Some(BAD_INPUT), "{mac}: {line}");
        assert!(line.contains(said), "{mac}: no {said} in {line}");
    }
}

#[test]
fn memory_that_the_host_cannot_map_is_its_failure() {
    // The first is mapped to ask a guest for its clock.
    let (status, line) = refused("m2-15,fail-map=2", &[]);
    assert_eq!(status, Some(HOST), "{line}");
    assert!(line.contains("hv_vm_map"), "{line}");
}
