//! The steps of the tests, in the order they run.

use super::{Step, Tally, cargo_test, emulated};
use crate::command::{Profile, build_armlet, build_simulated_armlet, cargo, target, workspace};
use crate::error::Error;
use crate::kvm_host::{self, toolchain};
use crate::{host, lint, macos, workflows};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The accelerators the end-to-end tests run on, each if it is there.
pub const ACCELERATORS: [&str; 3] = ["soft", "kvm", "hvf"];

/// The Macs that are simulated on other hosts.
const SIMULATED_MACS: [&str; 3] = ["m1-13", "m2-15", "m4-26"];

/// The Macs of tests that together have to see all.
const MAC_OF: [(&str, &str); 3] = [
    ("guest_boot", "m1-13"),
    ("guest_life", "m2-15"),
    ("guest_state", "m4-26"),
];

/// Tests that simulated Macs on which things go wrong are to pass as well: program, which of its tests,
/// Mac.
const FAULTY_MACS: [(&str, &str, &str); 2] = [
    // Kicks are lost in races: none of those that are promised may be.
    (CONFORMANCE, "kicks", "m4-26,drop-kicks"),
    // Whatever a Mac may do that costs a guest nothing but time.
    (
        "guest_boot",
        "linux_6_12_cloud_boots_with_2",
        "m2-15,drop-kicks,unknown=50,spurious-cancel=7,late-timer=24000",
    ),
];

/// The test program of what all accelerators do alike.
const CONFORMANCE: &str = "conformance";
/// The test program of guests that move between all accelerators of a process.
const MOVES: &str = "moves";

/// All steps.
pub fn all() -> Result<Vec<Step>, Error> {
    let mut steps = vec![
        step("format", || {
            succeeds(cargo().args(["fmt", "--all", "--check"]))
        }),
        step("lint", || lint::run(&[]).map(Tally::one)),
        step("clippy", || {
            let arguments = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ];
            succeeds(cargo().args(arguments))
        }),
        step("clippy of arm64 Linux code", clippy_of_arm64),
        step("unit and property tests", || {
            cargo_test::run(
                &["--workspace", "--exclude", "armlet-tests", "--no-fail-fast"],
                &[],
            )
        }),
        step("documentation", || {
            // Its readers work on the crates: private items belong to it, and may be linked to.
            let flags = "-D warnings -A rustdoc::private-intra-doc-links --document-private-items";
            let arguments = ["doc", "--workspace", "--no-deps", "--quiet"];
            succeeds(cargo().args(arguments).env("RUSTDOCFLAGS", flags))
        }),
    ];
    steps.push(step("fuzz targets", fuzz_targets));
    steps.extend(integration_tests()?);
    steps.push(step("workflows", || workflows::lint().map(Tally::one)));
    steps.push(step("programs for macOS", || {
        macos::run(&[]).map(Tally::one)
    }));
    // Last: it needs a tool that takes minutes to build on a new machine.
    steps.push(step("dependencies", dependencies));
    steps.push(step("advisories", advisories));
    Ok(steps)
}

fn step(name: &str, run: impl Fn() -> Result<Tally, Error> + 'static) -> Step {
    Step::one(name.to_owned(), "host", run)
}

fn succeeds(command: &mut Command) -> Result<Tally, Error> {
    Ok(Tally::one(command.status()?.success()))
}

/// The code that only arm64 Linux has, which clippy on another host does not see.
fn clippy_of_arm64() -> Result<Tally, Error> {
    const NAME: &str = "clippy of arm64 Linux code";
    if host::accelerator("kvm").is_ok() {
        return Ok(Tally::skip(NAME, "this host's own clippy sees that code"));
    }
    match toolchain::tools() {
        Ok(()) => toolchain::clippy(&kvm_host::directory()?, "hv-backend").map(Tally::one),
        Err(why) => Ok(Tally::skip(NAME, why.to_string())),
    }
}

