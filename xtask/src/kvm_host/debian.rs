//! Debian's arm64 programs with the libraries they need, unpacked and not installed: the emulated
//! host has nothing but busybox.
//!
//! A program is started by its loader: `NAME/ld-linux-aarch64.so.1 --library-path NAME NAME/PROGRAM`.

use crate::error::Error;
use guests::apt::Apt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the programs name as their interpreter.
pub const LOADER: &str = "ld-linux-aarch64.so.1";
/// Where Debian has libraries and programs.
const DIRECTORIES: [&str; 7] = [
    "usr/lib/aarch64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu/ceph",
    "usr/bin",
    "bin",
    "usr/sbin",
    "sbin",
];

/// The programs of `packages`, their loader and every library they are linked to, as files of the
/// directory `name`. The packages are unpacked below `directory` once.
pub fn programs(
    directory: &Path,
    name: &str,
    packages: &[&str],
    programs: &[&str],
) -> Result<Vec<(String, PathBuf)>, Error> {
    let tree = directory.join(name);
    if !tree.exists() {
        Apt::open(&directory.join("apt"))?.unpack_closure(packages, &tree)?;
    }
    let mut found = BTreeMap::new();
    let mut open = vec![LOADER.to_owned()];
    open.extend(programs.iter().map(|&program| program.to_owned()));
    while let Some(file) = open.pop() {
        if found.contains_key(&file) {
            continue;
        }
        let path = locate(&tree, &file, packages)?;
        open.extend(needed(&path)?);
        found.insert(file, path);
    }
    let inside = |(file, path)| (format!("{name}/{file}"), path);
    Ok(found.into_iter().map(inside).collect())
}

fn locate(tree: &Path, file: &str, packages: &[&str]) -> Result<PathBuf, Error> {
    let paths = DIRECTORIES.map(|directory| tree.join(directory).join(file));
    let mut exist = paths.into_iter().filter(|path| path.exists());
    exist.next().ok_or_else(|| {
        let packages = packages.join(", ");
        Error::new(format!("{file} is in no package that {packages} depend on"))
    })
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
