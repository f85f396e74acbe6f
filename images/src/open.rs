//! From a path to an image, with its backing files.
//!
//! Each file is looked at before it is used: that it is a file or a block device, that nobody else
//! uses it, and what it is. What a backing file may be is not for the image that names it to
//! decide: see [`Backing`].

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{ImageError, Problem};
use crate::image::Image;
use crate::options::{Backing, Cache, Format, Options};
use crate::probe::{Looks, PROBED, probe};
use crate::qcow2::header::{BackingName, Header};
use crate::qcow2::{Qcow2, Setup};
use crate::raw::Raw;
use crate::storage::{FileStorage, Storage};
use crate::{host, lock};

/// Opens the image at `path`.
///
/// # Errors
/// Whatever is wrong with the file or a backing file, in one line.
pub fn open(path: &Path, options: &Options) -> Result<Arc<dyn Image>, ImageError> {
    let chain = Chain::start(path, options);
    let mut chain = chain.map_err(|problem| problem.of(path))?;
    chain.open(path, options)
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
    let meta = fs::metadata(path).map_err(unseen)?;
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
            cached = Some(reopen(&file, path, options)?);
        }
    }
    let durability = (options.cache != Cache::Unsafe).then_some(options.durability);
    Ok(Opened {
        storage: Arc::new(FileStorage::new(file, cached, durability)),
        id: (meta.dev(), meta.ino()),
    })
}

/// What it means that a file cannot be looked at.
fn unseen(error: std::io::Error) -> Problem {
    if error.kind() == ErrorKind::NotFound {
        Problem::Missing
    } else {
        Problem::Host("look at it", error)
    }
}

