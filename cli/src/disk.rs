//! `armlet disk`: makes, describes, checks, converts and resizes disk images.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use images::qcow2::check::Report;
use images::qcow2::create::Layout;
use images::{Backing, Compression, Conversion, Format, Info, NewImage, Options};
use serde_json::{Value, json};
use vmm::config::ByteSize;
use vmm::text::printable;

/// What to do with an image.
#[derive(Debug, Subcommand)]
pub enum Disk {
    /// Makes an empty image
    Create(Create),
    /// Says what an image is
    Info(About),
    /// Looks for what is wrong with an image
    Check(Check),
    /// Copies an image to a new file of another format
    Convert(Convert),
    /// Gives a disk another size
    Resize(Resize),
}

impl Disk {
    /// Whether there is a new file when it is done.
    pub fn makes_a_file(&self) -> bool {
        match self {
            Self::Create(_) | Self::Convert(_) => true,
            Self::Info(_) | Self::Check(_) | Self::Resize(_) => false,
        }
    }
}

/// The format of an image that is there.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Known {
    /// What its first bytes say
    Auto,
    /// The disk's bytes as they are
    Raw,
    /// qcow2
    Qcow2,
}

impl From<Known> for Format {
    fn from(known: Known) -> Self {
        match known {
            Known::Auto => Self::Auto,
            Known::Raw => Self::Raw,
            Known::Qcow2 => Self::Qcow2,
        }
    }
}

/// The format of a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum New {
    /// The disk's bytes as they are
    Raw,
    /// A file that grows as it is written
    Qcow2,
}

/// How a new image is compressed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Packed {
    /// Deflate, which every program reads
    Zlib,
    /// zstd
    Zstd,
}

/// `armlet disk create`
#[derive(Args, Debug)]
pub struct Create {
    /// The new file
    path: PathBuf,
    /// The disk's size, such as 512M or 20G; the backing file's if it is left out
    #[arg(allow_hyphen_values = true)]
    size: Option<String>,
    /// The format of the new file
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    format: New,
    /// What the disk has before it is written: an image that stays as it is. A relative path begins
    /// at the new file
    #[arg(long, value_name = "PATH")]
    backing: Option<PathBuf>,
    /// The format of the backing file
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    backing_format: Known,
    /// A file that the backing file's own backing files may be, or a directory below which they may
    /// be, beside its own. Repeatable
    #[arg(long, value_name = "PATH")]
    allow_backing: Vec<PathBuf>,
    /// The unit of allocation (qcow2), 512 to 2M
    #[arg(long, value_name = "SIZE", default_value = "64K")]
    cluster_size: String,
}

