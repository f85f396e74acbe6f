//! The machine file: the settings of `armlet run` in TOML, each with the name of its flag.
//!
//! ```toml
//! kernel = "Image"            # relative to this file
//! cpus = 4
//! memory = "2G"
//! cmdline = "console=ttyAMA0"
//! no-reboot = true
//! ```
//!
//! A device that takes a list of options is a table with the same keys, `[rng]`, or several of them,
//! `[[disk]]`. An option that may be repeated has a list of its values there, or one of them. The file is read by hand from the parsed document rather than by `serde`: so an error
//! has the line and the key it is about, and the table of a device's keys is the only description
//! of it. [`print`](super::print) writes what this reads.

use std::fmt::Display;
use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::OFlags;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::balloon::Balloon;
use super::options::{Kind, OptionError, OptionList, Options, find};
use super::rng::Rng;
use super::{Serial, Settings};

/// The longest file that is read: far more than any machine needs.
const MAX_BYTES: u64 = 1 << 20;

/// How a setting is taken from its value.
type Set = fn(&mut Settings, &Given<'_>) -> Result<(), Wrong>;

/// Every setting.
const SETTINGS: &[(&str, Set)] = &[
    ("kernel", |to, given| {
        given.path().map(|it| to.kernel = Some(it))
    }),
    ("initrd", |to, given| {
        given.path().map(|it| to.initrd = Some(it))
    }),
    ("cmdline", |to, given| {
        given.text().map(|it| to.cmdline = Some(it))
    }),
    ("cpus", |to, given| {
        given.number().map(|it| to.cpus = Some(it))
    }),
    ("memory", |to, given| {
        given.number().map(|it| to.memory = Some(it))
    }),
    ("accel", |to, given| {
        given.text().map(|it| to.accel = Some(it))
    }),
    ("cpu", |to, given| given.text().map(|it| to.cpu = Some(it))),
    ("counter-frequency", |to, given| {
        given.number().map(|it| to.counter_frequency = Some(it))
    }),
    ("serial", |to, given| {
        given.serial().map(|it| to.serial = Some(it))
    }),
    ("no-reboot", |to, given| {
        given.flag().map(|it| to.no_reboot = Some(it))
    }),
    ("transport", |to, given| {
        given.text().map(|it| to.transport = Some(it))
    }),
    ("disk", |to, given| {
        given.devices().map(|it| to.disks = Some(it))
    }),
    ("console", |to, given| {
        given.devices().map(|it| to.consoles = Some(it))
    }),
    ("balloon", |to, given| {
        given.balloon().map(|it| to.balloon = Some(it))
    }),
    ("rng", |to, given| given.rng().map(|it| to.rng = Some(it))),
    ("stop-timeout", |to, given| {
        given.number().map(|it| to.stop_timeout = Some(it))
    }),
    ("name", |to, given| {
        given.text().map(|it| to.name = Some(it))
    }),
    ("control", |to, given| {
        given.path().map(|it| to.control = Some(it))
    }),
];

/// Why a machine file says nothing. One line that begins with its name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("{}: cannot read the machine file: {}", .0.display(), .1)]
    Read(PathBuf, std::io::Error),
    /// It is something else than a file.
    #[error("{}: this is {}; a machine file is a regular file", .0.display(), .1)]
    Kind(PathBuf, &'static str),
    /// It is no text, or too long.
    #[error("{}: no machine file: {}", .0.display(), .1)]
    NoText(PathBuf, &'static str),
    /// A line of it is wrong.
    #[error("{}:{line}: {what}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong; begins with the key, where it is about one.
        what: String,
    },
}

/// Reads a machine file.
///
/// # Errors
/// When it cannot be read, or a line is wrong.
pub fn read(path: &Path) -> Result<Settings, FileError> {
    let failed = |error| FileError::Read(path.to_owned(), error);
    let check = |metadata: &Metadata| match kind(metadata) {
        None => Ok(()),
        Some(what) => Err(FileError::Kind(path.to_owned(), what)),
    };
    // Opening a device may do something, and opening a pipe waits for its other end.
    check(&std::fs::metadata(path).map_err(failed)?)?;
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path);
    let file = file.map_err(failed)?;
    // It may be another by now.
    check(&file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    // One byte more shows that it is too long.
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let no_text = |why| FileError::NoText(path.to_owned(), why);
    if bytes.len() as u64 > MAX_BYTES {
        return Err(no_text("it is longer than 1 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| no_text("it is not UTF-8"))?;
    parse(&text, path)
}

/// What it is, if it is no regular file.
fn kind(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// Reads the text of the machine file at `path`.
///
/// # Errors
/// When a line is wrong.
pub fn parse(text: &str, path: &Path) -> Result<Settings, FileError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    settings(text, directory).map_err(|Wrong { at, what }| {
        FileError::Line {
            path: path.to_owned(),
            line: line_of(text, at),
            // The parser's messages have several lines.
            what: what.replace('\n', " "),
        }
    })
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.bytes().take(at);
    before.filter(|byte| *byte == b'\n').count() + 1
}

fn settings(text: &str, directory: &Path) -> Result<Settings, Wrong> {
    let document = DeTable::parse(text).map_err(|error| Wrong {
        at: error.span().unwrap_or_default().start,
        what: error.message().to_owned(),
    })?;
    let mut settings = Settings::default();
    for (key, value) in in_order(document.get_ref()) {
        let name: &str = key.get_ref();
        let Some((key, set)) = SETTINGS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<_> = SETTINGS.iter().map(|(name, _)| *name).collect();
            let known = known.join(", ");
            return Err(Wrong {
                at: key.span().start,
                what: format!("unknown setting '{name}'; choose from {known}"),
            });
        };
        let given = Given {
            key,
            value: value.get_ref(),
            span: value.span(),
            directory,
        };
        set(&mut settings, &given)?;
    }
    Ok(settings)
}

/// What a table holds, in the order of the file, so that the first mistake is told.
fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(
    &'a Spanned<toml::de::DeString<'i>>,
    &'a Spanned<DeValue<'i>>,
)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// What is wrong, and at which byte.
#[derive(Debug)]
pub struct Wrong {
    at: usize,
    what: String,
}

/// The value of a setting.
#[derive(Debug)]
pub struct Given<'a> {
    key: &'static str,
    value: &'a DeValue<'a>,
    span: Range<usize>,
    directory: &'a Path,
}

impl Given<'_> {
    /// What is said in a text.
    ///
    /// # Errors
    /// When it is no text, or not a possible one.
    pub fn text<T: FromStr<Err: Display>>(&self) -> Result<T, Wrong> {
        let text = self.value.as_str().ok_or_else(|| self.not_a("text"))?;
        self.parse(text)
    }

    /// What is said in a number or a text.
    ///
    /// # Errors
    /// When it is neither, or not a possible one.
    pub fn number<T: FromStr<Err: Display>>(&self) -> Result<T, Wrong> {
        let text = number(self.value).or_else(|| self.value.as_str().map(str::to_owned));
        self.parse(&text.ok_or_else(|| self.not_a("number or a text"))?)
    }

    /// A file's name, relative to the machine file.
    ///
    /// # Errors
    /// When it is no text, or empty.
    pub fn path(&self) -> Result<PathBuf, Wrong> {
        let path: PathBuf = self.text()?;
        if path.as_os_str().is_empty() {
            return Err(self.wrong(": this is no file's name"));
        }
        Ok(self.directory.join(path))
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is neither.
    pub fn flag(&self) -> Result<bool, Wrong> {
        let flag = self.value.as_bool();
        flag.ok_or_else(|| self.wrong(": write true or false"))
    }

    /// A device that takes options.
    ///
    /// # Errors
    /// When it is no table, or its options are wrong.
    pub fn device<T: OptionList>(&self) -> Result<T, Wrong> {
        let table = self.value.as_table().ok_or_else(|| self.not_a("table"))?;
        self.options(table, self.span.start)
    }

    /// Several devices of a kind.
    ///
    /// # Errors
    /// As [`Given::device`].
    pub fn devices<T: OptionList>(&self) -> Result<Vec<T>, Wrong> {
        let not_tables = || self.wrong(&format!(": write a table [[{}]] for each", self.key));
        let list = self.value.as_array().ok_or_else(not_tables)?;
        let device = |value: &Spanned<DeValue<'_>>| {
            let table = value.get_ref().as_table().ok_or_else(not_tables)?;
            self.options(table, value.span().start)
        };
        list.iter().map(device).collect()
    }

    fn balloon(&self) -> Result<Balloon, Wrong> {
        if self.value.is_table() {
            self.device().map(Balloon::On)
        } else {
            self.text()
        }
    }

    fn rng(&self) -> Result<Rng, Wrong> {
        if self.value.is_table() {
            self.device().map(Rng::On)
        } else {
            self.text()
        }
    }

    fn serial(&self) -> Result<Serial, Wrong> {
        Ok(match self.text()? {
            Serial::File(path) => Serial::File(self.directory.join(path)),
            elsewhere @ (Serial::Stdio | Serial::None) => elsewhere,
        })
    }

    /// Reads a table whose header or brace is at `at`.
    fn options<T: OptionList>(&self, table: &DeTable<'_>, at: usize) -> Result<T, Wrong> {
        let mut options = Options::default();
        for (key, value) in in_order(table) {
            let here = |error| self.option_wrong(key.span().start, &error);
            let known = find(key.get_ref(), T::KEYS).map_err(here)?;
            let list = match value.get_ref().as_array() {
                Some(list) if known.kind == Kind::Paths => list.iter().collect(),
                Some(_) | None => vec![value],
            };
            for value in list {
                let text = self.option(known.kind, value.get_ref());
                let text = text.ok_or_else(|| Wrong {
                    at: value.span().start,
                    what: format!("{}: {}: write {}", self.key, known.name, wanted(known.kind)),
                })?;
                options.add(*known, text).map_err(here)?;
            }
        }
        T::read(&options).map_err(|error| {
            let about = error.key().and_then(|key| table.get_key_value(key));
            self.option_wrong(about.map_or(at, |(key, _)| key.span().start), &error)
        })
    }

    /// The text of an option's value, if it is of its kind.
    fn option(&self, kind: Kind, value: &DeValue<'_>) -> Option<String> {
        match kind {
            Kind::Flag => value.as_bool().map(|flag| flag.to_string()),
            Kind::Value => number(value).or_else(|| value.as_str().map(str::to_owned)),
            Kind::Path | Kind::Paths => {
                let text = value.as_str()?;
                // Nothing is no name, below a directory either.
                let path = self.directory.join(text).into_os_string().into_string();
                if text.is_empty() {
                    Some(String::new())
                } else {
                    path.ok()
                }
            }
        }
    }

    fn option_wrong(&self, at: usize, error: &OptionError) -> Wrong {
        let what = format!("{}: {error}", self.key);
        Wrong { at, what }
    }

    fn parse<T: FromStr<Err: Display>>(&self, text: &str) -> Result<T, Wrong> {
        let value = text.parse();
        value.map_err(|why: T::Err| self.wrong(&format!(" {why}")))
    }

    fn not_a(&self, wanted: &str) -> Wrong {
        let found = self.value.type_str();
        self.wrong(&format!(": write a {wanted}, not a value of type {found}"))
    }

    fn wrong(&self, what: &str) -> Wrong {
        let what = format!("{}{what}", self.key);
        let at = self.span.start;
        Wrong { at, what }
    }
}

/// A number as the flags take it.
fn number(value: &DeValue<'_>) -> Option<String> {
    let integer = value.as_integer()?;
    let number = i128::from_str_radix(integer.as_str(), integer.radix());
    number.ok().map(|number| number.to_string())
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Value => "a text or a number",
        Kind::Path => "a text",
        Kind::Paths => "a text, or a list of texts",
        Kind::Flag => "true or false",
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::device_of;
