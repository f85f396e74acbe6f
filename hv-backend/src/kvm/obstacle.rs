//! Why KVM cannot be used here, in words for a user. Pure: compiled and tested on every host.

use std::fmt;
use std::io::ErrorKind;

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
    /// `/dev/kvm` does not open.
    Device(ErrorKind),
    /// Something else of the host fails; the call and what the host said.
    Call(&'static str, String),
    /// The kernel offers a version of KVM that nobody has seen.
    Version(i32),
    /// The kernel lacks an ability; which one, and which version of Linux brought it.
    Lacks(&'static str, &'static str),
    /// The host's interrupt controller is too old.
    NoGicV3,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { os: "linux", arch } => {
                write!(f, "this host is {arch}, arm64 guests need an arm64 host")
            }
            Self::Host { os, arch: _ } => {
                write!(f, "this host runs {os}, KVM is part of Linux")
            }
            Self::Device(ErrorKind::NotFound) => f.write_str(
                "/dev/kvm does not exist: this kernel was built without KVM, or was not started at EL2",
            ),
            Self::Device(ErrorKind::PermissionDenied) => f.write_str(
                "no permission to open /dev/kvm: join the group that owns it, mostly `kvm`",
            ),
            Self::Device(kind) => write!(f, "/dev/kvm does not open: {kind}"),
            Self::Call(call, said) => write!(f, "{call} failed: {said}"),
            Self::Version(version) => write!(f, "this kernel's KVM has version {version}, not 12"),
            Self::Lacks(what, since) => {
                write!(f, "this kernel's KVM has no {what}: Linux {since} brought it")
            }
            Self::NoGicV3 => {
                f.write_str("this host's interrupt controller is older than GICv3")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_says_what_to_change() {
        let (os, arch) = ("linux", "x86_64");
        for (obstacle, said) in [
            (Obstacle::Host { os, arch }, "this host is x86_64"),
            (Obstacle::Host { os: "macos", arch }, "this host runs macos"),
            (Obstacle::Device(ErrorKind::NotFound), "EL2"),
            (
                Obstacle::Device(ErrorKind::PermissionDenied),
                "join the group",
            ),
            (Obstacle::Device(ErrorKind::Other), "does not open"),
            (Obstacle::Call("KVM_X", "why".into()), "KVM_X failed: why"),
            (Obstacle::Version(11), "version 11"),
            (Obstacle::Lacks("filter", "6.4"), "Linux 6.4"),
            (Obstacle::NoGicV3, "GICv3"),
        ] {
            let line = obstacle.to_string();
            assert!(line.contains(said) && !line.contains('\n'), "{line}");
        }
    }
}
