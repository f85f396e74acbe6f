//! Where the serial port goes.

use std::path::PathBuf;
use std::str::FromStr;

use super::ValueError;
use super::print::absolute;

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
    /// The same place, with its file's name from the root.
    #[must_use]
    pub fn absolute(&self) -> Self {
        match self {
            Self::File(path) => Self::File(absolute(path)),
            Self::Stdio | Self::None => self.clone(),
        }
    }

    /// As users write it.
    ///
    /// # Errors
    /// With its file's name, if that is no text.
    pub fn text(&self) -> Result<String, PathBuf> {
        match self {
            Self::Stdio => Ok("stdio".to_owned()),
            Self::File(path) => match path.to_str() {
                Some(text) => Ok(format!("file:{text}")),
                None => Err(path.clone()),
            },
            Self::None => Ok("none".to_owned()),
        }
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
