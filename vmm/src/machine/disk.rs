//! The machine's disks: images of `images`, opened as the configuration says, behind virtio disks of
//! `devices`.
//!
//! Bytes that an image has in a file as they are go between that file and guest memory in one call
//! of the host. Everything else (compressed or unaligned bytes, new clusters) takes the way through
//! a buffer of bounded size.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use devices::clock::Monotonic;
use devices::virtio::block::spec::SECTOR;
use devices::virtio::block::{Block, BlockConfig, Disk, DiskLimits, Shape};
use images::{Backing, Durability, Extent, Format, Image, Options};
use memory::Pieces;
use transfers::Way;

use super::StartError;
use super::virtio::rate_limit;
use crate::config::MachineConfig;
use crate::config::disk::{Cache, DiskConfig, DiskFormat, MAX_QUEUES, refuse_same};

/// Bytes that take the way through a buffer at once.
const BUFFER: u64 = 1 << 20;

/// A disk whose image is open, and locked.
#[derive(Clone, Debug)]
pub struct OpenDisk {
    image: ImageDisk,
    config: BlockConfig,
}

impl OpenDisk {
    /// Opens all disks of a configuration.
    ///
    /// # Errors
    /// What is wrong with the first that cannot be opened.
    pub fn open_all(config: &MachineConfig) -> Result<Vec<Self>, StartError> {
        let MachineConfig { disks, cpus, .. } = config;
        refuse_same(disks).map_err(|error| StartError::Input(error.to_string()))?;
        refuse_below(disks)?;
        let open = |disk| Self::open(disk, cpus.get());
        disks.iter().map(open).collect()
    }

    fn open(config: &DiskConfig, vcpus: u16) -> Result<Self, StartError> {
        let DiskConfig {
            path,
            format: _,
            read_only: _,
            allow_backing: _,
            serial,
            cache,
            discard,
            iops,
            bandwidth,
            queues,
        } = config;
        let image = images::open(path, &options(config));
        let image = image.map_err(|error| StartError::Input(format!("--disk {error}")))?;
        look_at_size(path, image.size())?;
        let limits = DiskLimits {
            operations: iops.map(rate_limit),
            bytes: bandwidth.map(rate_limit),
        };
        let serial = serial.as_ref().map(|serial| serial.as_str().to_owned());
        Ok(Self {
            image: ImageDisk {
                image,
                name: path.display().to_string(),
                discard: *discard,
                direct: matches!(cache, Cache::Direct),
            },
            config: BlockConfig {
                serial: serial.unwrap_or_default(),
                queues: queues.map_or(vcpus.min(MAX_QUEUES), |queues| queues.get()),
                limits,
            },
        })
    }

    /// The guest's device.
    pub fn device(&self, clock: &Arc<dyn Monotonic>) -> Block {
        let disk = Box::new(self.image.clone());
        Block::new(disk, clock.clone(), self.config.clone())
    }

    /// Makes everything that was written last: the machine has come to its end.
    pub fn finish(&self) {
        if let Err(error) = self.image.image.flush() {
            let disk = &self.image.name;
            tracing::error!(disk, %error, "what the guest wrote last may not last");
        }
    }
}

/// Refuses a disk without a sector, and warns of bytes that make up no whole one.
fn look_at_size(path: &Path, size: u64) -> Result<(), StartError> {
    let disk = path.display();
    if size < SECTOR {
        let line = format!(
            "--disk {disk}: it has {size} bytes, and a disk has sectors of {SECTOR}; \
             'armlet disk resize' makes it larger"
        );
        return Err(StartError::Input(line));
    }
    let tail = size % SECTOR;
    if tail != 0 {
        tracing::warn!(%disk, "the guest does not see its last {tail} bytes: they are no whole sector");
    }
    Ok(())
}

