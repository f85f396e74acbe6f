//! The QEMU that emulates the arm64 host.

use super::toolchain;
use crate::error::Error;
use crate::host;
use guests::apt::Apt;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

const QEMU: &str = "qemu-system-aarch64";
const PACKAGE: &str = "qemu-system-arm";
/// The first version with FEAT_EVT.
const RECENT: u32 = 8;
/// Where the backport is unpacked, and the directory of the apt that it comes from.
const TREE: &str = "emulator";
const LISTS: &str = "apt-backports";

/// Which QEMU it is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// The installed one.
    #[default]
    Installed,
    /// One whose `max` has FEAT_EVT, as most server processors since Armv8.5 have: without it KVM has
    /// to trap each read of `CTR_EL0`, of which Linux does 90,000 as it starts. That is the installed
    /// one, or Debian's backport, unpacked and not installed.
    Recent,
}

impl Emulator {
    /// What it is started by. What is downloaded is kept in `directory`.
    pub fn command(self, directory: &Path) -> Result<Command, Error> {
        host::require(&[QEMU])?;
        if self == Self::Installed || version(Command::new(QEMU))? >= RECENT {
            return Ok(Command::new(QEMU));
        }
        let version = version(backport(directory)?)?;
        if version < RECENT {
            // The next time is to see what has come until then.
            for old in [TREE, LISTS] {
                fs::remove_dir_all(directory.join(old))?;
            }
            let found = format!("The backport has version {version}");
            return Err(too_old(&found));
        }
        backport(directory)
    }
}

/// The major version that the program says it has.
fn version(mut program: Command) -> Result<u32, Error> {
    let output = program.arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let unknown = || {
        let why = String::from_utf8_lossy(&output.stderr);
        Error::new(format!("{QEMU} does not say its version: {text}{why}"))
    };
    major(&text).ok_or_else(unknown)
}

/// `QEMU emulator version 7.2.22 (...)`.
fn major(text: &str) -> Option<u32> {
    let version = text.split_once("version ")?.1;
    version.split('.').next()?.parse().ok()
}

fn backport(directory: &Path) -> Result<Command, Error> {
    let (debian, libraries) = toolchain::host_architecture()?;
    let tree = directory.join(TREE);
    if !tree.exists() {
        Apt::open_backports(&directory.join(LISTS), debian)
            .and_then(|apt| apt.unpack_closure(&[PACKAGE], &tree))
            .map_err(|error| too_old(&format!("The backport could not be had: {error}")))?;
    }
    let libraries = ["usr/lib", "lib"].map(|folder| tree.join(folder).join(libraries));
    let mut command = Command::new(tree.join("usr/bin").join(QEMU));
    command
        .env(
            "LD_LIBRARY_PATH",
            env::join_paths(libraries).map_err(|error| Error::new(error.to_string()))?,
        )
        .arg("-L")
        .arg(tree.join("usr/share/qemu"));
    Ok(command)
}

fn too_old(found: &str) -> Error {
    Error::new(format!(
        "an emulated host with FEAT_EVT takes {QEMU} of version {RECENT} or later; install one, or do \
         without (`bench kvm --installed`, or `kvm-host` without --recent). {found}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read() {
        assert_eq!(
            major("QEMU emulator version 7.2.22 (Debian 1:7.2)\n"),
            Some(7)
        );
        assert_eq!(major("QEMU emulator version 10.0.2\nCopyright"), Some(10));
        assert_eq!(major("no"), None);
    }
}
