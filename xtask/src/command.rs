//! Running programs: cargo, and whatever it builds.

use crate::error::Error;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The top of the checkout.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The cargo that runs us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Builds the `armlet` program for release and returns its path.
pub fn build_armlet() -> Result<PathBuf, Error> {
    let status = cargo()
        .args(["build", "--release", "--package", "armlet"])
        .status()?;
    if !status.success() {
        return Err(Error::new("armlet does not build; cargo says why above"));
    }
    Ok(target().join("release").join("armlet"))
}

/// Builds armlet over the simulator of Hypervisor.framework and returns the path of the program.
pub fn build_simulated_armlet() -> Result<PathBuf, Error> {
    const PROGRAM: &str = "armlet-hvf-sim";
    let status = cargo()
        .args(["build", "--release", "--package", "armlet-tests"])
        .args(["--bin", PROGRAM])
        .status()?;
    if !status.success() {
        return Err(Error::new(format!(
            "{PROGRAM} does not build; cargo says why above"
        )));
    }
    Ok(target().join("release").join(PROGRAM))
}

/// A finished program: whether it succeeded, and the lines it printed.
#[derive(Debug)]
pub struct Finished {
    /// Exit status 0.
    pub success: bool,
    /// Standard output, line by line.
    pub lines: Vec<String>,
}

/// Runs `command`, showing its standard output as it comes, and ends it after `limit`.
pub fn watch(command: &mut Command, limit: Duration) -> Result<Finished, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(format!("cannot run {program}: {error}")))?;
    let output = child
        .stdout
        .take()
        .ok_or_else(|| Error::new("no output pipe"))?;
    let reader = std::thread::spawn(move || {
        let mut lines = Vec::new();
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .is_ok_and(|count| count > 0)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            println!("{text}");
            lines.push(text);
            line.clear();
        }
        lines
    });
    let success = wait(&mut child, limit)?;
    let lines = reader
        .join()
        .map_err(|_| Error::new("the output reader failed"))?;
    Ok(Finished { success, lines })
}

/// Waits for `child` up to `limit`; then ends it, which counts as failure.
pub fn wait(child: &mut Child, limit: Duration) -> Result<bool, Error> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if start.elapsed() > limit {
            eprintln!("no end after {} s: stopped", limit.as_secs());
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_line_by_line() {
        let finished = watch(
            Command::new("sh").args(["-c", "echo a; printf 'b\\r\\n'; exit 1"]),
            Duration::from_secs(20),
        )
        .expect("sh runs");
        assert!(!finished.success);
        assert_eq!(finished.lines, ["a", "b"]);
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let finished =
            watch(Command::new("sleep").arg("60"), Duration::from_millis(100)).expect("sleep runs");
        assert!(!finished.success);
    }
}
