//! What the host offers, and how to get what it lacks.

use crate::error::Error;
use std::env;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program of the host, and the packages that bring it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The program, looked up in `PATH`; or a file that must exist, if it begins with a slash.
    pub program: &'static str,
    /// Debian's package.
    pub apt: &'static str,
    /// Homebrew's package, if there is one.
    pub brew: Option<&'static str>,
    /// What it is for.
    pub purpose: &'static str,
}

/// What the tests and benchmarks use beyond Rust. All are optional: without one, what needs it is
/// skipped and says so.
pub const TOOLS: [Tool; 15] = [
    tool(
        "qemu-aarch64",
        "qemu-user",
        None,
        "the oracle of the differential tests",
    ),
    tool(
        "qemu-system-aarch64",
        "qemu-system-arm",
        Some("qemu"),
        "the yardstick of the benchmarks",
    ),
    tool(
        "qemu-img",
        "qemu-utils",
        Some("qemu"),
        "reads and makes the disk images of the tests",
    ),
    tool(
        "dtc",
        "device-tree-compiler",
        Some("dtc"),
        "reads device trees back",
    ),
    tool(
        "aarch64-linux-gnu-gcc",
        "gcc-aarch64-linux-gnu",
        None,
        "compiles guest programs",
    ),
    tool(
        "/usr/aarch64-linux-gnu/lib/libc.a",
        "libc6-dev-arm64-cross",
        None,
        "links guest programs",
    ),
    tool(
        "/sbin/mke2fs",
        "e2fsprogs",
        None,
        "makes and checks the guests' file systems",
    ),
    tool(
        "xz",
        "xz-utils",
        Some("xz"),
        "unpacks the modules of guests' kernels",
    ),
    tool(
        "openssl",
        "openssl",
        Some("openssl"),
        "checks the guest's results",
    ),
    tool(
        "/usr/bin/python3",
        "python3",
        Some("python3"),
        "checks the guest's results",
    ),
    tool("node", "nodejs", Some("node"), "lints the workflows"),
    tool(
        "npm",
        "npm",
        Some("node"),
        "fetches the linter of workflows",
    ),
    tool("pip3", "python3-pip", None, "fetches the linker for Macs"),
    tool("xz", "xz-utils", Some("xz"), "checks the guest's results"),
    tool(
        "sqlite3",
        "sqlite3",
        Some("sqlite"),
        "checks the guest's results",
    ),
];

const fn tool(
    program: &'static str,
    apt: &'static str,
    brew: Option<&'static str>,
    purpose: &'static str,
) -> Tool {
    Tool {
        program,
        apt,
        brew,
        purpose,
    }
}

impl Tool {
    /// Whether it is there.
    pub fn present(&self) -> bool {
        if self.program.starts_with('/') {
            return Path::new(self.program).exists();
        }
        find_program(self.program)
    }
}

