//! Looking after image files: check, repair, resize.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::chain;
use crate::error::{ImageError, Problem};
use crate::open;
use crate::options::{Format, Options};
use crate::qcow2::check::Report;
use crate::qcow2::header::Header;

/// What is wrong with the image at `path`; nothing if it is raw, which cannot be wrong.
///
/// # Errors
/// Why it cannot be said.
pub fn check(path: &Path, format: Format) -> Result<Option<Report>, ImageError> {
    let run = || {
        let options = Options {
            readonly: true,
            format,
            ..Options::default()
        };
        let opened = open::open_file(path, &options)?;
        if open::identify(&*opened.storage, format)?.0 != Format::Qcow2 {
            return Ok(None);
        }
        let header = Header::read(&*opened.storage)?;
        refuse_itself(path, opened.id, &header)?;
        let report = crate::qcow2::check::check(&*opened.storage, &header);
        report.map(Some).map_err(Problem::host("check it"))
    };
    run().map_err(|problem: Problem| problem.of(path))
}

/// Refuses an image that is its own backing file, if need be by way of others.
fn refuse_itself(path: &Path, id: open::FileId, header: &Header) -> Result<(), Problem> {
    let files = chain::files(path, Format::Qcow2);
    let is_this = |file: &&PathBuf| {
        let meta = fs::metadata(file);
        meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == id)
    };
    match (&header.backing, files.iter().skip(1).find(is_this)) {
        (Some(backing), Some(_)) => {
            let name = backing.name.to_string_lossy().into_owned();
            Err(Problem::Backing(name, open::ON_ITSELF))
        }
        (Some(_) | None, _) => Ok(()),
    }
}

/// Mends the image at `path`: what was wrong, and what still is. Nothing if it is raw.
///
/// # Errors
/// Why it cannot be mended.
pub fn repair(path: &Path, format: Format) -> Result<Option<(Report, Report)>, ImageError> {
    let run = || {
        let options = Options {
            format,
            ..Options::default()
        };
        let opened = open::open_file(path, &options)?;
        if open::identify(&*opened.storage, format)?.0 != Format::Qcow2 {
            return Ok(None);
        }
        let header = Header::read(&*opened.storage)?;
        if header.has_bitmaps {
            return Err(Problem::Unsupported(
                "bitmaps of what changed".into(),
                "remove them with 'qemu-img bitmap --remove'",
            ));
        }
        crate::qcow2::repair::repair(&*opened.storage, &header).map(Some)
    };
    run().map_err(|problem: Problem| problem.of(path))
}

/// Gives the disk at `path`, opened by `options`, another size; a smaller one only with `shrink`, since
/// that loses what is beyond it.
///
/// # Errors
/// Why it cannot have it.
pub fn resize(path: &Path, options: &Options, size: u64, shrink: bool) -> Result<(), ImageError> {
    let image = open(path, options)?;
    if size < image.size() && !shrink {
        let line = format!(
            "the disk has {} bytes, and a smaller one loses what is beyond: give --shrink",
            image.size()
        );
        return Err(Problem::Wrong(line).of(path));
    }
    let resized = image.resize(size).and_then(|()| image.flush());
    resized.map_err(|error| Problem::Host("resize it", error).of(path))
}