/// `armlet disk info`
#[derive(Args, Debug)]
pub struct About {
    /// The image
    path: PathBuf,
    /// Its format
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Known,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// `armlet disk check`
#[derive(Args, Debug)]
pub struct Check {
    /// The image
    path: PathBuf,
    /// Its format
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Known,
    /// Mends what can be mended without a guess
    #[arg(long)]
    repair: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// `armlet disk convert`
#[derive(Args, Debug)]
pub struct Convert {
    /// The image
    from: PathBuf,
    /// The new file
    to: PathBuf,
    /// The image's format
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    from_format: Known,
    /// The format of the new file
    #[arg(long, value_name = "FORMAT", default_value = "qcow2")]
    format: New,
    /// Compresses the new file (qcow2)
    #[arg(short, long)]
    compress: bool,
    /// How it is compressed
    #[arg(long, value_name = "HOW", default_value = "zlib")]
    compression: Packed,
    /// The unit of allocation of the new file (qcow2), 512 to 2M
    #[arg(long, value_name = "SIZE", default_value = "64K")]
    cluster_size: String,
    /// A file that the image's backing files may be, or a directory below which they may be, beside
    /// its own. Repeatable
    #[arg(long, value_name = "PATH")]
    allow_backing: Vec<PathBuf>,
}

/// `armlet disk resize`
#[derive(Args, Debug)]
pub struct Resize {
    /// The image
    path: PathBuf,
    /// The new size, such as 512M or 20G
    #[arg(allow_hyphen_values = true)]
    size: String,
    /// Its format
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    format: Known,
    /// Allows a smaller size, which loses what is beyond it
    #[arg(long)]
    shrink: bool,
    /// A file that the image's backing files may be, or a directory below which they may be, beside
    /// its own. Repeatable
    #[arg(long, value_name = "PATH")]
    allow_backing: Vec<PathBuf>,
}

/// What there is to say, and whether an image turned out to be bad.
#[derive(Debug, PartialEq, Eq)]
pub struct Done {
    /// For the user; may be empty.
    pub text: String,
    /// What is wrong, in one line.
    pub bad: Option<String>,
}

impl Done {
    fn well(text: String) -> Self {
        Self { text, bad: None }
    }
}

/// Does it.
///
/// # Errors
/// Why it cannot be done, in one line.
pub fn run(disk: Disk) -> Result<Done, String> {
    match disk {
        Disk::Create(create) => run_create(create),
        Disk::Info(about) => run_info(&about),
        Disk::Check(check) => run_check(&check),
        Disk::Convert(convert) => run_convert(convert),
        Disk::Resize(resize) => run_resize(&resize),
    }
}

fn size(what: &str, text: &str) -> Result<u64, String> {
    let size = text.parse::<ByteSize>();
    size.map(|ByteSize(bytes)| bytes)
        .map_err(|error| format!("{what} {error}"))
}

/// Sizes of disks are in sectors: guests see no less.
fn disk_size(text: &str) -> Result<u64, String> {
    const SECTOR: u64 = 512;
    let bytes = size("the size", text)?;
    if bytes == 0 || !bytes.is_multiple_of(SECTOR) {
        return Err(format!(
            "the size {text}: give a multiple of {SECTOR} bytes, and not 0"
        ));
    }
    Ok(bytes)
}

/// Names of formats that end the names of files, and what they are for programs that go by names.
const SUFFIXES: [(&str, Option<New>); 8] = [
    ("raw", Some(New::Raw)),
    ("qcow2", Some(New::Qcow2)),
    ("qed", None),
    ("vdi", None),
    ("vhd", None),
    ("vhdx", None),
    ("vmdk", None),
    ("vpc", None),
];

/// Refuses a name for a new file that says another format than it has.
fn refuse_name(path: &Path, format: New) -> Result<(), String> {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    let suffix = suffix.unwrap_or_default().to_ascii_lowercase();
    let known = SUFFIXES.iter().find(|(name, _)| *name == suffix);
    let path = path.display();
    match known {
        None => Ok(()),
        Some((_, Some(named))) if *named == format => Ok(()),
        Some((name, Some(_))) => Err(format!(
            "{path}: the name says {name}; add --format {name}, or give another name"
        )),
        Some((name, None)) => Err(format!(
            "{path}: the name says {name}, which is not supported; give another name, for a new \
             file that is raw or qcow2"
        )),
    }
}

fn run_create(create: Create) -> Result<Done, String> {
    let Create {
        path,
        size: given,
        format,
        backing,
        backing_format,
        allow_backing,
        cluster_size,
    } = create;
    refuse_name(&path, format)?;
    let given = given.as_deref().map(disk_size).transpose()?;
    let cluster = size("--cluster-size", &cluster_size)?;
    let new = match (format, backing, given) {
        (New::Raw, Some(_), _) => return Err("--backing: a raw disk has no backing file".into()),
        (_, None, None) => {
            return Err(format!(
                "{}: give the disk's size, such as 20G",
                path.display()
            ));
        }
        (New::Raw, None, Some(bytes)) => NewImage::Raw(bytes),
        (New::Qcow2, None, Some(bytes)) => NewImage::Qcow2(Layout {
            cluster,
            ..Layout::of_size(bytes)
        }),
        (New::Qcow2, Some(backing), given) => {
            let options = Options {
                format: backing_format.into(),
                backing: Backing::SameTree(allow_backing),
                ..Options::default()
            };
            let layout = Layout::on(&path, backing.into_os_string(), &options, given);
            NewImage::Qcow2(Layout {
                cluster,
                ..layout.map_err(|error| error.to_string())?
            })
        }
    };
    images::create(&path, &new).map_err(|error| error.to_string())?;
    Ok(Done::well(match new {
        NewImage::Raw(_) => String::new(),
        NewImage::Qcow2(_) => needed(&path),
    }))
}

/// What has to be said each time the new image is used, if its backing files are elsewhere.
fn needed(path: &Path) -> String {
    let outside = images::outside(path, Format::Qcow2);
    if outside.is_empty() {
        return String::new();
    }
    let value = |path: &Path| path.display().to_string().replace(',', ",,");
    let allowed = outside.iter().map(|directory| value(directory));
    let allowed: Vec<String> = allowed
        .map(|text| format!(",allow-backing={text}"))
        .collect();
    format!(
        "its backing files are not below its directory, so that they have to be allowed: --disk \
         path={}{}",
        value(path),
        allowed.concat()
    )
}

fn run_info(about: &About) -> Result<Done, String> {
    let info = images::info(&about.path, about.format.into()).map_err(|error| error.to_string())?;
    let text = if about.json {
        info_json(&info).to_string()
    } else {
        info_text(&info)
    };
    Ok(Done::well(text))
}

fn info_text(info: &Info) -> String {
    let mut lines = vec![
        format!("image: {}", info.path.display()),
        format!(
            "format: {}",
            if info.qcow2.is_some() { "qcow2" } else { "raw" }
        ),
        format!("disk size: {} ({} bytes)", human(info.size), info.size),
        format!("takes: {}", human(info.usage)),
    ];
    if let Some(qcow2) = &info.qcow2 {
        lines.push(format!("version: {}", qcow2.version));
        lines.push(format!("cluster size: {}", human(qcow2.cluster)));
        lines.push(format!("refcounts: {} bits", qcow2.refcount_bits));
        lines.push(format!("compression: {}", qcow2.compression));
        if let Some((name, format)) = &qcow2.backing {
            let format = format.as_deref().unwrap_or("not said");
            lines.push(format!("backing file: {name} (format: {format})"));
        }
        for snapshot in &qcow2.snapshots {
            lines.push(format!("snapshot: {} {}", snapshot.id, snapshot.name));
        }
        if qcow2.dirty {
            lines.push("it was not closed: 'armlet disk check --repair' mends it".into());
        }
        if qcow2.corrupt {
            lines.push("it is marked as corrupt: 'armlet disk check' says more".into());
        }
    }
    // Names come from whoever made the image.
    let lines: Vec<_> = lines.iter().map(|line| printable(line)).collect();
    lines.join("\n")
}

fn info_json(info: &Info) -> Value {
    let qcow2 = info.qcow2.as_ref().map(|qcow2| {
        let snapshots: Vec<Value> = qcow2
            .snapshots
            .iter()
            .map(|one| json!({ "id": one.id, "name": one.name, "seconds": one.seconds }))
            .collect();
        json!({
            "version": qcow2.version,
            "cluster-size": qcow2.cluster,
            "refcount-bits": qcow2.refcount_bits,
            "compression": qcow2.compression,
            "backing-file": qcow2.backing.as_ref().map(|(name, _)| name),
            "backing-format": qcow2.backing.as_ref().and_then(|(_, format)| format.as_ref()),
            "snapshots": snapshots,
            "dirty": qcow2.dirty,
            "corrupt": qcow2.corrupt,
        })
    });
    json!({
        "path": info.path.to_string_lossy(),
        "format": if info.qcow2.is_some() { "qcow2" } else { "raw" },
        "size": info.size,
        "usage": info.usage,
        "qcow2": qcow2,
    })
}

/// A size as one reads it.
fn human(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(5);
    if unit == 0 {
        return format!("{bytes} bytes");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let name = units[unit as usize];
    if tenths.is_multiple_of(10) {
        format!("{} {name}", tenths / 10)
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

fn run_check(check: &Check) -> Result<Done, String> {
    let format = check.format.into();
    let (found, left) = if check.repair {
        let both = images::repair(&check.path, format).map_err(|error| error.to_string())?;
        both.map_or((None, None), |(found, left)| (Some(found), Some(left)))
    } else {
        let found = images::check(&check.path, format).map_err(|error| error.to_string())?;
        (found.clone(), found)
    };
    let (Some(found), Some(left)) = (found, left) else {
        let text = if check.json {
            "null"
        } else {
            "a raw disk has nothing to check"
        };
        return Ok(Done::well(text.into()));
    };
    let text = if check.json {
        json!({ "found": report_json(&found), "left": report_json(&left) }).to_string()
    } else {
        report_text(&found, check.repair.then_some(&left))
    };
    let bad = (!left.is_clean()).then(|| verdict(&check.path, &left, check.repair));
    Ok(Done { text, bad })
}

fn report_text(found: &Report, left: Option<&Report>) -> String {
    let mut lines = found.faults.clone();
    let told = found.faults.len() as u64;
    let more = (found.corruptions + found.leaks).saturating_sub(told);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if found.dirty {
        lines.push("it was not closed by who wrote it".into());
    }
    if found.marked_corrupt {
        lines.push("it is marked as corrupt".into());
    }
    lines.push(format!(
        "{} of {} clusters have data, {} of them compressed",
        found.allocated, found.total, found.compressed
    ));
    lines.push(match left {
        _ if found.is_clean() => "nothing is wrong".into(),
        Some(left) if left.is_clean() => "all that was wrong is mended".into(),
        Some(_) | None => format!(
            "{} corruptions, {} lost clusters",
            found.corruptions, found.leaks
        ),
    });
    lines.join("\n")
}

fn report_json(report: &Report) -> Value {
    json!({
        "corruptions": report.corruptions,
        "leaks": report.leaks,
        "dirty": report.dirty,
        "marked-corrupt": report.marked_corrupt,
        "allocated": report.allocated,
        "compressed": report.compressed,
        "total": report.total,
        "faults": report.faults,
    })
}

fn verdict(path: &Path, left: &Report, repaired: bool) -> String {
    let path = path.display();
    if !repaired {
        return format!(
            "{path}: something is wrong; 'armlet disk check --repair' mends what it can"
        );
    }
    let (corruptions, leaks) = (left.corruptions, left.leaks);
    format!(
        "{path}: {corruptions} corruptions and {leaks} lost clusters are left, which cannot be \
         mended; 'armlet disk convert' saves its data if all of them can still be read"
    )
}

fn run_convert(convert: Convert) -> Result<Done, String> {
    let cluster = size("--cluster-size", &convert.cluster_size)?;
    refuse_name(&convert.to, convert.format)?;
    let conversion = match convert.format {
        New::Raw if convert.compress => {
            return Err("--compress: a raw disk cannot be compressed".into());
        }
        New::Raw => Conversion::Raw,
        New::Qcow2 => Conversion::Qcow2 {
            layout: Layout {
                cluster,
                compression: match convert.compression {
                    Packed::Zlib => Compression::Zlib,
                    Packed::Zstd => Compression::Zstd,
                },
                ..Layout::of_size(0)
            },
            compress: convert.compress,
        },
    };
    let options = Options {
        format: convert.from_format.into(),
        backing: Backing::SameTree(convert.allow_backing),
        ..Options::default()
    };
    images::convert(&convert.from, &options, &convert.to, &conversion)
        .map_err(|error| error.to_string())?;
    Ok(Done::well(String::new()))
}

fn run_resize(resize: &Resize) -> Result<Done, String> {
    let bytes = disk_size(&resize.size)?;
    let options = Options {
        format: resize.format.into(),
        backing: Backing::SameTree(resize.allow_backing.clone()),
        ..Options::default()
    };
    images::resize(&resize.path, &options, bytes, resize.shrink)
        .map_err(|error| error.to_string())?;
    Ok(Done::well(String::new()))
}

#[cfg(test)]
mod tests;