/// Refuses a disk that is written and is below another: the upper one would find it changed. Locks
/// would refuse it too, but as if somebody else used it.
fn refuse_below(disks: &[DiskConfig]) -> Result<(), StartError> {
    let id = |path: &Path| {
        let metadata = std::fs::metadata(path);
        metadata.ok().map(|found| (found.dev(), found.ino()))
    };
    for upper in disks {
        for below in files(upper).iter().skip(1) {
            let found = id(below);
            let is_it = |disk: &&DiskConfig| !disk.read_only && id(&disk.path) == found;
            if let Some(disk) = disks.iter().find(is_it).filter(|_| found.is_some()) {
                let (disk, upper) = (disk.path.display(), upper.path.display());
                let line = format!(
                    "--disk path={disk}: this is a backing file of --disk path={upper}, and cannot be \
                     written beside it; leave one of them out, or give this one readonly"
                );
                return Err(StartError::Input(line));
            }
        }
    }
    Ok(())
}

/// The files that a disk's image is made of, as far as they say.
pub fn files(config: &DiskConfig) -> Vec<PathBuf> {
    images::files(&config.path, options(config).format)
}

/// How an image is opened.
fn options(config: &DiskConfig) -> Options {
    let DiskConfig {
        path: _,
        format,
        read_only,
        allow_backing,
        serial: _,
        cache,
        discard,
        iops: _,
        bandwidth: _,
        queues: _,
    } = config;
    let (cache, durability) = match cache {
        Cache::Writeback => (images::Cache::Writeback, Durability::Full),
        Cache::Direct => (images::Cache::None, Durability::Full),
        Cache::Relaxed => (images::Cache::Writeback, Durability::Relaxed),
    };
    Options {
        readonly: *read_only,
        format: match format {
            DiskFormat::Auto => Format::Auto,
            DiskFormat::Raw => Format::Raw,
            DiskFormat::Qcow2 => Format::Qcow2,
        },
        cache,
        durability,
        discard: *discard,
        backing: Backing::SameTree(allow_backing.clone()),
        ..Options::default()
    }
}

/// An image, as a virtio disk asks for it.
#[derive(Clone)]
struct ImageDisk {
    image: Arc<dyn Image>,
    name: String,
    discard: bool,
    /// The host's page cache is left out.
    direct: bool,
}

impl ImageDisk {
    /// Whether the host moves bytes between the file and this memory: without the page cache it
    /// minds how memory is aligned.
    fn is_aligned(&self, pieces: &Pieces, range: &Range<u64>) -> io::Result<bool> {
        let align = self.image.limits().memory.max(1) as usize;
        if align == 1 {
            return Ok(true);
        }
        let mut runs = pieces.runs(range.clone()).map_err(io::Error::other)?;
        Ok(runs.all(|run| {
            run.base.addr().get().is_multiple_of(align) && run.len.is_multiple_of(align)
        }))
    }

    fn read_buffered(&self, at: u64, into: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; buffer_len(&range)];
        for (at, part) in parts(at, range) {
            let bytes = &mut buffer[..(part.end - part.start) as usize];
            self.image.read_at(bytes, at)?;
            into.copy_from(part.start, bytes)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn write_buffered(&self, at: u64, from: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut buffer = vec![0; buffer_len(&range)];
        for (at, part) in parts(at, range) {
            let bytes = &mut buffer[..(part.end - part.start) as usize];
            from.copy_to(part.start, bytes).map_err(io::Error::other)?;
            self.image.write_at(bytes, at)?;
        }
        Ok(())
    }
}

impl Disk for ImageDisk {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> Shape {
        let limits = self.image.limits();
        Shape {
            read_only: self.image.is_readonly(),
            discard: self.discard,
            block: limits.request,
            discard_unit: limits.discard,
            waits: self.direct,
        }
    }

    fn size(&self) -> u64 {
        self.image.size()
    }

    fn read(&self, at: u64, into: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut done = 0;
        let len = range.end - range.start;
        while done < len {
            let extent = self.image.extent(at + done, len - done)?;
            if extent.is_empty() {
                return Err(io::Error::other("the image says nothing of its bytes"));
            }
            let start = range.start + done;
            let part = start..start + extent.len();
            match &extent {
                Extent::Data(place) if self.is_aligned(into, &part)? => {
                    let read = into.read_from_file(part.clone(), &place.file, place.at)?;
                    // Where the file has no bytes, the disk has zeros.
                    let zeros = into.zero(part.start + read..part.end);
                    zeros.map_err(io::Error::other)?;
                }
                Extent::Zero(_) => into.zero(part).map_err(io::Error::other)?,
                Extent::Data(_) | Extent::Indirect(_) => {
                    self.read_buffered(at + done, into, part)?;
                }
            }
            done += extent.len();
        }
        Ok(())
    }

