//! Tests that do not run: for want of something that this machine could have ([`skip`]), or because
//! what they test is not there to be had ([`does_not_apply`]). Where nothing may be skipped
//! (`ARMLET_REQUIRE`), the first is a failure and the second is not.

use std::env;
use std::fs::OpenOptions;
use std::io::Write;

/// Says that `test` does not run and why. The caller returns; `cargo xtask test` counts it.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIP {test}: {reason}");
    let Some(path) = env::var_os("ARMLET_SKIP_LOG") else {
        return;
    };
    let recorded = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{test}\t{}", reason.replace(['\n', '\t'], " ")));
    assert!(
        recorded.is_ok(),
        "cannot record a skipped test in {}",
        path.display()
    );
}

/// What the reasons of [`does_not_apply`] begin with, here and in `cargo xtask test`.
const NOT_APPLICABLE: &str = "n/a: ";

/// As [`skip`], for what this accelerator or operating system does not have, whatever is installed.
pub fn does_not_apply(test: &str, reason: &str) {
    skip(test, &format!("{NOT_APPLICABLE}{reason}"));
}

/// The value of a `Result`, or else the test is skipped with the error as the reason.
#[macro_export]
macro_rules! or_skip {
    ($test:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(reason) => return $crate::skip::skip($test, &reason.to_string()),
        }
    };
}
