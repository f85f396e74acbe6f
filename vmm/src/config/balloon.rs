//! The guest's memory balloon, as a user describes it: `on`, `off` or `size=SIZE,...`.

use std::fmt;
use std::str::FromStr;

use super::ByteSize;
use super::options::{Key, OptionError, OptionList, Options};

/// Whether the guest has a balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balloon {
    /// It has none.
    Off,
    /// It has one.
    On(BalloonConfig),
}

impl Default for Balloon {
    fn default() -> Self {
        Self::On(BalloonConfig::default())
    }
}

/// A balloon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalloonConfig {
    /// Bytes that the guest is to give up from the start on.
    pub size: ByteSize,
    /// The guest takes memory back when it has no other.
    pub deflate_on_oom: bool,
    /// The guest tells what memory it does not use, which goes back to the host then.
    pub free_page_reporting: bool,
}

impl Default for BalloonConfig {
    fn default() -> Self {
        Self {
            size: ByteSize(0),
            deflate_on_oom: true,
            free_page_reporting: true,
        }
    }
}

impl OptionList for BalloonConfig {
    const KEYS: &'static [Key] = &[
        Key::value("size"),
        Key::flag("deflate-on-oom"),
        Key::flag("free-page-reporting"),
    ];

    fn read(options: &Options) -> Result<Self, OptionError> {
        let new = Self::default();
        Ok(Self {
            size: options.value("size")?.unwrap_or(new.size),
            deflate_on_oom: options
                .flag("deflate-on-oom")?
                .unwrap_or(new.deflate_on_oom),
            free_page_reporting: options
                .flag("free-page-reporting")?
                .unwrap_or(new.free_page_reporting),
        })
    }

    fn write(&self, options: &mut Options) {
        let Self {
            size,
            deflate_on_oom,
            free_page_reporting,
        } = self;
        options.put("size", size);
        options.put("deflate-on-oom", deflate_on_oom);
        options.put("free-page-reporting", free_page_reporting);
    }
}

impl FromStr for Balloon {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "on" => Ok(Self::default()),
            "off" => Ok(Self::Off),
            list => BalloonConfig::from_list(list).map(Self::On),
        }
    }
}

impl fmt::Display for Balloon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(config) if *config == BalloonConfig::default() => f.write_str("on"),
            Self::On(config) => config.to_options().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            "on",
            "off",
            "size=64M,deflate-on-oom=false,free-page-reporting=true",
        ] {
            let balloon: Balloon = text.parse().unwrap();
            assert_eq!(balloon.to_string(), text);
        }
        let Balloon::On(config) = "size=1G,free-page-reporting=false".parse().unwrap() else {
            panic!("off")
        };
        assert_eq!(config.size, ByteSize(1 << 30));
        assert!(config.deflate_on_oom && !config.free_page_reporting);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("yes", "unknown option 'yes'"),
            ("size=much", "size=much: "),
            ("size=1G,size=1G", "size is given twice"),
            ("deflate-on-oom=1", "deflate-on-oom=1: "),
        ] {
            let line = text.parse::<Balloon>().unwrap_err().to_string();
            assert!(line.contains(said), "{text}: {line}");
        }
    }
}