/// Opens the file again, with the page cache; not another that has its name by now.
fn reopen(file: &File, path: &Path, options: &Options) -> Result<File, Problem> {
    let own_name = host::own_name(file).filter(|name| name.exists());
    let again = open_flags(own_name.as_deref().unwrap_or(path), options, 0)?;
    let id = |file: &File| {
        let meta = file.metadata().map_err(Problem::host("look at it"))?;
        Ok::<FileId, Problem>((meta.dev(), meta.ino()))
    };
    if id(&again)? != id(file)? {
        let other = std::io::Error::other("its name is another file's by now");
        return Err(Problem::Host("open it again", other));
    }
    Ok(again)
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

/// Opens what is in `storage` as qcow2, without a backing file: for images in memory.
///
/// # Errors
/// What is wrong with it.
pub fn open_qcow2(
    storage: Arc<dyn Storage>,
    backing: Option<Arc<dyn Image>>,
    options: &Options,
) -> Result<Qcow2, Problem> {
    let header = Header::read(&*storage)?;
    let setup = Setup {
        backing,
        readonly: options.readonly,
        discard: options.discard,
    };
    Qcow2::open(storage, &header, setup)
}

/// The most images on top of each other.
pub(crate) const MOST_IN_CHAIN: usize = 32;

/// What is wrong with a backing file that is there already, higher up.
pub(crate) const ON_ITSELF: &str = "it is this image itself, or on top of it, so that neither has an \
                                    end; 'qemu-img rebase -u' names another";

/// The files of an image, from the one that was asked for to the one being opened.
#[derive(Debug)]
struct Chain {
    files: Vec<FileId>,
    /// The files that backing files may be, and the directories they may be below; all, if none.
    allowed: Option<Vec<PathBuf>>,
}

impl Chain {
    fn start(path: &Path, options: &Options) -> Result<Self, Problem> {
        let allowed = match &options.backing {
            Backing::Anywhere => None,
            Backing::SameTree(more) => {
                let more = more.iter().map(|path| {
                    fs::canonicalize(path).map_err(|error| {
                        let path = path.display();
                        Problem::Wrong(format!("allow-backing={path}: cannot find it: {error}"))
                    })
                });
                // If there is no such image, opening it says so.
                let own = own_directory(path).into_iter().map(Ok);
                Some(own.chain(more).collect::<Result<_, _>>()?)
            }
        };
        Ok(Self {
            files: Vec::new(),
            allowed,
        })
    }

    fn open(&mut self, path: &Path, options: &Options) -> Result<Arc<dyn Image>, ImageError> {
        self.open_inner(path, options)
            .map_err(|problem| problem.of(path))
    }

    fn open_inner(&mut self, path: &Path, options: &Options) -> Result<Arc<dyn Image>, Problem> {
        let Opened { storage, id } = open_file(path, options)?;
        self.files.push(id);
        let (format, guarded) = identify(&*storage, options.format)?;
        if format != Format::Qcow2 {
            let raw = Raw::new(storage, options.readonly, options.discard, guarded);
            return Ok(Arc::new(raw.map_err(Problem::host("look at it"))?));
        }
        let header = Header::read(&*storage)?;
        if !options.readonly {
            header.refuse_writing()?;
        }
        let backing = match &header.backing {
            Some(name) => Some(self.open_backing(path, name, options)?),
            None => None,
        };
        let setup = Setup {
            backing,
            readonly: options.readonly,
            discard: options.discard,
        };
        Ok(Arc::new(Qcow2::open(storage, &header, setup)?))
    }

    fn open_backing(
        &mut self,
        overlay: &Path,
        backing: &BackingName,
        options: &Options,
    ) -> Result<Arc<dyn Image>, Problem> {
        let path = resolve(overlay, &backing.name)?;
        let refused = |line: &'static str| Problem::Backing(path.display().to_string(), line);
        let format = backing_format(backing)?;
        if self.files.len() >= MOST_IN_CHAIN {
            return Err(refused("that is one too many on top of each other"));
        }
        if let Some(allowed) = &self.allowed {
            // What cannot be placed is not opened either.
            let real = fs::canonicalize(&path);
            let real = real.map_err(|e| Problem::BackingFile(Box::new(unseen(e).of(&path))))?;
            if !allowed.iter().any(|place| real.starts_with(place)) {
                return Err(Problem::Outside {
                    file: path.display().to_string(),
                    directory: real.parent().unwrap_or(&real).display().to_string(),
                });
            }
        }
        if let Ok(meta) = fs::metadata(&path)
            && self.files.contains(&(meta.dev(), meta.ino()))
        {
            return Err(refused(ON_ITSELF));
        }
        let options = Options {
            readonly: true,
            format,
            ..options.clone()
        };
        self.open(&path, &options)
            .map_err(|error| Problem::BackingFile(Box::new(error)))
    }
}

/// The directory that the image at `path` is really in, if it is there.
pub(crate) fn own_directory(path: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(path).ok()?;
    real.parent().map(Path::to_owned)
}

/// The format that an image gives its backing file.
pub(crate) fn backing_format(backing: &BackingName) -> Result<Format, Problem> {
    match backing.format.as_deref() {
        Some("raw" | "file" | "host_device") => Ok(Format::Raw),
        Some("qcow2") => Ok(Format::Qcow2),
        None | Some("") => Ok(Format::Auto),
        Some(other) => Err(Problem::Unsupported(
            format!("a backing file of format {:?}", other.to_owned()),
            "raw and qcow2 are",
        )),
    }
}

/// The path of a backing file: a relative one begins where the image is.
pub(crate) fn resolve(overlay: &Path, name: &OsStr) -> Result<PathBuf, Problem> {
    let text = name.as_encoded_bytes();
    let scheme = text.split(|&byte| byte == b'/').next().unwrap_or_default();
    if scheme.contains(&b':') || text.contains(&0) {
        let name = name.to_string_lossy().into_owned();
        return Err(Problem::Backing(name, "it has to be the path of a file"));
    }
    let directory = overlay.parent().unwrap_or_else(|| Path::new(""));
    Ok(directory.join(Path::new(name)))
}

#[cfg(test)]
mod tests {
    use crate::testing::Folder;

    use super::*;

    #[test]
    fn a_file_is_not_taken_for_another_of_its_name() {
        let folder = Folder::new("reopen").unwrap();
        let (path, other) = (folder.join("disk"), folder.join("other"));
        fs::write(&path, b"this").unwrap();
        fs::write(&other, b"that").unwrap();
        let options = Options {
            readonly: true,
            ..Options::default()
        };
        let file = File::open(&path).unwrap();
        fs::rename(&other, &path).unwrap();
        match reopen(&file, &path, &options) {
            Ok(again) => assert_eq!(std::io::read_to_string(again).unwrap(), "this"),
            // Where a file is reached by its name only.
            Err(problem) => assert!(problem.to_string().contains("another file's"), "{problem}"),
        }
    }
}
