//! The probe for Macs asks its questions right: over the simulator, whose answers are known.
//!
//! What the simulator answers says nothing about Macs. That a question gets the simulator's answer
//! says that the probe would have got a Mac's.

use std::sync::Mutex;

use hvf_probe::Options;
use hvf_sim::Profile;
use serde_json::{Value, json};

/// The process has one simulator.
static MAC: Mutex<()> = Mutex::new(());

fn report(profile: Profile, kicks: u32) -> Value {
    let _mac = MAC
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let options = Options {
        kicks,
        sleep_seconds: 0,
    };
    let report = hvf_probe::report(hvf_sim::install(profile), &options);
    // It breaks rules to see what happens; the simulator notes that.
    let _ = hvf_sim::take_violations();
    report
}

/// What the report has there; nothing, if it has nothing.
fn at<'a>(report: &'a Value, path: &str) -> &'a Value {
    report.pointer(path).unwrap_or(&Value::Null)
}

#[test]
fn every_question_is_answered_on_every_mac() {
    for profile in [Profile::M1_13, Profile::M2_15, Profile::M4_26] {
        let report = report(profile, 500);
        for (path, expected) in [
            ("/interrupts/input 0/exception", json!("vector 0x280")),
            ("/interrupts/input 1/exception", json!("vector 0x300")),
            ("/calls/hvc #7/pc_advanced_by", json!(4)),
            ("/calls/smc #7/pc_advanced_by", json!(0)),
            ("/calls/wfi/pc_advanced_by", json!(0)),
            ("/calls/hvc #0 with x0 = 0xc1000000/x0", json!("0xffffffff")),
            ("/clocks/guest_frequency", json!(24_000_000)),
            ("/memory_without_mmu/guest_missed", json!(0)),
            ("/memory_without_mmu/host_missed", json!(0)),
            ("/kicks/lost", json!(0)),
            ("/kicks/kick_before_the_first_entry/then/reason", json!(0)),
            ("/return_codes/vcpu without a VM", json!("HV_NO_DEVICE")),
            ("/return_codes/within a VM/a second VM", json!("HV_BUSY")),
            (
                "/return_codes/within a VM/register 35",
                json!("HV_BAD_ARGUMENT"),
            ),
            ("/return_codes/within a VM/end", json!("all undone")),
        ] {
            assert_eq!(at(&report, path), &expected, "{path} of {profile:?}");
        }
        let vector = at(&report, "/simd_register/set");
        assert_eq!(at(&report, "/simd_register/guest_reads"), vector);
        assert_eq!(at(&report, "/simd_register/reads_back"), vector);
    }
}

#[test]
fn accesses_show_which_syndromes_are_whole() {
    let report = report(Profile::M2_15, 0);
    let valid = |name: &str| {
        let syndrome = at(&report, &format!("/accesses_to_nothing/{name}/syndrome"));
        let text = syndrome.as_str().and_then(|text| text.strip_prefix("0x"));
        let number = u64::from_str_radix(text.expect("hexadecimal"), 16).expect("hexadecimal");
        number >> 24 & 1 == 1
    };
    for name in ["ldr x1, [x0]", "ldrsb w1, [x0]", "str wzr, [x0]"] {
        assert!(valid(name), "{name}");
    }
    for name in ["ldr x1, [x0], #8", "ldp x1, x2, [x0]", "ldr q1, [x0]"] {
        assert!(!valid(name), "{name}");
    }
}

#[test]
fn clocks_run_together() {
    let report = report(Profile::M1_13, 0);
    let host = at(&report, "/clocks/host_ticks_passed")
        .as_u64()
        .expect("a number");
    let guest = at(&report, "/clocks/guest_counts_passed")
        .as_u64()
        .expect("a number");
    // 200 ms at 24 MHz were slept; the machine may be slow, but both saw that.
    assert!(host >= 4_000_000, "{host}");
    assert!(
        guest >= 4_000_000 && guest.abs_diff(host) < host / 2,
        "{guest} of {host}"
    );
}

#[test]
fn a_mac_that_refuses_gives_a_report_of_refusals() {
    let report = report(Profile::NO_ENTITLEMENT, 10);
    assert_eq!(at(&report, "/kicks/refused"), "HV_DENIED");
    assert_eq!(at(&report, "/clocks/refused"), "HV_DENIED");
}
