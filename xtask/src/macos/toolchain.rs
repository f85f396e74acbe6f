//! What replaces a Mac's compiler and linker on Linux. Everything lies in a directory of ours.

use super::stubs;
use crate::command::target;
use crate::error::Error;
use crate::host;
use crate::kvm_host::toolchain as linux;
use guests::apt::{self, Apt};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The linker's package in Python's index, which carries Zig with its own list of the names in
/// macOS's C library.
const ZIG: &str = "ziglang==0.17.1";
/// The source of the standard library that belongs to the compiler.
const SOURCE: &str = "rust-web-src";

/// The tools.
#[derive(Debug)]
pub struct Tools {
    pub rustc: PathBuf,
    pub linker: PathBuf,
    /// A directory with stand-ins for libraries.
    pub stubs: PathBuf,
}

/// The tools, made on first use.
pub fn make(directory: &Path) -> Result<Tools, Error> {
    let stubs = directory.join("stubs");
    stubs::write(&stubs)?;
    Ok(Tools {
        rustc: compiler()?,
        linker: linker(directory)?,
        stubs,
    })
}

/// The compiler that also builds for arm64 Linux, with the source of its standard library.
fn compiler() -> Result<PathBuf, Error> {
    let root = target().join("kvm-host").join("rust");
    let rustc = linux::compiler(&root)?;
    let tree = root.join("tree");
    if tree.join("usr/lib/rustlib/src/rust/library/std").exists() {
        return Ok(rustc);
    }
    let apt = Apt::open(&root.join("apt"))?;
    let deb = apt.download(SOURCE, &root.join("debs"))?;
    let partial = root.join("source.partial");
    apt::unpack(&deb, &partial)?;
    fs::remove_dir_all(root.join("debs"))?;
    // Only the library is of use; most of the package is the compiler.
    let library = fs::read_dir(partial.join("usr/src"))?
        .filter_map(|entry| Some(entry.ok()?.path().join("library")))
        .find(|path| path.join("std").exists())
        .ok_or_else(|| Error::new(format!("{SOURCE} holds no standard library")))?;
    fs::create_dir_all(tree.join("usr/lib/rustlib/src/rust"))?;
    fs::rename(library, tree.join("usr/lib/rustlib/src/rust/library"))?;
    fs::remove_dir_all(partial)?;
    Ok(rustc)
}

/// A program that links as a Mac's C compiler does.
fn linker(directory: &Path) -> Result<PathBuf, Error> {
    let wrapper = directory.join("cc");
    if wrapper.exists() {
        return Ok(wrapper);
    }
    host::require(&["/usr/bin/python3", "pip3"])?;
    let packages = directory.join("zig");
    let status = Command::new("python3")
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(["--root-user-action=ignore", "--upgrade", "--target"])
        .arg(&packages)
        .arg(ZIG)
        .status()?;
    let zig = packages.join("ziglang").join("zig");
    if !status.success() || !zig.exists() {
        return Err(Error::new(format!("pip could not install {ZIG}")));
    }
    let text = format!(
        "#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR='{cache}'\nexec '{zig}' cc -target \
         aarch64-macos.{macos} \"$@\"\n",
        cache = directory.join("zig-cache").display(),
        zig = zig.display(),
        macos = super::oldest_macos(),
    );
    let partial = directory.join("cc.partial");
    fs::write(&partial, text)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::rename(partial, &wrapper)?;
    Ok(wrapper)
}
