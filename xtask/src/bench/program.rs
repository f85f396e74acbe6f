//! Debian's programs that benchmarks run, with the loader and the libraries that came with them.

use crate::error::Error;
use crate::kvm_host::debian::{self, LOADER};
use std::path::{Path, PathBuf};

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
        debian::programs(directory, self.name, &[self.package], &[self.file])
    }

    /// What a shell runs it by, where its directory lies in `place` (with a slash at its end, or
    /// empty).
    pub fn command(&self, place: &str) -> String {
        let Self { name, file, .. } = self;
        let inside = format!("{place}{name}");
        format!("{inside}/{LOADER} --library-path {inside} {inside}/{file}")
    }
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
}
