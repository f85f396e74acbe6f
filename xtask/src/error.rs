//! Why a command of xtask could not do its work. One line each, with the way out.

use std::fmt;
use std::io::ErrorKind;

/// A message for the person at the keyboard.
#[derive(Debug)]
pub struct Error {
    text: String,
    is_lack: bool,
}

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_lack: false,
        }
    }

    /// An error with this text for want of something that this machine does not have.
    pub fn lack(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_lack: true,
        }
    }

    /// Whether nothing is wrong but that this machine cannot have what is needed, such as a package of
    /// Debian's on another system.
    pub fn is_lack(&self) -> bool {
        self.is_lack
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<guests::Error> for Error {
    fn from(error: guests::Error) -> Self {
        let is_lack = match error {
            // No apt, or one whose sources are not Debian's.
            guests::Error::Program { ref source, .. } => source.kind() == ErrorKind::NotFound,
            guests::Error::NoPackage { .. } | guests::Error::NoBackports => true,
            // A program that is there has to work.
            guests::Error::Failed { .. }
            | guests::Error::File { .. }
            | guests::Error::NoModule { .. }
            | guests::Error::Incomplete { .. } => false,
        };
        Self {
            text: error.to_string(),
            is_lack,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}
