//! `cargo xtask fuzz TARGET`: one fuzz target guided by coverage, by libFuzzer.
//!
//! It needs a C++ compiler, which builds libFuzzer, but no nightly toolchain: the flags that make
//! the compiler count coverage are those of `cargo fuzz`, without its sanitizers.

use crate::command::{cargo, target, workspace};
use crate::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// How the compiler counts coverage for libFuzzer.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs the command. What comes after the target's name is for libFuzzer.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let [name, options @ ..] = arguments else {
        return Err(Error::new(
            "usage: cargo xtask fuzz TARGET [-max_total_time=SECONDS] [INPUT...]",
        ));
    };
    let corpus = target().join("fuzz").join("corpus").join(name);
    fs::create_dir_all(&corpus)?;
    let seeded = cargo()
        .args(["run", "--quiet", "--package", "armlet-fuzz", "--", name])
        .arg("--seeds")
        .arg(&corpus)
        .status()?;
    // The other program has said why: most likely there is no such target.
    if !seeded.success() {
        return Ok(false);
    }
    let host = host()?;
    let built = target().join("libfuzzer");
    let status = cargo()
        .args(["build", "--release", "--target", &host, "--bin", name])
        .arg("--manifest-path")
        .arg(workspace().join("fuzz/libfuzzer/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &built)
        .env("RUSTFLAGS", FLAGS)
        .status()?;
    if !status.success() {
        return Err(Error::new(
            "the target does not build; cargo says why above",
        ));
    }
    let kept = target().join("fuzz").join(format!("{name}-"));
    let program = built.join(host).join("release").join(name);
    let status = Command::new(program)
        .arg(prefix(&kept))
        .args(options)
        .arg(&corpus)
        .status()?;
    Ok(status.success())
}

/// The option that says where inputs are kept that fail.
fn prefix(path: &Path) -> String {
    format!("-artifact_prefix={}", path.display())
}

/// The platform's name. With one given, build scripts are built without the flags.
fn host() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Error::new("rustc -vV does not name its host"))
}
