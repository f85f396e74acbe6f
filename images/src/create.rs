//! New image files. A file appears under its name when it is complete, and never in the place of
//! another.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{ImageError, Problem};
use crate::open;
use crate::options::{Durability, Format, Options};
use crate::qcow2::create::Layout;
use crate::qcow2::header::BackingName;
use crate::storage::{FileStorage, Storage};

/// What a new image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewImage {
    /// A raw disk of so many bytes, with nothing in it.
    Raw(u64),
    /// qcow2.
    Qcow2(Layout),
}

/// Makes an image at `path`. A backing file is named as it will be written; its format is looked at
/// if it is not given, and so is its size if `size` is none.
///
/// # Errors
/// Whatever is wrong with the path or the layout, in one line.
pub fn create(path: &Path, new: &NewImage) -> Result<(), ImageError> {
    new_file(path, |file| {
        let storage = FileStorage::new(file, None, Some(Durability::Full));
        fill(&storage, new)
    })
}

fn fill(storage: &dyn Storage, new: &NewImage) -> Result<(), Problem> {
    match new {
        NewImage::Raw(size) => {
            // The most that a file's length can say.
            if i64::try_from(*size).is_err() {
                return Err(Problem::Wrong(format!("no file has {size} bytes")));
            }
            storage
                .set_len(*size)
                .and_then(|()| storage.sync())
                .map_err(Problem::host("give it its size"))
        }
        NewImage::Qcow2(layout) => crate::qcow2::create::create(storage, layout),
    }
}

impl Layout {
    /// A layout on top of a backing file, which is opened to see that it can be: its size, if none is
    /// given, and its format. The options are the backing file's: what it is, and where its own
    /// backing files may be.
    ///
    /// # Errors
    /// What is wrong with the backing file.
    pub fn on(
        overlay: &Path,
        backing: OsString,
        options: &Options,
        size: Option<u64>,
    ) -> Result<Self, ImageError> {
        let path = open::resolve(overlay, &backing).map_err(|problem| problem.of(overlay))?;
        let options = Options {
            readonly: true,
            ..options.clone()
        };
        let format = options.format;
        let image = open(&path, &options)?;
        let opened = open::open_file(
            &path,
            &Options {
                lock: false,
                ..options
            },
        );
        let found = opened.and_then(|opened| open::identify(&*opened.storage, format));
        let (format, _) = found.map_err(|problem| problem.of(&path))?;
        let format = if format == Format::Qcow2 {
            "qcow2"
        } else {
            "raw"
        };
        let mut layout = Self::of_size(size.unwrap_or_else(|| image.size()));
        layout.backing = Some(BackingName {
            name: backing,
            format: Some(format.to_owned()),
        });
        Ok(layout)
    }
}

/// Makes a file under another name, and gives it its own when `fill` is done with it.
pub(crate) fn new_file(
    path: &Path,
    fill: impl FnOnce(File) -> Result<(), Problem>,
) -> Result<(), ImageError> {
    let inner = || {
        if fs::symlink_metadata(path).is_ok() {
            return Err(Problem::Exists);
        }
        let temporary = Temporary::new(path)?;
        let file = temporary.open()?;
        fill(file)?;
        temporary.keep(path)
    };
    inner().map_err(|problem| problem.of(path))
}

/// A file that is removed unless it is kept.
struct Temporary(PathBuf);

impl Temporary {
    fn new(path: &Path) -> Result<Self, Problem> {
        let Some(name) = path.file_name() else {
            return Err(Problem::Wrong("this is no name for a file".into()));
        };
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".armlet-{}", std::process::id()));
        Ok(Self(path.with_file_name(hidden)))
    }

    fn open(&self) -> Result<File, Problem> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&self.0);
        opened.map_err(Problem::host("make it"))
    }

    /// Gives the file its name, unless that is taken by now.
    fn keep(self, path: &Path) -> Result<(), Problem> {
        let linked = fs::hard_link(&self.0, path);
        match linked {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Problem::Exists),
            // Not every file system has links; a rename is all that is left then.
            Err(_) => fs::rename(&self.0, path).map_err(Problem::host("give it its name")),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It was kept, or this is all that can be done.
        let _ = fs::remove_file(&self.0);
    }
}
