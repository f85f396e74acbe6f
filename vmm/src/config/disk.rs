//! A disk, as a user describes it: `path=disk.img,format=raw,readonly,...`.

use std::fmt;
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::str::FromStr;

use super::ByteSize;
use super::options::{Key, OptionError, OptionList, Options};
use crate::option_list;

/// Bytes of a serial number (Virtio 1.2, 5.2.6, `VIRTIO_BLK_T_GET_ID`).
pub const MAX_SERIAL: usize = 20;
/// The most queues of a disk. More than hosts and guests gain from.
pub const MAX_QUEUES: u16 = 64;

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// The image's file.
    pub path: PathBuf,
    /// What the file holds.
    pub format: DiskFormat,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Files that its backing files may be, or directories they may be below, beside its own.
    pub allow_backing: Vec<PathBuf>,
    /// What the guest finds as its serial number.
    pub serial: Option<DiskSerial>,
    /// How it uses the host's memory, and what a flush promises.
    pub cache: Cache,
    /// Whether discards of the guest give space back to the host.
    pub discard: bool,
    /// Operations per second.
    pub iops: Option<Limit>,
    /// Bytes per second.
    pub bandwidth: Option<Limit>,
    /// How many queues; `None` for one per vCPU.
    pub queues: Option<QueueCount>,
}

impl DiskConfig {
    /// The image in this file, with everything else as it is by default.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: DiskFormat::Auto,
            read_only: false,
            allow_backing: Vec::new(),
            serial: None,
            cache: Cache::Writeback,
            discard: true,
            iops: None,
            bandwidth: None,
            queues: None,
        }
    }
}

impl OptionList for DiskConfig {
    const KEYS: &'static [Key] = &[
        Key::path("path"),
        Key::value("format"),
        Key::flag("readonly"),
        Key::paths("allow-backing"),
        Key::value("serial"),
        Key::value("cache"),
        Key::flag("discard"),
        Key::value("iops"),
        Key::value("iops-burst"),
        Key::value("bw"),
        Key::value("bw-burst"),
        Key::value("queues"),
    ];

    fn read(options: &Options) -> Result<Self, OptionError> {
        let new = Self::new(options.required::<PathBuf>("path")?);
        let operations = |key| {
            let rate = options.value::<Operations>(key)?;
            Ok::<_, OptionError>(rate.map(|rate| rate.0))
        };
        Ok(Self {
            format: options.value("format")?.unwrap_or(new.format),
            read_only: options.flag("readonly")?.unwrap_or(new.read_only),
            allow_backing: options.paths("allow-backing")?,
            serial: options.value("serial")?,
            cache: options.value("cache")?.unwrap_or(new.cache),
            discard: options.flag("discard")?.unwrap_or(new.discard),
            iops: limit("iops", operations("iops")?, operations("iops-burst")?)?,
            bandwidth: bandwidth(options)?,
            queues: options.value("queues")?,
            ..new
        })
    }

    fn write(&self, options: &mut Options) {
        let Self {
            path,
            format,
            read_only,
            allow_backing,
            serial,
            cache,
            discard,
            iops,
            bandwidth,
            queues,
        } = self;
        // It came from text.
        options.put("path", path.display());
        options.put("format", format);
        options.put("readonly", read_only);
        for path in allow_backing {
            options.put("allow-backing", path.display());
        }
        options.put_some("serial", serial.as_ref());
        options.put("cache", cache);
        options.put("discard", discard);
        options.put_some("iops", iops.map(|limit| limit.rate));
        options.put_some("iops-burst", iops.and_then(|limit| limit.burst));
        let size = |number: NonZeroU64| ByteSize(number.get());
        options.put_some("bw", bandwidth.map(|limit| size(limit.rate)));
        let burst = bandwidth.and_then(|limit| limit.burst);
        options.put_some("bw-burst", burst.map(size));
        options.put_some("queues", *queues);
    }
}

option_list!(DiskConfig);

/// What a disk's file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// What it looks like. A guest can then not write what would make a raw disk look like
    /// something else.
    Auto,
    /// The disk's bytes.
    Raw,
    /// QEMU's image format, version 2 or 3.
    Qcow2,
}

