//! Builds `armlet`, and tests, for arm64 Linux on another machine.
//!
//! Rust's own toolchains come with the standard library of the host only. Debian's security archive
//! carries a compiler new enough, `rustc-web`, with libraries for every architecture. Its packages
//! are unpacked into a directory of ours and run from there, so nothing of the host changes; the C
//! cross compiler, which links, is one of the host's tools.

use crate::command::{Profile, cargo, workspace};
use crate::error::Error;
use crate::host;
use guests::apt::{self, Apt};
use serde_json::Value;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TRIPLE: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const COMPILER: &str = "rustc-web";
const CLIPPY: &str = "rust-web-clippy";
const ARM64_LIBRARY: &str = "libstd-rust-web-dev:arm64";
/// What the compiler's packages depend on and every machine that runs Rust has.
const PRESENT: [&str; 6] = [
    "binutils",
    "gcc",
    "libc-dev",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
];

/// Builds `armlet` for arm64 Linux, without shared libraries, and returns its path.
pub fn build_armlet(directory: &Path, profile: Profile) -> Result<PathBuf, Error> {
    build_program(directory, profile, ("armlet", "armlet"))
}

/// Builds a program of one of the packages for arm64 Linux, and returns its path.
pub fn build_program(
    directory: &Path,
    profile: Profile,
    (package, name): (&str, &str),
) -> Result<PathBuf, Error> {
    let profile = profile.name();
    let what = ["--package", package, "--bin", name];
    let arguments = [["build", "--profile", profile].as_slice(), &what].concat();
    if !cross(directory, &arguments)?.status()?.success() {
        return Err(Error::new(format!(
            "{name} does not build for arm64; cargo says why above"
        )));
    }
    Ok(target(directory).join(TRIPLE).join(profile).join(name))
}

/// Builds these test programs of the package `armlet-tests` for arm64 Linux, and returns the path of
/// each.
pub fn build_tests(directory: &Path, names: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let mut arguments = vec!["test", "--no-run", "--release", "--package", "armlet-tests"];
    arguments.extend(names.iter().flat_map(|name| ["--test", name]));
    arguments.push("--message-format=json-render-diagnostics");
    let output = cross(directory, &arguments)?
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(Error::new(
            "the tests do not build for arm64; cargo says why above",
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let built: Vec<(String, PathBuf)> = messages.lines().filter_map(executable).collect();
    let find = |name: &&str| built.iter().find(|(built, _)| built == name);
    let path = |name: &&str| {
        let missing = || Error::new(format!("cargo built no test program {name}"));
        find(name).map(|(_, path)| path.clone()).ok_or_else(missing)
    };
    names.iter().map(path).collect()
}

/// Lints a package's code for arm64 Linux, which the host's own clippy does not see.
pub fn clippy(directory: &Path, package: &str) -> Result<bool, Error> {
    let mut command = cross(directory, &["check", "--all-targets", "--package", package])?;
    let status = command
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            clippy_driver(&directory.join("rust"))?,
        )
        .env("CLIPPY_CONF_DIR", workspace())
        // Clippy's own way to hand arguments through cargo.
        .env(
            "CLIPPY_ARGS",
            "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__",
        )
        .status()?;
    Ok(status.success())
}

/// The name and path of the program that a message of cargo's tells of, if it does.
fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

/// Makes sure of the host's tools that this takes.
pub fn tools() -> Result<(), Error> {
    if env::consts::OS != "linux" {
        return Err(Error::new(
            "cross-building for arm64 Linux needs a Linux host",
        ));
    }
    host::require(&[LINKER, "/usr/aarch64-linux-gnu/lib/libc.a"])
}

/// A command of cargo's for arm64 Linux.
fn cross(directory: &Path, arguments: &[&str]) -> Result<Command, Error> {
    tools()?;
    let mut command = cargo();
    command
        .args(arguments)
        .args(["--target", TRIPLE])
        .env("RUSTC", compiler(&directory.join("rust"))?)
        .env("CARGO_TARGET_DIR", target(directory))
        // What runs in an emulated host has to get there first.
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_DIST_STRIP", "symbols")
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        );
    Ok(command)
}

fn target(directory: &Path) -> PathBuf {
    directory.join("build")
}

/// The cross compiler, unpacked below `root` on first use.
pub fn compiler(root: &Path) -> Result<PathBuf, Error> {
    let wrapper = root.join("rustc");
    if wrapper.exists() {
        return Ok(wrapper);
    }
    let apt = open_apt(root)?;
    let mut packages = closure(&apt)?;
    packages.insert(ARM64_LIBRARY.to_owned());
    unpack(&apt, root, packages.iter().map(String::as_str))?;
    wrap(root, "rustc", &wrapper)?;
    Ok(wrapper)
}

/// The linter that belongs to the compiler, unpacked below `root` on first use.
fn clippy_driver(root: &Path) -> Result<PathBuf, Error> {
    let wrapper = root.join("clippy-driver");
    if !wrapper.exists() {
        compiler(root)?;
        unpack(&open_apt(root)?, root, [CLIPPY])?;
        wrap(root, "clippy-driver", &wrapper)?;
    }
    Ok(wrapper)
}

/// The names of this host's architecture: Debian's, and that of its directories of libraries.
pub fn host_architecture() -> Result<(&'static str, &'static str), Error> {
    match env::consts::ARCH {
        "x86_64" => Ok(("amd64", "x86_64-linux-gnu")),
        "aarch64" => Ok(("arm64", "aarch64-linux-gnu")),
        other => {
            let line = format!("no cross compiler is known for {other} hosts");
            Err(Error::new(line))
        }
    }
}

fn open_apt(root: &Path) -> Result<Apt, Error> {
    let (debian, _) = host_architecture()?;
    Ok(Apt::open_for(&root.join("apt"), &[debian, "arm64"])?)
}

/// Downloads packages and unpacks them into our tree.
fn unpack<'a>(
    apt: &Apt,
    root: &Path,
    packages: impl IntoIterator<Item = &'a str>,
) -> Result<(), Error> {
    for package in packages {
        let deb = apt.download(package, &root.join("debs"))?;
        apt::unpack(&deb, &root.join("tree"))?;
    }
    fs::remove_dir_all(root.join("debs"))?;
    Ok(())
}

/// Makes `wrapper` run `program` of our tree, which looks for its libraries where a system has them.
fn wrap(root: &Path, program: &str, wrapper: &Path) -> Result<(), Error> {
    let (_, libraries) = host_architecture()?;
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{tree}/usr/lib/{libraries}:{tree}/lib/{libraries}' \
         exec '{tree}/usr/bin/{program}' \"$@\"\n",
        tree = root.join("tree").display(),
    );
    let partial = wrapper.with_extension("partial");
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(partial, wrapper)?;
    Ok(())
}

/// The compiler's package and those it needs.
fn closure(apt: &Apt) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    let mut open = vec![COMPILER.to_owned()];
    while let Some(package) = open.pop() {
        if PRESENT.contains(&package.as_str()) || !found.insert(package.clone()) {
            continue;
        }
        open.extend(apt.dependencies(&package)?);
    }
    Ok(found)
}