    fn write(&self, at: u64, from: &Pieces, range: Range<u64>) -> io::Result<()> {
        let mut done = 0;
        let len = range.end - range.start;
        while done < len {
            let start = range.start + done;
            let place = self.image.write_extent(at + done, len - done)?;
            let part = start..start + place.as_ref().map_or(0, |place| place.len);
            match place {
                Some(place) if !part.is_empty() && self.is_aligned(from, &part)? => {
                    from.write_to_file(part, &place.file, place.at)?;
                    done += place.len;
                }
                Some(_) | None => {
                    let now = (len - done).min(BUFFER);
                    self.write_buffered(at + done, from, start..start + now)?;
                    done += now;
                }
            }
        }
        Ok(())
    }

    fn place(
        &self,
        way: Way,
        at: u64,
        buffer: &Pieces,
        range: &Range<u64>,
    ) -> Option<(Arc<File>, u64)> {
        let len = range.end - range.start;
        let place = match way {
            Way::In => match self.image.extent(at, len).ok()? {
                Extent::Data(place) => place,
                Extent::Zero(_) | Extent::Indirect(_) => return None,
            },
            Way::Out => self.image.write_extent(at, len).ok()??,
        };
        // What an image may move is not left to others.
        let is_all = place.len == len && place.hold.is_nothing();
        let fits = is_all && self.is_aligned(buffer, range).ok()?;
        fits.then_some((place.file, place.at))
    }

    fn flush(&self) -> io::Result<()> {
        self.image.flush()
    }

    fn discard(&self, at: u64, len: u64) -> io::Result<()> {
        self.image.discard(at, len)
    }

    fn write_zeroes(&self, at: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.image.write_zeroes(at, len, unmap)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.image.resize(size)
    }
}

impl fmt::Debug for ImageDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageDisk")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn buffer_len(range: &Range<u64>) -> usize {
    (range.end - range.start).min(BUFFER) as usize
}

/// A range in parts that fit the buffer, each with its place on the disk.
fn parts(at: u64, range: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let Range { start, end } = range;
    let part = move |from: u64| (at + (from - start), from..end.min(from + BUFFER));
    (start..end).step_by(BUFFER as usize).map(part)
}

#[cfg(test)]
mod tests {
    use aarch64::{Gpa, PAGE_SIZE};
    use images::NewImage;
    use images::qcow2::create::Layout as NewQcow2;
    use memory::{Access, Layout, Prot, Region};

    use super::*;

    /// A directory that is removed.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let name = format!("armlet-disk-{test}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn disk(&self, options: &str) -> DiskConfig {
            let path = self.0.join("disk.img");
            format!("path={},{options}", path.display())
                .parse()
                .unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn pieces(list: &[(u64, u64)]) -> Pieces {
        let region = Arc::new(Region::new(2048 * PAGE_SIZE).unwrap());
        let layout = Layout::default().with(Gpa(0), region, Prot::ReadWrite);
        let mut pieces = Pieces::new(Arc::new(layout.unwrap()));
        for (at, len) in list {
            pieces.push(Gpa(*at), *len, Access::Write).unwrap();
        }
        pieces
    }

