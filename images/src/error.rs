//! Why an image cannot be opened, made or changed: one line, with the file and the way out.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct ImageError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A call of the host failed.
    #[error("cannot {0}: {1}")]
    Host(&'static str, io::Error),
    /// It is not there.
    #[error("there is no such file; 'armlet disk create' makes one")]
    Missing,
    /// It may not be written.
    #[error("cannot open for writing: {0}; open it read-only, or change who may write it")]
    NotWritable(io::Error),
    /// The page cache cannot be left out.
    #[error("its file system cannot leave out the page cache: {0}; give cache=writeback")]
    NoDirect(io::Error),
    /// It is not what a disk can be.
    #[error("this is {0}; a disk is a regular file or a block device")]
    Kind(&'static str),
    /// Somebody else uses it.
    #[error("in use{0}; stop that, or open it read-only in both places")]
    Locked(String),
    /// Somebody else writes it.
    #[error("being written{0}; stop that first")]
    BeingWritten(String),
    /// An image of another program.
    #[error(
        "this looks like {0}, which is not supported; convert it with qemu-img, or give the format \
         raw if it is a raw disk"
    )]
    Foreign(&'static str),
    /// Not the format that was asked for.
    #[error("this is no qcow2 image; give the format raw or auto instead")]
    NotQcow2,
    /// A part of the format that is not supported.
    #[error("this image has {0}, which is not supported; {1}")]
    Unsupported(String, &'static str),
    /// What it says cannot be.
    #[error("the image is corrupt: {0}; 'armlet disk check' says more")]
    Corrupt(String),
    /// It was not closed, or was found to be corrupt; it has to be mended before it is written.
    #[error("{0}; mend it with 'armlet disk check --repair', or open it read-only")]
    NeedsRepair(&'static str),
    /// A backing file that may not be read.
    #[error("its backing file {0} is refused: {1}")]
    Backing(String, &'static str),
    /// A backing file, not below the image's directory, that nobody allowed. The second is its own.
    #[error(
        "its backing file {file} is refused: it is not below the image's directory, and an image \
         may not choose what else is read; allow-backing={directory} of a disk, or --allow-backing \
         {directory} of 'armlet disk', allows it"
    )]
    Outside {
        /// The file, as it is reached.
        file: String,
        /// The directory it is in.
        directory: String,
    },
    /// A backing file that cannot be opened.
    #[error("its backing file {0}")]
    BackingFile(Box<ImageError>),
    /// It is there already.
    #[error("the file exists; it is not overwritten: remove it, or give another name")]
    Exists,
    /// A number that an image cannot have.
    #[error("{0}")]
    Wrong(String),
}

impl Problem {
    /// The same, of this file.
    pub(crate) fn of(self, path: &Path) -> ImageError {
        ImageError {
            path: path.to_owned(),
            problem: self,
        }
    }

    /// For `map_err`: a call that failed.
    pub(crate) fn host(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Host(call, error)
    }
}
