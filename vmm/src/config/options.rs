//! Lists of options in one text, such as `path=disk.img,format=raw,readonly`: how every device is
//! described on the command line, and by tables with the same keys in a machine file.
//!
//! Items are separated by commas; a comma that belongs to a value is written twice. A flag stands
//! alone or has the value `true` or `false`. A key is given once, unless it takes several names of
//! files: it is then repeated, and has a list in a machine file.
//!
//! To describe a device, write a plain struct and implement [`OptionList`] for it: the table of its
//! keys, how it is read from [`Options`], and how it is written back. [`option_list!`](crate::option_list!) adds
//! [`FromStr`] and [`Display`](std::fmt::Display); the machine file uses the same
//! three. What is written is read as the same value again.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A key that a device knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value.
    Value,
    /// The name of a file or socket. In a machine file it is relative to that file.
    Path,
    /// The names of files or directories, any number of them, as [`Kind::Path`].
    Paths,
    /// Nothing, `true` or `false`.
    Flag,
}

impl Key {
    /// A key with a value.
    #[must_use]
    pub const fn value(name: &'static str) -> Self {
        let kind = Kind::Value;
        Self { name, kind }
    }

    /// A key with the name of a file.
    #[must_use]
    pub const fn path(name: &'static str) -> Self {
        let kind = Kind::Path;
        Self { name, kind }
    }

    /// A key with names of files, which may be repeated.
    #[must_use]
    pub const fn paths(name: &'static str) -> Self {
        let kind = Kind::Paths;
        Self { name, kind }
    }

    /// A flag.
    #[must_use]
    pub const fn flag(name: &'static str) -> Self {
        let kind = Kind::Flag;
        Self { name, kind }
    }
}

/// Something that a list of options describes.
pub trait OptionList: Sized {
    /// Every key it knows.
    const KEYS: &'static [Key];

    /// Reads it from options whose keys are all known, and each given once.
    ///
    /// # Errors
    /// When a value is not possible, or one is missing.
    fn read(options: &Options) -> Result<Self, OptionError>;

    /// Writes what [`OptionList::read`] reads as the same again.
    fn write(&self, options: &mut Options);

    /// Reads a list in one text.
    ///
    /// # Errors
    /// As [`Options::parse`] and [`OptionList::read`].
    fn from_list(text: &str) -> Result<Self, OptionError> {
        Self::read(&Options::parse(text, Self::KEYS)?)
    }

    /// All it says of itself.
    fn to_options(&self) -> Options {
        let mut options = Options::default();
        self.write(&mut options);
        options
    }
}

/// Implements `FromStr` and `Display` for types that are an [`OptionList`].
#[macro_export]
macro_rules! option_list {
    ($($name:ty),+) => {$(
        impl std::str::FromStr for $name {
            type Err = $crate::config::options::OptionError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::config::options::OptionList::from_list(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::config::options::OptionList::to_options(self).fmt(f)
            }
        }
    )+};
}

/// Options with their values, in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Options(Vec<(&'static str, String)>);

/// What is wrong with a list of options. One line that names the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// A key that is not in the table.
    #[error("unknown option '{key}'; choose from {known}")]
    Unknown {
        /// As it was written.
        key: String,
        /// Those in the table.
        known: String,
    },
    /// A key twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// A key without its value.
    #[error("{0} has no value; write {0}=...")]
    NoValue(&'static str),
    /// Two commas too few, or one too many.
    #[error("there is nothing between two commas; a comma in a value is written twice")]
    Empty,
    /// A key that has to be there is not.
    #[error("{0} is missing; write {0}=...")]
    Missing(&'static str),
    /// A value that is not possible.
    #[error("{key}={value}: {why}")]
    Value {
        /// Whose value.
        key: &'static str,
        /// As it was written.
        value: String,
        /// Why not, and what is.
        why: String,
    },
}

impl OptionError {
    /// The key it is about, if that is a known one.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Twice(key)
            | Self::NoValue(key)
            | Self::Missing(key)
            | Self::Value { key, .. } => Some(key),
            Self::Unknown { .. } | Self::Empty => None,
        }
    }
}