/// Every fuzz target for its share of some minutes; `ARMLET_FUZZ_SECONDS` asks for more.
fn fuzz_targets() -> Result<Tally, Error> {
    const SECONDS: &str = "ARMLET_FUZZ_SECONDS";
    let seconds = std::env::var(SECONDS).unwrap_or_else(|_| "100".to_owned());
    cargo_test::run(
        &[
            "--package",
            "armlet-fuzz",
            "--test",
            "*",
            "--",
            "--nocapture",
        ],
        &[(SECONDS, Path::new(&seconds))],
    )
}

/// One step for each test program of `tests/tests`; those that run guests once per accelerator.
fn integration_tests() -> Result<Vec<Step>, Error> {
    let mut names: Vec<String> = fs::read_dir(workspace().join("tests/tests"))?
        .filter_map(|entry| test_name(&entry.ok()?.path()))
        .collect();
    names.sort();
    let emulate = host::accelerator("kvm").is_err();
    let mut steps = Vec::new();
    for name in names {
        let kind = match name.strip_prefix("guest_") {
            Some(kind) => kind.to_owned(),
            None if [CONFORMANCE, MOVES].contains(&name.as_str()) => name.clone(),
            None => {
                let test = name.clone();
                steps.push(step(&name, move || integration_test(&test, "soft")));
                continue;
            }
        };
        for on in ACCELERATORS {
            if on == "kvm" && emulate && emulated::runs(&name) {
                continue;
            }
            let (test, title) = (name.clone(), format!("{kind} on {on}"));
            steps.push(Step::one(
                title.clone(),
                on,
                move || match host::accelerator(on) {
                    Ok(()) => integration_test(&test, on),
                    Err(reason) => Ok(Tally::skip(&title, reason)),
                },
            ));
        }
        for mac in simulated_macs(&name) {
            let test = name.clone();
            let title = format!("{kind} on a simulated Mac, {mac}");
            let run = move || simulated_test(&test, mac, None);
            steps.push(Step::one(title, "hvf-sim", run));
        }
        steps.extend(faulty_macs(&name, &kind));
    }
    if emulate {
        steps.extend(emulated::steps());
    }
    Ok(steps)
}

/// The test program that cargo makes of an entry of `tests/tests`: a file, or a directory with a
/// `main.rs`.
fn test_name(path: &Path) -> Option<String> {
    let is_test = path.extension().is_some_and(|extension| extension == "rs")
        || path.join("main.rs").exists();
    let name = path.file_stem()?.to_str()?;
    is_test.then(|| name.to_owned())
}

/// The simulated Macs that a test runs on: all, for what accelerators do; one for guests, which take
/// longer. A Mac simulates none.
fn simulated_macs(test: &str) -> Vec<&'static str> {
    if std::env::consts::OS == "macos" {
        Vec::new()
    } else if test == CONFORMANCE {
        SIMULATED_MACS.to_vec()
    } else {
        vec![mac_of(test)]
    }
}

/// The one Mac of a test: as [`MAC_OF`] says, else by the test's name, so that other tests that come
/// and go do not change it.
fn mac_of(test: &str) -> &'static str {
    let given = MAC_OF.into_iter().find(|(name, _)| *name == test);
    let sum: usize = test.bytes().map(usize::from).sum();
    given.map_or(SIMULATED_MACS[sum % SIMULATED_MACS.len()], |(_, mac)| mac)
}

/// The steps of a test on Macs of [`FAULTY_MACS`]. A Mac simulates none.
fn faulty_macs(test: &str, kind: &str) -> Vec<Step> {
    let simulates = std::env::consts::OS != "macos";
    let here = FAULTY_MACS
        .into_iter()
        .filter(|(program, ..)| simulates && *program == test);
    here.map(|(program, some, mac)| {
        let title = format!("{kind} on a simulated Mac, {mac}: {some}");
        let run = move || simulated_test(program, mac, Some(some));
        Step::one(title, "hvf-sim", run)
    })
    .collect()
}

