//! `cargo xtask traces`: records exit traces on real KVM, and keeps them in `tests/traces`.
//!
//! The program `record-traces` of the package `armlet-tests` prints them; it runs where
//! `cargo xtask kvm-host` runs commands. `cargo xtask test` replays what is kept.

use crate::command::{Profile, cargo, target, workspace};
use crate::error::Error;
use crate::host;
use crate::kvm_host::{self, Request, toolchain};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const PROGRAM: &str = "record-traces";
const PACKAGE: &str = "armlet-tests";
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// What comes before each line of a trace.
const MARK: &str = "ARMLET-TRACE ";

/// Records the traces.
pub fn run(_arguments: &[String]) -> Result<bool, Error> {
    let request = Request {
        limit: LIMIT,
        command: ["env", "ARMLET_ACCEL=kvm", &format!("./{PROGRAM}"), "Image"]
            .map(str::to_owned)
            .to_vec(),
        files: vec![(PROGRAM.to_owned(), recorder()?)],
        ..Request::default()
    };
    let traces = sort(&kvm_host::capture(&request)?);
    for (name, trace) in &traces {
        let path = workspace()
            .join("tests/traces")
            .join(format!("{name}.trace"));
        let text = format!("# Recorded on KVM by `cargo xtask traces`.\n{trace}");
        fs::write(&path, text)?;
        println!("{}: {} lines", path.display(), trace.lines().count());
    }
    Ok(!traces.is_empty())
}

/// Builds the recorder for where arm64 KVM is.
fn recorder() -> Result<PathBuf, Error> {
    if host::accelerator("kvm").is_err() {
        return toolchain::build_program(
            &kvm_host::directory()?,
            Profile::Release,
            (PACKAGE, PROGRAM),
        );
    }
    let arguments = ["build", "--release", "--package", PACKAGE, "--bin", PROGRAM];
    if !cargo().args(arguments).status()?.success() {
        return Err(Error::new(
            "the recorder does not build; cargo says why above",
        ));
    }
    Ok(target().join("release").join(PROGRAM))
}

/// Each trace's text by its name.
fn sort(output: &str) -> BTreeMap<String, String> {
    let mut traces: BTreeMap<String, String> = BTreeMap::new();
    for line in output.lines() {
        let marked = line.trim_end().strip_prefix(MARK);
        if let Some((name, line)) = marked.and_then(|rest| rest.split_once(' ')) {
            let trace = traces.entry(name.to_owned()).or_default();
            trace.push_str(line);
            trace.push('\n');
        }
    }
    traces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_lines_are_sorted_by_trace_and_others_left_out() {
        let output = "noise\nARMLET-TRACE a cpus 1\r\nARMLET-TRACE b x\nARMLET-TRACE a y z\n";
        let traces = sort(output);
        let expected = [("a", "cpus 1\ny z\n"), ("b", "x\n")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(traces, BTreeMap::from(expected));
    }
}
