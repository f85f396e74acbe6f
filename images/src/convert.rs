//! From one format to another: what is zero takes no space in the copy.

use std::path::Path;
use std::sync::Arc;

use crate::error::{ImageError, Problem};
use crate::fresh::new_file;
use crate::image::{Extent, Image};
use crate::open;
use crate::options::{Durability, Options};
use crate::qcow2::create::Layout;
use crate::qcow2::{Qcow2, create};
use crate::raw::Raw;
use crate::storage::{FileStorage, Storage};

/// Bytes that are copied at once: no less than the largest cluster.
const CHUNK: u64 = 2 << 20;
/// The unit in which zeroes are left out of a raw copy.
const BLOCK: usize = 4096;

/// What the copy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Raw.
    Raw,
    /// qcow2 with this layout, whose size is the source's.
    Qcow2 {
        /// The layout.
        layout: Layout,
        /// Whether clusters are compressed.
        compress: bool,
    },
}

/// Copies the disk of the image at `from`, with its backing files, to a new file.
///
/// # Errors
/// Whatever is wrong with either, in one line. There is no new file then.
pub fn convert(
    from: &Path,
    options: &Options,
    to: &Path,
    conversion: &Conversion,
) -> Result<(), ImageError> {
    let options = Options {
        readonly: true,
        ..options.clone()
    };
    let source = open(from, &options)?;
    new_file(to, |file| {
        let storage: Arc<dyn Storage> =
            Arc::new(FileStorage::new(file, None, Some(Durability::Full)));
        copy((&*source, from), storage, conversion)
    })
}

/// Copies a disk, with the path of its image, into empty storage.
fn copy(
    source: (&dyn Image, &Path),
    storage: Arc<dyn Storage>,
    conversion: &Conversion,
) -> Result<(), Problem> {
    let size = source.0.size();
    match conversion {
        Conversion::Raw => {
            storage
                .set_len(size)
                .map_err(Problem::host("give the copy its size"))?;
            let target =
                Raw::new(storage, false, true, false).map_err(Problem::host("write it"))?;
            each_chunk(source, |bytes, at| write_sparse(&target, bytes, at))?;
            target.flush().map_err(Problem::host("write it"))
        }
        Conversion::Qcow2 { layout, compress } => {
            let layout = Layout {
                size: size.next_multiple_of(512),
                ..layout.clone()
            };
            create::create(&*storage, &layout)?;
            let cluster = usize::try_from(layout.cluster).unwrap_or(BLOCK);
            let target = open::open_qcow2(storage, None, &Options::default())?;
            each_chunk(source, |bytes, at| {
                write_clusters(&target, bytes, at, cluster, *compress)
            })?;
            target.close().map_err(Problem::host("write it"))
        }
    }
}

/// Gives all bytes that may not be zero to `write`.
fn each_chunk(
    (source, path): (&dyn Image, &Path),
    mut write: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> Result<(), Problem> {
    // The error is of the new file's, but this is the source's fault.
    let unreadable = |error| {
        let path = path.display();
        Problem::Wrong(format!("cannot read what to copy from {path}: {error}"))
    };
    let size = source.size();
    let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(BLOCK)];
    let mut at = 0;
    while at < size {
        let extent = source.extent(at, size - at);
        if let Extent::Zero(len) = extent.map_err(unreadable)? {
            // Up to a chunk's beginning: a cluster of the copy is written once.
            let end = at + len;
            let chunk = if end == size { end } else { end - end % CHUNK };
            if chunk > at {
                at = chunk;
                continue;
            }
        }
        let len = (CHUNK - at % CHUNK).min(size - at);
        let part = &mut buffer[..usize::try_from(len).unwrap_or(BLOCK)];
        source.read_at(part, at).map_err(unreadable)?;
        write(part, at).map_err(Problem::host("write it"))?;
        at += len;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Writes what is not zero, neighbours at once.
fn write_sparse(target: &Raw, bytes: &[u8], at: u64) -> std::io::Result<()> {
    let mut done = 0;
    for run in bytes
        .chunks(BLOCK)
        .collect::<Vec<_>>()
        .chunk_by(|a, b| is_zero(a) == is_zero(b))
    {
        let len: usize = run.iter().map(|block| block.len()).sum();
        if !is_zero(run[0]) {
            target.write_at(&bytes[done..done + len], at + done as u64)?;
        }
        done += len;
    }
    Ok(())
}

fn write_clusters(
    target: &Qcow2,
    bytes: &[u8],
    at: u64,
    cluster: usize,
    compress: bool,
) -> std::io::Result<()> {
    let mut at = at;
    for part in bytes.chunks(cluster) {
        if is_zero(part) {
            // A new image is zero.
        } else if compress {
            let mut whole = part.to_vec();
            whole.resize(cluster, 0);
            target.write_compressed(&whole, at)?;
        } else {
            target.write_at(part, at)?;
        }
        at += part.len() as u64;
    }
    Ok(())
}
