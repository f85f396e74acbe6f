//! Runs `cargo test` and counts what it says.
//!
//! A test that finds it cannot run passes as far as Rust's test harness knows. It tells us through
//! the file that [`SKIP_LOG`] names: a line `name<TAB>reason` for each, see `armlet-tests`.

use super::Tally;
use crate::command::{cargo, target, watch};
use crate::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The environment variable that names the file of skipped tests.
const SKIP_LOG: &str = "ARMLET_SKIP_LOG";

/// No step takes this long; one that does hangs.
const LIMIT: Duration = Duration::from_secs(45 * 60);

/// Runs `cargo test` with `arguments` and `environment`.
pub fn run(arguments: &[&str], environment: &[(&str, &Path)]) -> Result<Tally, Error> {
    let log = target().join("skipped-tests");
    fs::create_dir_all(target())?;
    fs::write(&log, "")?;
    let mut command = cargo();
    command
        .arg("test")
        .args(arguments)
        .env(SKIP_LOG, &log)
        .envs(environment.iter().copied());
    let finished = watch(&mut command, LIMIT)?;
    let skipped = fs::read_to_string(&log)?;
    Ok(count(&finished.lines, &skipped, finished.success))
}

/// What the output of test programs and their log of skips come to.
pub fn count(lines: &[String], skip_log: &str, success: bool) -> Tally {
    let mut tally = Tally::default();
    for line in lines {
        if let Some(summary) = line.strip_prefix("test result: ") {
            tally.passed += number_before(summary, " passed");
            tally.failed += number_before(summary, " failed");
        } else if let Some((name, reason)) = ignored(line) {
            tally.skipped.push((name.to_owned(), reason.to_owned()));
        }
    }
    for line in skip_log.lines() {
        let (name, reason) = line.split_once('\t').unwrap_or((line, "no reason given"));
        tally.skipped.push((name.to_owned(), reason.to_owned()));
        // It counted as passed above.
        tally.passed = tally.passed.saturating_sub(1);
    }
    // A crate that does not build, or a test process that dies, has no line of its own.
    if !success && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// `7` from `ok. 7 passed; ...` for ` passed`.
fn number_before(summary: &str, word: &str) -> usize {
    summary
        .split(word)
        .next()
        .and_then(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// The name and reason from `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, rest.strip_prefix(", ").unwrap_or("marked #[ignore]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn results_of_all_crates_add_up() {
        let output = lines(
            "test a::b ... ok\n\
             test slow ... ignored, takes hours\n\
             test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
             test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        );
        let tally = count(&output, "boot on kvm\tno /dev/kvm\n", false);
        assert_eq!(
            (tally.passed, tally.failed),
            (14, 2),
            "the skipped one had passed"
        );
        let skipped = [("slow", "takes hours"), ("boot on kvm", "no /dev/kvm")]
            .map(|(name, reason)| (name.to_owned(), reason.to_owned()));
        assert_eq!(tally.skipped, skipped);
    }

    #[test]
    fn a_crate_that_does_not_build_is_a_failure() {
        assert_eq!(count(&[], "", false).failed, 1);
    }
}
