//! The control socket: how other programs of the same user reach a running machine.
//!
//! | part | where |
//! |---|---|
//! | what is said | [`protocol`] |
//! | the machine's side: one thread that serves every connection | [`server`], `connection` |
//! | the other side, as `armlet stop` is | [`client`] |
//! | where sockets are | [`Address`] |
//!
//! A thread of its own serves it, so it answers whatever the vCPUs do, also while they are paused.
//! It sleeps in one `poll` for as long as nobody speaks. Whoever connects is this user, by the
//! socket's permissions, but need not be in their right mind: lines, answers and connections are
//! bounded, and nothing that is said can harm more than its own connection.

pub mod client;
mod connection;
pub mod protocol;
pub mod server;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::config::{MachineName, ValueError};
use crate::host::socket;

/// Where a machine's control socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `NAME.sock` in [`socket::directory`].
    Name(MachineName),
    /// There.
    Path(PathBuf),
}

impl Address {
    /// That of a machine with this name and this socket, if it has any: the socket goes first.
    #[must_use]
    pub fn of(name: Option<&MachineName>, control: Option<&Path>) -> Option<Self> {
        let path = control.map(|path| Self::Path(path.to_owned()));
        path.or_else(|| name.cloned().map(Self::Name))
    }

    /// The option of `armlet run` that says it.
    #[must_use]
    pub fn option(&self) -> &'static str {
        match self {
            Self::Name(_) => "--name",
            Self::Path(_) => "--control",
        }
    }

    /// The socket's file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Name(name) => socket::directory().join(format!("{name}.sock")),
            Self::Path(path) => path.clone(),
        }
    }
}

impl FromStr for Address {
    type Err = ValueError;

    /// What has a slash is a path.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.contains('/') {
            Ok(Self::Path(text.into()))
        } else {
            text.parse().map(Self::Name)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}
