//! Why a guest could not be had.

use std::io;
use std::path::PathBuf;

/// Why a guest could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program of the host is missing.
    #[error("cannot run {program}: {source}{hint}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
        /// The way out, or nothing.
        hint: &'static str,
    },
    /// A program of the host failed.
    #[error("{command} failed: {output}")]
    Failed {
        /// The command line.
        command: String,
        /// The end of what it printed.
        output: String,
    },
    /// The archive the host's apt knows has no such package.
    #[error("no package {wanted} in the archive that this machine's apt is configured for")]
    NoPackage {
        /// What was looked for.
        wanted: String,
    },
    /// The host's release is not one that Debian makes backports to, or apt does not have it from
    /// Debian.
    #[error(
        "this machine's apt has no package lists of the Debian release that /etc/os-release names, \
         so there are no backports to it"
    )]
    NoBackports,
    /// A kernel has no such driver, neither as a module nor built in.
    #[error("{} holds no module {name}, and it is not built in", directory.display())]
    NoModule {
        /// The module.
        name: String,
        /// The kernel's modules.
        directory: PathBuf,
    },
    /// A package does not hold what it should.
    #[error("{package} holds no {wanted}")]
    Incomplete {
        /// The package.
        package: String,
        /// What was looked for.
        wanted: &'static str,
    },
}

impl Error {
    /// An adapter for `map_err` that names the file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}