/// How a disk uses the host's memory, and what a flush promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Through the host's page cache. A flush returns when the data would survive a power failure
    /// of the host.
    Writeback,
    /// Past the host's page cache. A flush promises the same.
    Direct,
    /// Through the page cache. A flush only hands the data to the host's drive, which may keep
    /// them in its own memory for a while: where the two differ, it is faster, and a power failure of
    /// the host can lose what was flushed last.
    Relaxed,
}

/// Names of the values of an enum, both ways.
macro_rules! named {
    ($type:ty, $choose:literal, $($name:literal => $value:ident),+) => {
        impl FromStr for $type {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, &'static str> {
                match text {
                    $($name => Ok(Self::$value),)+
                    _ => Err($choose),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$value => $name,)+
                })
            }
        }
    };
}

named!(DiskFormat, "choose auto, raw or qcow2", "auto" => Auto, "raw" => Raw, "qcow2" => Qcow2);
named!(
    Cache, "choose writeback, direct or relaxed",
    "writeback" => Writeback, "direct" => Direct, "relaxed" => Relaxed
);

/// A serial number that fits a virtio disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSerial(String);

impl DiskSerial {
    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DiskSerial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_good = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if text.is_empty() || text.len() > MAX_SERIAL || !text.bytes().all(is_good) {
            let line = format!("a serial number is 1 to {MAX_SERIAL} printable ASCII characters");
            return Err(line);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DiskSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number of queues that a disk can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueCount(u16);

impl QueueCount {
    /// The number, 1 to [`MAX_QUEUES`].
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl FromStr for QueueCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let count = text.parse().ok();
        let count = count.filter(|n| (1..=MAX_QUEUES).contains(n)).map(Self);
        count.ok_or_else(|| format!("a disk has 1 to {MAX_QUEUES} queues"))
    }
}

impl fmt::Display for QueueCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A limit of what is done per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Per second, in the long run.
    pub rate: NonZeroU64,
    /// At once, after a time of rest; `None` for what one second allows.
    pub burst: Option<NonZeroU64>,
}

/// The limit that `key` and its burst give.
fn limit(
    key: &'static str,
    rate: Option<NonZeroU64>,
    burst: Option<NonZeroU64>,
) -> Result<Option<Limit>, OptionError> {
    match (rate, burst) {
        (Some(rate), burst) => Ok(Some(Limit { rate, burst })),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(OptionError::Missing(key)),
    }
}

/// The limit of bytes that `bw` and `bw-burst` give.
pub(super) fn bandwidth(options: &Options) -> Result<Option<Limit>, OptionError> {
    let size = |key| {
        let size = options.value::<NonZeroSize>(key)?;
        Ok::<_, OptionError>(size.map(|size| size.0))
    };
    limit("bw", size("bw")?, size("bw-burst")?)
}

/// Operations per second.
struct Operations(NonZeroU64);

impl FromStr for Operations {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let rate = text.parse().ok().map(Self);
        rate.ok_or("write how many operations per second, at least 1, such as 500")
    }
}

/// A size that is not zero.
struct NonZeroSize(NonZeroU64);

impl FromStr for NonZeroSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let size = text.parse::<ByteSize>().ok();
        let size = size.and_then(|size| NonZeroU64::new(size.0)).map(Self);
        size.ok_or("write a size, how many bytes per second, that is not zero: 512K, 20M or 1GiB")
    }
}

/// Two disks with one file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--disk: {} and {} are the same file; a disk can be given once", .0.display(), .1.display())]
pub struct SameDisk(pub PathBuf, pub PathBuf);

