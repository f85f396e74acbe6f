//! What an image is, without opening it for use.

use std::path::{Path, PathBuf};

use crate::error::{ImageError, Problem};
use crate::open::{self, Opened};
use crate::options::{Format, Options};
use crate::qcow2::header::Header;
use crate::qcow2::snapshots::{self, Snapshot};
use crate::qcow2::spec::incompatible;

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its file.
    pub path: PathBuf,
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that the file takes.
    pub usage: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// What only qcow2 has.
    pub qcow2: Option<Qcow2Info>,
}

/// What a qcow2 image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Info {
    /// 2 or 3.
    pub version: u32,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Bits of a refcount.
    pub refcount_bits: u32,
    /// How clusters are compressed, if they are.
    pub compression: &'static str,
    /// The backing file, as the image names it, and its format.
    pub backing: Option<(String, Option<String>)>,
    /// Where that is.
    pub backing_path: Option<PathBuf>,
    /// Internal snapshots.
    pub snapshots: Vec<Snapshot>,
    /// Whether it was not closed.
    pub dirty: bool,
    /// Whether it is marked as corrupt.
    pub corrupt: bool,
}

/// What the image at `path` is. Its backing files are not looked at.
///
/// # Errors
/// Whatever is wrong with the file, in one line.
pub fn info(path: &Path, format: Format) -> Result<Info, ImageError> {
    inner(path, format).map_err(|problem| problem.of(path))
}

fn inner(path: &Path, format: Format) -> Result<Info, Problem> {
    let options = Options {
        readonly: true,
        lock: false,
        format,
        ..Options::default()
    };
    let Opened { storage, id: _ } = open::open_file(path, &options)?;
    let (format, _) = open::identify(&*storage, format)?;
    let file_len = storage.len().map_err(Problem::host("look at it"))?;
    let mut info = Info {
        path: path.to_owned(),
        size: file_len,
        usage: storage.usage().map_err(Problem::host("look at it"))?,
        file_len,
        qcow2: None,
    };
    if format == Format::Qcow2 {
        let header = Header::read(&*storage)?;
        let (snapshots, _) =
            snapshots::read(&*storage, &header).map_err(Problem::host("read it"))?;
        let backing = header.backing.as_ref();
        info.size = header.size;
        info.qcow2 = Some(Qcow2Info {
            version: if header.geometry.v3 { 3 } else { 2 },
            cluster: header.geometry.cluster(),
            refcount_bits: 1 << header.geometry.refcount_order,
            compression: header.compression.name(),
            backing: backing.map(|backing| {
                (
                    backing.name.to_string_lossy().into(),
                    backing.format.clone(),
                )
            }),
            backing_path: backing.and_then(|backing| open::resolve(path, &backing.name).ok()),
            snapshots,
            dirty: header.incompatible & incompatible::DIRTY != 0,
            corrupt: header.incompatible & incompatible::CORRUPT != 0,
        });
    }
    Ok(info)
}