fn find_program(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// Installs those of `tools` that are missing, as far as this host allows, and returns those that
/// are still missing, and other [`TOOLS`] if their packages got lost on the way.
pub fn ensure(tools: &[Tool]) -> Result<Vec<Tool>, Error> {
    let missing = absent(tools);
    if missing.is_empty() {
        return Ok(missing);
    }
    let present: Vec<Tool> = TOOLS.into_iter().filter(Tool::present).collect();
    if find_program("apt-get") {
        install_with_apt(&missing)?;
        // apt may make room for a package by removing another of a newer version.
        let removed = absent(&present);
        if !removed.is_empty() {
            eprintln!(
                "apt removed packages of tools to make room; they come back as this release has them"
            );
            install_with_apt(&removed)?;
        }
    } else {
        for tool in &missing {
            let hint = tool
                .brew
                .map(|name| format!(": brew install {name}"))
                .unwrap_or_default();
            eprintln!("missing: {} ({}){hint}", tool.program, tool.purpose);
        }
    }
    Ok(absent(&[present, missing].concat()))
}

/// Installs those of these programs of [`TOOLS`] that are missing, and fails if it cannot.
pub fn require(programs: &[&str]) -> Result<(), Error> {
    let wanted = TOOLS.iter().filter(|tool| programs.contains(&tool.program));
    let missing = ensure(&wanted.copied().collect::<Vec<_>>())?;
    let Some(tool) = missing.first() else {
        return Ok(());
    };
    let Tool { program, apt, .. } = tool;
    Err(Error::lack(format!(
        "{program} is missing; install the package {apt}"
    )))
}

fn absent(tools: &[Tool]) -> Vec<Tool> {
    tools
        .iter()
        .copied()
        .filter(|tool| !tool.present())
        .collect()
}

fn install_with_apt(missing: &[Tool]) -> Result<(), Error> {
    let packages: Vec<&str> = missing.iter().map(|tool| tool.apt).collect();
    println!("installing with apt: {}", packages.join(" "));
    let Some(prefix) = root_prefix()? else {
        eprintln!("not root, and sudo is missing or wants a password: cannot install them");
        return Ok(());
    };
    let apt = |arguments: &[&str]| -> Result<bool, Error> {
        let mut words = prefix.iter().copied().chain(["apt-get", "-qq", "--yes"]);
        let program = words.next().ok_or_else(|| Error::new("empty command"))?;
        let mut command = Command::new(program);
        command
            .args(words)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        Ok(command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?
            .success())
    };
    let install = [&["install", "--no-install-recommends"], packages.as_slice()].concat();
    // The lists of a new machine are old or missing; those of a used one are usually good.
    if !(apt(&install)? || apt(&["update"])? && apt(&install)?) {
        eprintln!("apt could not install all of them");
    }
    Ok(())
}

/// What to put before a command that needs root; `None` if root cannot be had.
fn root_prefix() -> Result<Option<Vec<&'static str>>, Error> {
    let id = Command::new("id").arg("-u").output()?;
    if id.stdout.trim_ascii() == b"0" {
        return Ok(Some(Vec::new()));
    }
    if !find_program("sudo") {
        return Ok(None);
    }
    if std::io::stdin().is_terminal() {
        return Ok(Some(vec!["sudo"]));
    }
    let works = Command::new("sudo")
        .args(["-n", "true"])
        .stderr(Stdio::null())
        .status()?;
    Ok(works.success().then(|| vec!["sudo", "-n"]))
}

/// Whether an accelerator can be used here, or why not.
pub fn accelerator(name: &str) -> Result<(), String> {
    let (os, arch) = (env::consts::OS, env::consts::ARCH);
    match name {
        "soft" => Ok(()),
        "kvm" if os != "linux" || arch != "aarch64" => Err(format!(
            "KVM for aarch64 guests needs an arm64 Linux host; this is {arch} {os}"
        )),
        "kvm"
            if std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_err() =>
        {
            Err("/dev/kvm cannot be opened here".to_owned())
        }
        "kvm" => Ok(()),
        "hvf" if os != "macos" || arch != "aarch64" => Err(format!(
            "Hypervisor.framework needs a Mac with Apple silicon; this is {arch} {os}"
        )),
        "hvf" => match Command::new("sysctl")
            .args(["-n", "kern.hv_support"])
            .output()
        {
            Ok(output) if output.stdout.trim_ascii() == b"1" => Ok(()),
            Ok(_) | Err(_) => {
                Err("the system offers no virtualization (kern.hv_support)".to_owned())
            }
        },
        other => Err(format!("there is no accelerator {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_the_path() {
        assert!(find_program("sh"));
        assert!(!find_program("no-such-program"));
        assert!(!tool("/no/such/file", "nothing", None, "").present());
    }

    #[test]
    fn the_software_cpu_is_always_there_and_unknown_names_are_not() {
        assert_eq!(accelerator("soft"), Ok(()));
        assert!(accelerator("xen").is_err());
    }
}