/// Refuses a file that is more than one disk, whatever names lead to it. Files that are not there
/// are for those who open them.
///
/// # Errors
/// With the first two names of one file.
pub fn refuse_same(disks: &[DiskConfig]) -> Result<(), SameDisk> {
    let mut seen: Vec<((u64, u64), &PathBuf)> = Vec::new();
    for DiskConfig { path, .. } in disks {
        let Ok(metadata) = std::fs::metadata(path) else {
            continue;
        };
        let file = (metadata.dev(), metadata.ino());
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == file) {
            return Err(SameDisk((*other).clone(), path.clone()));
        }
        seen.push((file, path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<DiskConfig>().unwrap_err().to_string()
    }

    #[test]
    fn a_path_is_enough() {
        let disk: DiskConfig = "path=a.img".parse().unwrap();
        assert_eq!(disk, DiskConfig::new("a.img"));
    }

    #[test]
    fn everything_can_be_said() {
        let text = "path=a,,b,format=qcow2,readonly=true,allow-backing=/c,allow-backing=d,,e,serial=vol 1,cache=relaxed,discard=false,\
                    iops=100,iops-burst=500,bw=20M,bw-burst=1G,queues=4";
        let disk: DiskConfig = text.parse().unwrap();
        assert_eq!(disk.path, PathBuf::from("a,b"));
        assert_eq!(disk.allow_backing[1], PathBuf::from("d,e"));
        let limit = disk.bandwidth.unwrap();
        assert_eq!(limit.rate.get(), 20 << 20);
        assert_eq!(limit.burst.map(NonZeroU64::get), Some(1 << 30));
        assert_eq!(disk.to_string(), text);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("", "path is missing"),
            ("path=", "path has no value"),
            (
                "path=a,format=vmdk",
                "format=vmdk: choose auto, raw or qcow2",
            ),
            ("path=a,cache=none", "choose writeback, direct or relaxed"),
            ("path=a,serial=123456789012345678901", "1 to 20 printable"),
            ("path=a,serial=ü", "printable ASCII"),
            (
                "path=a,iops=0",
                "iops=0: write how many operations per second",
            ),
            ("path=a,iops=1.5", "at least 1, such as 500"),
            (
                "path=a,iops=1,iops-burst=1k",
                "iops-burst=1k: write how many",
            ),
            ("path=a,allow-backing=", "allow-backing has no value"),
            ("path=a,iops-burst=9", "iops is missing"),
            ("path=a,bw=fast", "bw=fast: write a size"),
            ("path=a,queues=65", "1 to 64 queues"),
            ("path=a,sound=on", "unknown option 'sound'"),
        ] {
            let line = refused(text);
            assert!(line.contains(said), "{text}: {line}");
        }
    }

    #[test]
    fn one_file_is_one_disk_whatever_it_is_called() {
        let folder = std::env::temp_dir().join(format!("armlet-disks-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [a, b, link, hard] = ["a", "b", "link", "hard"].map(|name| folder.join(name));
        for path in [&a, &b] {
            std::fs::write(path, b"disk").unwrap();
        }
        std::os::unix::fs::symlink(&a, &link).unwrap();
        std::fs::hard_link(&a, &hard).unwrap();
        let check = |paths: &[&PathBuf]| {
            let disks: Vec<_> = paths.iter().map(|path| DiskConfig::new(*path)).collect();
            refuse_same(&disks)
        };
        assert_eq!(check(&[&a, &b]), Ok(()));
        for other in [&a, &link, &hard] {
            assert_eq!(
                check(&[&a, &b, other]),
                Err(SameDisk(a.clone(), other.clone()))
            );
        }
        let missing = folder.join("missing");
        assert_eq!(check(&[&missing, &missing]), Ok(()), "opening it fails");
        std::fs::remove_dir_all(folder).unwrap();
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(
            path in ".+", allow in prop::collection::vec(".+", 0..3),
            serial in prop::option::of("[ -~]{1,20}"), flags: [bool; 2],
            rates: [u32; 4], queues in 1_u16..=MAX_QUEUES,
        ) {
            let [iops, burst, bw, most] = rates.map(|rate| NonZeroU64::new(u64::from(rate) << 10));
            let limit = |rate: Option<NonZeroU64>, burst| rate.map(|rate| Limit { rate, burst });
            let disk = DiskConfig {
                serial: serial.map(DiskSerial),
                read_only: flags[0],
                allow_backing: allow.into_iter().map(PathBuf::from).collect(),
                discard: flags[1],
                iops: limit(iops, burst),
                bandwidth: limit(bw, most),
                queues: Some(QueueCount(queues)),
                ..DiskConfig::new(path)
            };
            prop_assert_eq!(disk.to_string().parse(), Ok(disk));
        }
    }
}
