//! What can be wrong with the files a guest is started from. Every message names the file and the
//! way out.

use std::io;
use std::path::PathBuf;

use aarch64::machine::MAX_RAM;

use super::plan::Part;
use super::sniff::{Compression, Foreign};

/// Why a guest cannot be started from its files.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The file cannot be read.
    #[error("cannot read the {role} {}: check its name and permissions", path.display())]
    Io {
        /// What it was to be.
        role: Part,
        /// The file.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
    /// It is a directory, a pipe or a device.
    #[error("the {role} {} is not a regular file: give a file", path.display())]
    NotAFile {
        /// What it was to be.
        role: Part,
        /// The file.
        path: PathBuf,
    },
    /// It has no bytes.
    #[error("the {role} {} is empty: fetch or build it again", path.display())]
    Empty {
        /// What it was to be.
        role: Part,
        /// The file.
        path: PathBuf,
    },
    /// It ends too early.
    #[error("the kernel {} is cut off: fetch or build it again", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error(
        "the kernel {} is {}{}: {}",
        path.display(), if *.inside { "the compressed form of something else: " } else { "" },
        foreign.what, foreign.hint
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        foreign: Foreign,
        /// It is so only when decompressed.
        inside: bool,
    },
    /// What is compressed is no kernel that can be told from others.
    #[error(
        "the kernel {} holds no arm64 Image when decompressed: give an Image or a distribution's \
         vmlinuz, and a flat binary uncompressed",
        path.display()
    )]
    NoImageInside {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be decompressed.
    #[error(
        "the kernel {} is damaged or cut off in its {compression} data: fetch or build it again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it is compressed.
        compression: Compression,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// It is longer than it says.
    #[error(
        "the kernel {} is longer than the {room} bytes it claims or has room for: fetch or build \
         it again, or give the guest more memory (--memory)",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes there are for it.
        room: u64,
    },
    /// RAM is too small.
    #[error(
        "the {part} {} does not fit into {} of guest memory: {}",
        path.display(), Mebibytes(*.ram), remedy(*.needs)
    )]
    DoesNotFit {
        /// Which part.
        part: Part,
        /// The file.
        path: PathBuf,
        /// Memory the guest has.
        ram: u64,
        /// Memory it needs for this part, if any would do.
        needs: Option<u64>,
    },
    /// The device tree is too long; only a long command line makes it so.
    #[error("the kernel's command line is too long: shorten it (--cmdline)")]
    DeviceTreeTooLong,
    /// The plan and the memory do not belong together.
    #[error("guest memory does not hold what was planned")]
    Memory(#[from] memory::LayoutError),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
        })
    }
}

/// A size for people, rounded up.
struct Mebibytes(u64);

impl std::fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} MiB", self.0.div_ceil(1 << 20))
    }
}

fn remedy(needs: Option<u64>) -> String {
    match needs {
        Some(needs) if needs > MAX_RAM => {
            "no guest has so much memory; give a smaller one".to_owned()
        }
        Some(needs) => format!("give at least {} (--memory)", Mebibytes(needs)),
        None => "it asks for an impossible address; fetch or build it again".to_owned(),
    }
}
