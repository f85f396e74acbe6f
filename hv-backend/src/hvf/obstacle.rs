//! Why Hypervisor.framework cannot be used here, in words for a user.

use std::fmt;

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The program runs on this operating system and processor.
    Host {
        /// The operating system.
        os: &'static str,
        /// The processor's architecture.
        arch: &'static str,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { os: "macos", .. } => f.write_str("this Mac has no Apple Silicon"),
            Self::Host { os, .. } => {
                write!(f, "this host runs {os}, it needs macOS on Apple Silicon")
            }
        }
    }
}
