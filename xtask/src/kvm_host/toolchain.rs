//! Builds `armlet` for arm64 Linux on another machine.
//!
//! Rust's own toolchains come with the standard library of the host only. Debian's security archive
//! carries a compiler new enough, `rustc-web`, with libraries for every architecture. Its packages
//! are unpacked into a directory of ours and run from there, so nothing of the host changes; the C
//! cross compiler, which links, is one of the host's tools.

use crate::command::cargo;
use crate::error::Error;
use crate::host;
use guests::apt::{self, Apt};
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const TRIPLE: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const COMPILER: &str = "rustc-web";
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
pub fn build_armlet(directory: &Path) -> Result<PathBuf, Error> {
    host::require(&[LINKER, "/usr/aarch64-linux-gnu/lib/libc.a"])?;
    let compiler = compiler(&directory.join("rust"))?;
    let target = directory.join("build");
    let status = cargo()
        .args(["build", "--release", "--package", "armlet"])
        .args(["--target", TRIPLE])
        .env("RUSTC", compiler)
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER)
        .env(
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .status()?;
    if !status.success() {
        return Err(Error::new(
            "armlet does not build for arm64; cargo says why above",
        ));
    }
    Ok(target.join(TRIPLE).join("release").join("armlet"))
}

/// The cross compiler, unpacked below `root` on first use.
pub fn compiler(root: &Path) -> Result<PathBuf, Error> {
    let wrapper = root.join("rustc");
    if wrapper.exists() {
        return Ok(wrapper);
    }
    let (debian, libraries) = match env::consts::ARCH {
        "x86_64" => ("amd64", "x86_64-linux-gnu"),
        "aarch64" => ("arm64", "aarch64-linux-gnu"),
        other => {
            let line = format!("no cross compiler is known for {other} hosts");
            return Err(Error::new(line));
        }
    };
    let apt = Apt::open_for(&root.join("apt"), &[debian, "arm64"])?;
    let mut packages = closure(&apt)?;
    packages.insert(ARM64_LIBRARY.to_owned());
    let tree = root.join("tree");
    for package in &packages {
        let deb = apt.download(package, &root.join("debs"))?;
        apt::unpack(&deb, &tree)?;
    }
    fs::remove_dir_all(root.join("debs"))?;
    // The compiler looks for its libraries where a system has them.
    let text = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{tree}/usr/lib/{libraries}:{tree}/lib/{libraries}' \
         exec '{tree}/usr/bin/rustc' \"$@\"\n",
        tree = tree.display(),
    );
    let partial = root.join("rustc.partial");
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(partial, &wrapper)?;
    Ok(wrapper)
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
