//! Where the serial port goes.

use std::path::PathBuf;
use std::str::FromStr;

use super::ValueError;

/// Where the serial port goes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Serial {
    /// Standard input and output.
    #[default]
    Stdio,
    /// Its output to a file; no input.
    File(PathBuf),
    /// Nowhere.
    None,
}

impl FromStr for Serial {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match (text, text.strip_prefix("file:")) {
            ("stdio", _) => Ok(Self::Stdio),
            ("none", _) => Ok(Self::None),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(ValueError::Serial(text.into())),
        }
    }
}

impl Serial {
    /// As users write it; `None` if its file's name is no text.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Stdio => "stdio".to_owned(),
            Self::File(path) => format!("file:{}", path.to_str()?),
            Self::None => "none".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_places() {
        assert_eq!("stdio".parse(), Ok(Serial::Stdio));
        assert_eq!("none".parse(), Ok(Serial::None));
        assert_eq!("file:a:b".parse(), Ok(Serial::File("a:b".into())));
        for text in ["file:", "pty", ""] {
            assert_eq!(text.parse::<Serial>(), Err(ValueError::Serial(text.into())));
        }
    }
}
