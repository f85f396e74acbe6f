//! Debian's arm64 QEMU, with the libraries it needs, unpacked and not installed.

use crate::error::Error;
use guests::apt::{self, Apt};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PACKAGE: &str = "qemu-system-arm";
const PROGRAM: &str = "qemu-system-aarch64";
/// What the program names as its interpreter.
const LOADER: &str = "ld-linux-aarch64.so.1";
/// Where Debian has libraries, and the program.
const DIRECTORIES: [&str; 3] = [
    "usr/lib/aarch64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/bin",
];

/// The program, its loader and every library it is linked to, as files of the directory `qemu`.
pub fn files(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let tree = directory.join("qemu");
    if !tree.exists() {
        fetch(directory, &tree)?;
    }
    let mut found = BTreeMap::new();
    let mut open = vec![PROGRAM.to_owned(), LOADER.to_owned()];
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let path = locate(&tree, &name)?;
        open.extend(needed(&path)?);
        found.insert(name, path);
    }
    let inside = |(name, path)| (format!("qemu/{name}"), path);
    Ok(found.into_iter().map(inside).collect())
}

/// Downloads the packages and unpacks them to `tree`.
fn fetch(directory: &Path, tree: &Path) -> Result<(), Error> {
    let apt = Apt::open(&directory.join("apt"))?;
    let partial = directory.join("qemu.partial");
    for deb in apt.download_closure(&[PACKAGE])? {
        apt::unpack(&deb, &partial)?;
    }
    fs::rename(&partial, tree)?;
    Ok(())
}

fn locate(tree: &Path, name: &str) -> Result<PathBuf, Error> {
    let missing = || Error::new(format!("{name} is in no package that {PACKAGE} depends on"));
    let paths = DIRECTORIES.map(|directory| tree.join(directory).join(name));
    let mut exist = paths.into_iter().filter(|path| path.exists());
    exist.next().ok_or_else(missing)
}

/// The libraries that a program or library names.
fn needed(path: &Path) -> Result<Vec<String>, Error> {
    let output = Command::new("aarch64-linux-gnu-readelf")
        .args(["--dynamic", "--wide"])
        .arg(path)
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Error::new(format!("cannot run aarch64-linux-gnu-readelf: {error}")))?;
    Ok(names(&String::from_utf8_lossy(&output.stdout)))
}

fn names(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| line.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned());
    lines.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_from_the_table() {
        let table = " 0x0000000000000001 (NEEDED)             Shared library: [libaio.so.1]\n \
                     0x000000000000000e (SONAME)             Library soname: [libx.so]\n \
                     0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(names(table), ["libaio.so.1", "libc.so.6"]);
    }
}
