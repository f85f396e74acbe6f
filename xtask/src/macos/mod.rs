//! `cargo xtask macos [PACKAGE...]`: builds and signs programs for Macs with Apple silicon.
//!
//! On a Mac with its own tools. On Linux everything a Mac has is replaced: the standard library is
//! compiled from its source, the frameworks are lists of names ([`stubs`]), Zig links, and [`sign`]
//! writes the signature that `codesign --sign -` would. Either way the program carries the
//! entitlement without which macOS refuses to make a VM, and [`inspect`] reads it back and checks
//! what no compiler checks.

mod inspect;
mod sign;
mod stubs;
mod toolchain;

use crate::command::{cargo, target, workspace};
use crate::error::Error;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest macOS that the programs start on.
pub const OLDEST_MACOS: (u16, u8) = (13, 0);
const TRIPLE: &str = "aarch64-apple-darwin";
/// Packages with a program for Macs, and the program's name.
const PROGRAMS: [(&str, &str); 2] = [("armlet", "armlet"), ("hvf-probe", "armlet-hvf-probe")];

/// Builds, signs and inspects all programs, or those of the packages named.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let wanted = wanted(arguments)?;
    for program in build(&wanted)? {
        let facts = inspect::inspect(&fs::read(&program)?)?;
        println!("{}\n{facts}", program.display());
        let faults = facts.faults(&stubs::symbols()?);
        for fault in &faults {
            eprintln!("{}: {fault}", program.display());
        }
        if !faults.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

type Program = (&'static str, &'static str);

fn wanted(arguments: &[String]) -> Result<Vec<Program>, Error> {
    if arguments.is_empty() {
        return Ok(PROGRAMS.to_vec());
    }
    let find = |name: &String| {
        let found = PROGRAMS.iter().find(|(package, _)| package == name);
        let names = PROGRAMS.map(|(package, _)| package).join(", ");
        found
            .copied()
            .ok_or_else(|| Error::new(format!("no program for Macs in {name}; there are: {names}")))
    };
    arguments.iter().map(find).collect()
}

/// Builds and signs, and returns the programs.
fn build(wanted: &[Program]) -> Result<Vec<PathBuf>, Error> {
    let entitlements = entitlements();
    let natively = env::consts::OS == "macos";
    let directory = if natively {
        build_natively(wanted)?
    } else {
        build_across(wanted)?
    };
    let mut programs = Vec::new();
    for (_, name) in wanted {
        let program = directory.join(name);
        if natively {
            sign_natively(&program, &entitlements)?;
        } else {
            let signed = sign::sign(&fs::read(&program)?, name, &fs::read(&entitlements)?)?;
            replace(&program, &signed)?;
        }
        programs.push(program);
    }
    Ok(programs)
}

fn packages(wanted: &[Program]) -> impl Iterator<Item = &'static str> {
    wanted
        .iter()
        .flat_map(|(package, _)| ["--package", package])
}

fn oldest_macos() -> String {
    let (major, minor) = OLDEST_MACOS;
    format!("{major}.{minor}")
}

fn build_natively(wanted: &[Program]) -> Result<PathBuf, Error> {
    let status = cargo()
        .args(["build", "--release", "--target", TRIPLE])
        .args(packages(wanted))
        .env("MACOSX_DEPLOYMENT_TARGET", oldest_macos())
        .status()?;
    built(status.success(), &target())
}

fn build_across(wanted: &[Program]) -> Result<PathBuf, Error> {
    let directory = target().join("macos");
    fs::create_dir_all(&directory)?;
    let tools = toolchain::make(&directory)?;
    let build = directory.join("build");
    let libraries = tools.stubs.display();
    let status = cargo()
        .args(["build", "--release", "--target", TRIPLE])
        .arg("-Zbuild-std=std,panic_abort")
        .args(packages(wanted))
        .env("RUSTC", &tools.rustc)
        // The compiler is a stable one; the flag above is the only thing that asks for more.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &build)
        .env("MACOSX_DEPLOYMENT_TARGET", oldest_macos())
        // There is no SDK; without this the compiler looks for one and warns.
        .env("SDKROOT", &tools.stubs)
        .env("CARGO_TARGET_AARCH64_APPLE_DARWIN_LINKER", &tools.linker)
        .env(
            "CARGO_TARGET_AARCH64_APPLE_DARWIN_RUSTFLAGS",
            format!("-C linker-flavor=gcc -L framework={libraries} -L native={libraries}"),
        )
        // Stripping and splitting debug information are the work of tools that only Macs have.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .status()?;
    built(status.success(), &build)
}

fn built(success: bool, target: &Path) -> Result<PathBuf, Error> {
    if !success {
        let line = "the programs do not build for macOS; cargo says why above";
        return Err(Error::new(line));
    }
    Ok(target.join(TRIPLE).join("release"))
}

/// Lets a program make VMs, if this is a Mac: elsewhere no program needs a signature.
pub fn sign_here(program: &Path) -> Result<(), Error> {
    if env::consts::OS == "macos" {
        sign_natively(program, &entitlements())?;
    }
    Ok(())
}

fn entitlements() -> PathBuf {
    workspace().join("xtask/files/armlet.entitlements")
}

fn sign_natively(program: &Path, entitlements: &Path) -> Result<(), Error> {
    let status = Command::new("codesign")
        .args(["--sign", "-", "--force", "--entitlements"])
        .args([entitlements, program])
        .status()?;
    if !status.success() {
        let line = format!("codesign refuses {}", program.display());
        return Err(Error::new(line));
    }
    Ok(())
}

/// Replaces a program. It gets a new file, because macOS remembers signatures by file.
fn replace(program: &Path, bytes: &[u8]) -> Result<(), Error> {
    let partial = program.with_extension("signed");
    fs::write(&partial, bytes)?;
    fs::set_permissions(&partial, fs::metadata(program)?.permissions())?;
    fs::rename(partial, program)?;
    Ok(())
}
