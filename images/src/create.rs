//! New image files.

use std::ffi::OsString;
use std::path::Path;

use crate::error::{ImageError, Problem};
use crate::fresh::new_file;
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
