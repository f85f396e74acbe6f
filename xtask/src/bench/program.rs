//! Debian's programs for arm64, with the libraries they need, unpacked and not installed: they run
//! through the loader that came with them, where there are other libraries or none.

use crate::error::Error;
use guests::apt::{self, Apt};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What programs name as their interpreter.
const LOADER: &str = "ld-linux-aarch64.so.1";
/// Where Debian has libraries, and programs.
const DIRECTORIES: [&str; 4] = [
    "usr/lib/aarch64-linux-gnu",
    "lib/aarch64-linux-gnu",
    "usr/lib/aarch64-linux-gnu/ceph",
    "usr/bin",
];

/// A program of Debian's.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What its directory is called.
    pub name: &'static str,
    /// The package that has it.
    pub package: &'static str,
    /// Its file's name.
    pub file: &'static str,
}

/// The machine emulator, which is also a user of KVM.
pub const QEMU: Program = Program {
    name: "qemu",
    package: "qemu-system-arm",
    file: "qemu-system-aarch64",
};

/// The benchmark of block devices.
pub const FIO: Program = Program {
    name: "fio",
    package: "fio",
    file: "fio",
};

impl Program {
    /// The program, its loader and every library it is linked to, as files of the directory
    /// [`Program::name`]. What is downloaded is kept in `directory`.
    pub fn files(&self, directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
        let tree = directory.join(self.name);
        if !tree.exists() {
            self.fetch(directory, &tree)?;
        }
        let mut found = BTreeMap::new();
        let mut open = vec![self.file.to_owned(), LOADER.to_owned()];
        while let Some(name) = open.pop() {
            if found.contains_key(&name) {
                continue;
            }
            let path = self.locate(&tree, &name)?;
            open.extend(needed(&path)?);
            found.insert(name, path);
        }
        let inside = |(name, path)| (format!("{}/{name}", self.name), path);
        Ok(found.into_iter().map(inside).collect())
    }

    /// What a shell runs it by, where its directory lies in `place` (with a slash at its end, or
    /// empty).
    pub fn command(&self, place: &str) -> String {
        let Self { name, file, .. } = self;
        let inside = format!("{place}{name}");
        format!("{inside}/{LOADER} --library-path {inside} {inside}/{file}")
    }

    /// Downloads the packages and unpacks them to `tree`.
    fn fetch(&self, directory: &Path, tree: &Path) -> Result<(), Error> {
        let apt = Apt::open(&directory.join("apt"))?;
        let partial = directory.join(format!("{}.partial", self.name));
        for deb in apt.download_closure(&[self.package])? {
            apt::unpack(&deb, &partial)?;
        }
        fs::rename(&partial, tree)?;
        Ok(())
    }

    fn locate(&self, tree: &Path, name: &str) -> Result<PathBuf, Error> {
        let package = self.package;
        let missing = || Error::new(format!("{name} is in no package that {package} depends on"));
        let paths = DIRECTORIES.map(|directory| tree.join(directory).join(name));
        let mut exist = paths.into_iter().filter(|path| path.exists());
        exist.next().ok_or_else(missing)
    }
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
    fn a_program_is_run_by_its_own_loader() {
        assert_eq!(
            FIO.command("/"),
            "/fio/ld-linux-aarch64.so.1 --library-path /fio /fio/fio"
        );
    }

    #[test]
    fn needed_libraries_are_read_from_the_table() {
        let table = " 0x0000000000000001 (NEEDED)             Shared library: [libaio.so.1]\n \
                     0x000000000000000e (SONAME)             Library soname: [libx.so]\n \
                     0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(names(table), ["libaio.so.1", "libc.so.6"]);
    }
}
