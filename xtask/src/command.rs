//! Running programs: cargo, and whatever it builds.

use crate::error::Error;
use crate::macos;
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

/// How a program is optimized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Soon built: for tests.
    #[default]
    Release,
    /// As people get it: for measurements.
    Dist,
}

impl Profile {
    /// What cargo calls it, and the directory of what it builds.
    pub fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dist => "dist",
        }
    }
}

/// Builds the `armlet` program and returns its path. On a Mac it may make VMs.
pub fn build_armlet(profile: Profile) -> Result<PathBuf, Error> {
    let status = cargo()
        .args(["build", "--profile", profile.name(), "--package", "armlet"])
        .status()?;
    if !status.success() {
        return Err(Error::new("armlet does not build; cargo says why above"));
    }
    let program = target().join(profile.name()).join("armlet");
    macos::sign_here(&program)?;
    Ok(program)
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// What a Mac's cargo runs programs with, beside a `codesign` that says `shown` of every program
    /// and writes down what it is to sign.
    fn run_signed(name: &str, shown: &str) -> (Finished, String) {
        let directory = env::temp_dir().join(format!("armlet-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let log = directory.join("log");
        let codesign = directory.join("codesign");
        let script = format!(
            "#!/bin/sh\ncase $1 in --display) echo '{shown}' ;; *) echo \"$@\" >> '{}' ;; esac\n",
            log.display()
        );
        fs::write(&codesign, script).expect("a script");
        fs::set_permissions(&codesign, fs::Permissions::from_mode(0o755)).expect("ours");
        let path = env::var("PATH").expect("set");
        let mut command = Command::new(workspace().join("xtask/files/sign-and-run.sh"));
        command
            .args(["/bin/sh", "-c", "echo \"$0\"; exit 3", "a b"])
            .env("PATH", format!("{}:{path}", directory.display()));
        let finished = watch(&mut command, Duration::from_secs(20)).expect("it runs");
        let signed = fs::read_to_string(log).unwrap_or_default();
        fs::remove_dir_all(directory).expect("ours");
        (finished, signed)
    }

    #[test]
    fn programs_on_a_mac_are_signed_once_and_run() {
        let (finished, signed) = run_signed("unsigned", "");
        assert_eq!(
            (finished.success, finished.lines),
            (false, vec!["a b".into()])
        );
        assert!(
            signed.starts_with("--sign - --force --entitlements "),
            "{signed}"
        );
        assert!(
            signed.ends_with("/armlet.entitlements /bin/sh\n"),
            "{signed}"
        );
        let (finished, signed) = run_signed("signed", "com.apple.security.hypervisor");
        assert_eq!(
            (finished.lines, signed),
            (vec!["a b".to_owned()], String::new())
        );
    }

    #[test]
    fn cargo_runs_programs_on_macs_by_that_script() {
        let settings = fs::read_to_string(workspace().join(".cargo/config.toml")).expect("there");
        let runner = "[target.aarch64-apple-darwin]\nrunner = \"xtask/files/sign-and-run.sh\"";
        assert!(settings.contains(runner), "{settings}");
    }

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
