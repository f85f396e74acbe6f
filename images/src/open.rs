//! From a path to an image, with its backing files.
//!
//! Each file is looked at before it is used: that it is a file or a block device, that nobody else
//! uses it, and what it is. What a backing file may be is not for the image that names it to
//! decide: see [`Backing`].

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ImageError, Problem};
use crate::image::Image;
use crate::options::{Backing, Cache, Format, Options};
use crate::probe::{Looks, PROBED, probe};
use crate::raw::Raw;
use crate::storage::{FileStorage, Storage};
use crate::{host, lock};

/// Opens the image at `path`.
///
/// # Errors
/// Whatever is wrong with the file or a backing file, in one line.
pub fn open(path: &Path, options: &Options) -> Result<Arc<dyn Image>, ImageError> {
    Chain::start(path, options).open(path, options)
}

/// A file of the host that is open and locked.
#[derive(Debug)]
pub(crate) struct Opened {
    /// What is in it.
    pub storage: Arc<dyn Storage>,
    /// What tells it from every other file.
    pub id: FileId,
}

/// What tells a file from every other: device and inode.
pub(crate) type FileId = (u64, u64);

/// Opens and locks a file, whatever is in it.
pub(crate) fn open_file(path: &Path, options: &Options) -> Result<Opened, Problem> {
    let meta = fs::metadata(path).map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            Problem::Missing
        } else {
            Problem::Host("look at it", error)
        }
    })?;
    check_kind(&meta)?;
    let direct = options.cache == Cache::None;
    let flags = if direct { host::direct_flag() } else { 0 };
    let file = open_flags(path, options, flags)?;
    let meta = file.metadata().map_err(Problem::host("look at it"))?;
    check_kind(&meta)?;
    if options.lock {
        lock::lock(&file, options.readonly)?;
    }
    let mut cached = None;
    if direct {
        host::bypass_cache(&file).map_err(Problem::NoDirect)?;
        if host::DIRECT_IS_ALIGNED {
            cached = Some(open_flags(path, options, 0)?);
        }
    }
    let durability = (options.cache != Cache::Unsafe).then_some(options.durability);
    Ok(Opened {
        storage: Arc::new(FileStorage::new(file, cached, durability)),
        id: (meta.dev(), meta.ino()),
    })
}

fn open_flags(path: &Path, options: &Options, flags: i32) -> Result<File, Problem> {
    let opened = OpenOptions::new()
        .read(true)
        .write(!options.readonly)
        .custom_flags(flags | host::nonblock_flag())
        .open(path);
    opened.map_err(|error| {
        use ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem};
        let kind = error.kind();
        if !options.readonly && [PermissionDenied, ReadOnlyFilesystem].contains(&kind) {
            Problem::NotWritable(error)
        } else if flags != 0 && kind == InvalidInput {
            Problem::NoDirect(error)
        } else {
            Problem::Host("open it", error)
        }
    })
}

fn check_kind(meta: &Metadata) -> Result<(), Problem> {
    let kind = meta.file_type();
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a character device"
    };
    Err(Problem::Kind(what))
}

/// What a file is, and whether it only looks like that.
pub(crate) fn identify(storage: &dyn Storage, format: Format) -> Result<(Format, bool), Problem> {
    let mut start = vec![0; PROBED];
    storage
        .read_at(&mut start, 0)
        .map_err(Problem::host("read it"))?;
    match (format, probe(&start)) {
        (Format::Raw, _) => Ok((Format::Raw, false)),
        (Format::Auto, Looks::Raw) => Ok((Format::Raw, true)),
        (Format::Auto | Format::Qcow2, Looks::Qcow2) => Ok((Format::Qcow2, false)),
        (Format::Auto, Looks::Like(what)) => Err(Problem::Foreign(what)),
        (Format::Qcow2, Looks::Raw | Looks::Like(_)) => Err(Problem::NotQcow2),
    }
}

/// The files of an image, from the one that was asked for to the one being opened.
#[derive(Debug)]
struct Chain {
    files: Vec<FileId>,
    /// The directories below which backing files may be; all, if none.
    #[expect(dead_code, reason = "raw images have no backing file")]
    allowed: Option<Vec<PathBuf>>,
}

impl Chain {
    fn start(path: &Path, options: &Options) -> Self {
        let allowed = match &options.backing {
            Backing::Anywhere => None,
            Backing::SameTree(more) => {
                let own = fs::canonicalize(path).ok();
                let own = own.and_then(|path| path.parent().map(Path::to_owned));
                let more = more.iter().filter_map(|path| fs::canonicalize(path).ok());
                Some(own.into_iter().chain(more).collect())
            }
        };
        Self {
            files: Vec::new(),
            allowed,
        }
    }

    fn open(&mut self, path: &Path, options: &Options) -> Result<Arc<dyn Image>, ImageError> {
        self.open_inner(path, options)
            .map_err(|problem| problem.of(path))
    }

    fn open_inner(&mut self, path: &Path, options: &Options) -> Result<Arc<dyn Image>, Problem> {
        let Opened { storage, id } = open_file(path, options)?;
        self.files.push(id);
        let (format, guarded) = identify(&*storage, options.format)?;
        match format {
            Format::Raw | Format::Auto => {
                let raw = Raw::new(storage, options.readonly, options.discard, guarded);
                Ok(Arc::new(raw.map_err(Problem::host("look at it"))?))
            }
            Format::Qcow2 => Err(Problem::Unsupported(
                "the format qcow2".into(),
                "convert it with qemu-img",
            )),
        }
    }
}