/// Runs one file of `tests/tests`.
fn integration_test(name: &str, accelerator: &str) -> Result<Tally, Error> {
    let armlet = build_armlet(Profile::Release)?;
    let environment = [("ARMLET_ACCEL", Path::new(accelerator))];
    run_integration_test(name, None, &armlet, &environment).map(Tally::of_something)
}

/// Runs one file of `tests/tests`, or those of its tests whose names have `some` in them, on a
/// simulated Mac. That there is none such is a failure.
fn simulated_test(name: &str, mac: &str, some: Option<&str>) -> Result<Tally, Error> {
    let armlet = build_simulated_armlet()?;
    let environment = [
        ("ARMLET_ACCEL", Path::new("hvf")),
        ("ARMLET_HVF_SIM", Path::new(mac)),
    ];
    let tally = run_integration_test(name, some, &armlet, &environment)?;
    if tally == Tally::default() {
        let some = some.unwrap_or_default();
        return Err(Error::new(format!("{name} has no test named {some}")));
    }
    Ok(tally)
}

/// One test at a time: guests are busy enough by themselves, and a Mac gives a process one VM.
fn run_integration_test(
    name: &str,
    some: Option<&str>,
    armlet: &Path,
    environment: &[(&str, &Path)],
) -> Result<Tally, Error> {
    let mut environment = environment.to_vec();
    environment.push(("ARMLET_BIN", armlet));
    let mut arguments = vec!["--release", "--package", "armlet-tests", "--test", name];
    arguments.extend(["--", "--test-threads=1"]);
    arguments.extend(some);
    cargo_test::run(&arguments, &environment)
}

/// Licences, sources and bans of everything we depend on.
fn dependencies() -> Result<Tally, Error> {
    match cargo_deny()? {
        Some(deny) => succeeds(
            Command::new(deny)
                .current_dir(workspace())
                .args(["check", "bans", "licenses", "sources"]),
        ),
        None => Ok(Tally::skip(
            "dependencies",
            "cargo-deny could not be installed",
        )),
    }
}

/// Known holes in what we depend on. The database is fetched, which not every machine can.
fn advisories() -> Result<Tally, Error> {
    let Some(deny) = cargo_deny()? else {
        return Ok(Tally::skip(
            "advisories",
            "cargo-deny could not be installed",
        ));
    };
    let deny = |arguments: &[&str]| -> Result<bool, Error> {
        let mut command = Command::new(&deny);
        Ok(command
            .current_dir(workspace())
            .args(arguments)
            .status()?
            .success())
    };
    if !deny(&["fetch", "db"])? {
        return Ok(Tally::skip(
            "advisories",
            "the advisory database could not be fetched",
        ));
    }
    Ok(Tally::one(deny(&[
        "check",
        "--disable-fetch",
        "advisories",
    ])?))
}

/// The path of cargo-deny, which is built once and kept below the target directory.
fn cargo_deny() -> Result<Option<PathBuf>, Error> {
    let root = target().join("tools");
    let program = root.join("bin/cargo-deny");
    if !program.exists() {
        println!("building cargo-deny (once, some minutes)");
        let status = cargo()
            .args(["install", "cargo-deny", "--locked", "--quiet", "--root"])
            .arg(&root)
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            return Ok(None);
        }
    }
    Ok(Some(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mac_has_guests_and_no_test_changes_its_mac() {
        let macs = MAC_OF.map(|(_, mac)| mac);
        assert!(SIMULATED_MACS.iter().all(|mac| macs.contains(mac)));
        for (test, mac) in MAC_OF {
            assert_eq!(mac_of(test), mac);
        }
        // Written down: another sum would be another choice.
        assert_eq!(mac_of("abc"), SIMULATED_MACS[(97 + 98 + 99) % 3]);
        let here = workspace().join("tests/tests");
        for (test, _) in MAC_OF {
            assert!(here.join(format!("{test}.rs")).exists(), "{test}");
        }
    }
}
