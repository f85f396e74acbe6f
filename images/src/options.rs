//! How an image is opened.

use std::path::PathBuf;

/// How an image is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether writes are refused.
    pub readonly: bool,
    /// What the file is.
    pub format: Format,
    /// How the host's page cache is used.
    pub cache: Cache,
    /// What a flush does.
    pub durability: Durability,
    /// Whether discarded space is given back to the host.
    pub discard: bool,
    /// Whether other processes are kept from using the image in ways that do not go together.
    pub lock: bool,
    /// Which backing files may be read.
    pub backing: Backing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readonly: false,
            format: Format::Auto,
            cache: Cache::Writeback,
            durability: Durability::Full,
            discard: true,
            lock: true,
            backing: Backing::SameTree(Vec::new()),
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What its first bytes say. If they say nothing it is raw, and the guest is kept from writing
    /// bytes there that would say something.
    Auto,
    /// The disk's bytes as they are, whatever they look like.
    Raw,
    /// qcow2.
    Qcow2,
}

/// How the host's page cache is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// As for any file.
    Writeback,
    /// Not at all: the disk itself is asked.
    None,
    /// As for any file, and a flush does nothing: for disks that are thrown away.
    Unsafe,
}

/// What a flush does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What was written outlives a loss of power.
    Full,
    /// As the host does it for ordinary files. Only macOS knows a difference: there it leaves what
    /// was written in the drive's cache, which a loss of power of the whole host loses.
    Relaxed,
}

/// Which backing files an image may name. It is the file that names them, and the file may come from
/// anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Files below the directory of the image that was asked for, below one of these directories, or
    /// one of these files.
    SameTree(Vec<PathBuf>),
    /// Every file.
    Anywhere,
}