impl Options {
    /// Takes a text apart. An empty one has no options.
    ///
    /// # Errors
    /// When a key is unknown, given twice or lacks its value.
    pub fn parse(text: &str, known: &[Key]) -> Result<Self, OptionError> {
        let mut options = Self::default();
        if text.is_empty() {
            return Ok(options);
        }
        for item in split(text) {
            if item.is_empty() {
                return Err(OptionError::Empty);
            }
            let (key, value) = match item.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (&*item, None),
            };
            let key = find(key, known)?;
            let value = match (value, key.kind) {
                (Some(value), _) => value,
                (None, Kind::Flag) => "true",
                (None, Kind::Value | Kind::Path | Kind::Paths) => {
                    return Err(OptionError::NoValue(key.name));
                }
            };
            options.add(*key, value.to_owned())?;
        }
        Ok(options)
    }

    /// Adds an option that is known.
    ///
    /// # Errors
    /// When it is there already, and may not be repeated.
    pub fn add(&mut self, key: Key, value: String) -> Result<(), OptionError> {
        let Key { name, kind } = key;
        if self.get(name).is_some() && kind != Kind::Paths {
            return Err(OptionError::Twice(name));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Writes a value.
    pub fn put(&mut self, key: &'static str, value: impl fmt::Display) {
        self.0.push((key, value.to_string()));
    }

    /// Writes a value if there is one.
    pub fn put_some(&mut self, key: &'static str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// The text of a value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.as_str())
    }

    /// The names of files of a key that may be repeated.
    ///
    /// # Errors
    /// When one is empty.
    pub fn paths(&self, key: &'static str) -> Result<Vec<PathBuf>, OptionError> {
        let given = self.iter().filter(|(name, _)| *name == key);
        let path = |(_, value): (_, &str)| match value {
            "" => Err(OptionError::NoValue(key)),
            value => Ok(value.into()),
        };
        given.map(path).collect()
    }

    /// A value, if it is given.
    ///
    /// # Errors
    /// When it is not possible.
    pub fn value<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, OptionError> {
        let parse = |value: &str| {
            value.parse().map_err(|why: T::Err| OptionError::Value {
                key,
                value: value.to_owned(),
                why: why.to_string(),
            })
        };
        self.get(key).map(parse).transpose()
    }

    /// A value that has to be there.
    ///
    /// # Errors
    /// When it is not, or is empty, or not possible.
    pub fn required<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<T, OptionError> {
        if self.get(key) == Some("") {
            return Err(OptionError::NoValue(key));
        }
        self.value(key)?.ok_or(OptionError::Missing(key))
    }

    /// A flag, if it is given.
    ///
    /// # Errors
    /// When its value is neither `true` nor `false`.
    pub fn flag(&self, key: &'static str) -> Result<Option<bool>, OptionError> {
        match self.get(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(value) => Err(OptionError::Value {
                key,
                value: value.to_owned(),
                why: "write true or false".to_owned(),
            }),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{key}={}", value.replace(',', ",,"))?;
        }
        Ok(())
    }
}

/// The key of this name.
///
/// # Errors
/// When there is none.
pub fn find<'a>(name: &str, known: &'a [Key]) -> Result<&'a Key, OptionError> {
    let found = known.iter().find(|key| key.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = known.iter().map(|key| key.name).collect();
        let known = known.join(", ");
        let key = name.to_owned();
        OptionError::Unknown { key, known }
    })
}

/// The items between single commas, with double ones made single.
fn split(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEYS: [Key; 5] = [
        Key::path("path"),
        Key::value("size"),
        Key::flag("readonly"),
        Key::value("serial"),
        Key::paths("allow"),
    ];

    fn parse(text: &str) -> Result<Options, OptionError> {
        Options::parse(text, &KEYS)
    }

    fn refused(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn lists_are_taken_apart() {
        let options = parse("path=a=b,readonly,size=12").unwrap();
        assert_eq!(options.get("path"), Some("a=b"));
        assert_eq!(options.flag("readonly"), Ok(Some(true)));
        assert_eq!(options.value::<u8>("size"), Ok(Some(12)));
        assert_eq!(options.value::<u8>("serial"), Ok(None));
        assert_eq!(parse(""), Ok(Options::default()));
    }

    #[test]
    fn names_of_files_may_be_repeated() {
        let options = parse("allow=a,path=b,allow=c,,d").unwrap();
        let allowed: [PathBuf; 2] = ["a".into(), "c,d".into()];
        assert_eq!(options.paths("allow"), Ok(allowed.into()));
        assert_eq!(parse("path=b").unwrap().paths("allow"), Ok(Vec::new()));
        let empty = parse("allow=a,allow=").unwrap().paths("allow");
        assert_eq!(empty, Err(OptionError::NoValue("allow")));
        assert_eq!(refused("allow"), "allow has no value; write allow=...");
    }

    #[test]
    fn commas_are_doubled_in_values() {
        for (text, path) in [
            ("path=a,,b", "a,b"),
            ("path=,,", ","),
            ("path=a,,,,b", "a,,b"),
        ] {
            assert_eq!(parse(text).unwrap().get("path"), Some(path), "{text}");
        }
        let options = parse("path=a,,,readonly").unwrap();
        assert_eq!(options.get("path"), Some("a,"));
        assert_eq!(options.get("readonly"), Some("true"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            (
                "path=a,redonly",
                "unknown option 'redonly'; choose from path, size, readonly, serial, allow",
            ),
            ("path=a,path=b", "path is given twice"),
            ("path", "path has no value; write path=..."),
            (
                "size=1,",
                "there is nothing between two commas; a comma in a value is written twice",
            ),
            (
                "=1",
                "unknown option ''; choose from path, size, readonly, serial, allow",
            ),
        ] {
            assert_eq!(refused(text), said);
        }
        let flag = parse("readonly=yes").unwrap().flag("readonly").unwrap_err();
        assert_eq!(flag.to_string(), "readonly=yes: write true or false");
        assert_eq!(flag.key(), Some("readonly"));
        let number = parse("size=-1").unwrap().value::<u8>("size").unwrap_err();
        assert!(number.to_string().starts_with("size=-1: "), "{number}");
        let none = parse("").unwrap().required::<u8>("size").unwrap_err();
        assert_eq!(none.to_string(), "size is missing; write size=...");
        let empty = parse("path=").unwrap().required::<String>("path");
        assert_eq!(empty, Err(OptionError::NoValue("path")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(values in prop::collection::vec(".*", KEYS.len())) {
            let mut options = Options::default();
            for (key, value) in KEYS.iter().zip(&values) {
                options.put(key.name, value);
            }
            prop_assert_eq!(parse(&options.to_string()), Ok(options));
        }

        #[test]
        fn any_text_is_survived(text in "[a-z,=]{0,40}") {
            if let Ok(options) = parse(&text) {
                prop_assert_eq!(parse(&options.to_string()), Ok(options));
            }
        }
    }
}