    fn bytes(pieces: &Pieces, range: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        pieces.copy_to(range.start, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_go_to_the_place_that_is_asked_for_whatever_way_they_take() {
        const LEN: u64 = 3 << 20;
        for options in [
            "format=raw",
            "format=auto",
            "format=raw,cache=direct",
            "format=qcow2",
        ] {
            let folder = Folder::new("ways");
            let config = folder.disk(options);
            let new = match config.format {
                DiskFormat::Qcow2 => NewImage::Qcow2(NewQcow2::of_size(LEN + 4096)),
                DiskFormat::Auto | DiskFormat::Raw => NewImage::Raw(LEN + 4096),
            };
            images::create(&config.path, &new).unwrap();
            let disk = match OpenDisk::open(&config, 2) {
                Ok(disk) => disk.image,
                // Some file systems cannot leave out the page cache.
                Err(error) => {
                    assert!(error.to_string().contains("page cache"), "{error}");
                    continue;
                }
            };
            // A header before the data, and pieces that are aligned to nothing.
            let from = pieces(&[(0x1_0000, 16), (0x20_0003, 1000), (0x21_0000, LEN - 1000)]);
            let text: Vec<u8> = (0..LEN).map(|n| (n ^ n >> 8 ^ n >> 16) as u8).collect();
            from.copy_from(16, &text).unwrap();
            disk.write(512, &from, 16..16 + LEN).unwrap();
            let into = pieces(&[(0x1000, 512), (0x20_0001, LEN + 512)]);
            disk.read(0, &into, 0..LEN + 1024).unwrap();
            let read = bytes(&into, 0..LEN + 1024);
            assert_eq!(read[..512], [0; 512], "{options}");
            assert!(read[512..512 + text.len()] == text, "{options}");
            assert_eq!(read[512 + text.len()..], [0; 512], "{options}");
            disk.write_zeroes(512, 1024, true).unwrap();
            disk.read(0, &into, 0..2048).unwrap();
            assert_eq!(bytes(&into, 0..1536), [0; 1536], "{options}");
            assert_eq!(bytes(&into, 1536..2048), text[1024..1536], "{options}");
            assert!(disk.read(LEN + 4096, &into, 0..512).is_err());
            assert!(disk.write(u64::MAX - 511, &into, 0..512).is_err());
        }
    }

    #[test]
    fn a_ring_moves_what_lies_in_a_raw_file_and_aligned_memory() {
        let find = |options: &str, list: &[(u64, u64)]| {
            let folder = Folder::new("places");
            let config = folder.disk(options);
            let new = match config.format {
                DiskFormat::Qcow2 => NewImage::Qcow2(NewQcow2::of_size(1 << 20)),
                DiskFormat::Auto | DiskFormat::Raw => NewImage::Raw(1 << 20),
            };
            images::create(&config.path, &new).unwrap();
            let disk = match OpenDisk::open(&config, 2) {
                Ok(disk) => disk.image,
                Err(error) => {
                    assert!(error.to_string().contains("page cache"), "{error}");
                    eprintln!("SKIPPED: {error}");
                    return None;
                }
            };
            assert!(disk.shape().waits);
            let buffer = pieces(list);
            let page = 4096..8192;
            disk.write(8192, &buffer, page.clone()).unwrap();
            let ways = [Way::In, Way::Out].map(|way| disk.place(way, 8192, &buffer, &page));
            Some(ways.map(|place| place.map(|(_, at)| at)))
        };
        let aligned = [(0x1_0000, 8192)];
        let raw = "format=raw,cache=direct";
        let Some(found) = find(raw, &aligned) else {
            return;
        };
        assert_eq!(found, [Some(8192); 2]);
        for (options, list) in [
            (raw, [(0x1_0010, 8192)]),
            ("format=qcow2,cache=direct", aligned),
        ] {
            assert_eq!(find(options, &list), Some([None; 2]), "{options}");
        }
    }

    #[test]
    fn what_cannot_be_opened_is_named() {
        let folder = Folder::new("names");
        for (make, options, said) in [
            (None, "format=raw", "there is no such file"),
            (Some("text"), "format=qcow2", "this is no qcow2 image"),
            (Some("KDMV"), "format=auto", "which is not supported"),
            (Some(""), "format=raw", "it has 0 bytes"),
        ] {
            let config = folder.disk(options);
            if let Some(content) = make {
                std::fs::write(&config.path, content.as_bytes().repeat(512)).unwrap();
            }
            let Err(StartError::Input(line)) = OpenDisk::open(&config, 1) else {
                panic!("{options}: accepted")
            };
            let start = format!("--disk {}: ", config.path.display());
            assert!(line.starts_with(&start) && line.contains(said), "{line}");
        }
    }

    #[test]
    fn an_image_is_one_machine_s() {
        let folder = Folder::new("locks");
        let config = folder.disk("format=raw");
        std::fs::write(&config.path, [0; 4096]).unwrap();
        let first = OpenDisk::open(&config, 3).unwrap();
        assert_eq!(first.config.queues, 3);
        let second = OpenDisk::open(&config, 3).unwrap_err();
        assert!(second.to_string().contains("in use"), "{second}");
        drop(first);
        OpenDisk::open(&config, 3).unwrap();
    }
}
