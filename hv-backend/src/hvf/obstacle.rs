//! Why Hypervisor.framework cannot be used here, in words for a user. Pure.

use std::fmt;

use super::abi::status;
use super::sys::Failure;

/// The oldest macOS that has all that is called without looking.
pub const OLDEST_MACOS: u32 = 13;

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The program runs on this operating system and processor.
    Platform {
        /// The operating system.
        os: &'static str,
        /// The processor's architecture.
        arch: &'static str,
    },
    /// This macOS is too old; its version.
    TooOld(String),
    /// The kernel says that it runs no VMs.
    NoSupport,
    /// The program may not run VMs.
    NoEntitlement,
    /// This process has its VM already.
    SecondVm,
    /// The guest's counter runs in a way that nobody has seen.
    UnknownCounter {
        /// What the guest says it counts in a second.
        guest_hz: u64,
        /// The host's ticks in a second.
        tick_hz: u64,
    },
    /// The host does not say what a tick is.
    NoTime,
    /// A call of the framework failed.
    Call(Failure),
    /// Something else of the host.
    Host(String),
}

impl Obstacle {
    /// What it means that the VM could not be made.
    #[must_use]
    pub fn of_vm(failure: Failure) -> Self {
        match failure.code {
            status::DENIED => Self::NoEntitlement,
            status::UNSUPPORTED => Self::NoSupport,
            status::BUSY => Self::SecondVm,
            _ => Self::Call(failure),
        }
    }

    /// Whether a macOS of this version is too old. One that does not say is not.
    #[must_use]
    pub fn of_version(version: &str) -> Option<Self> {
        let major = version.split('.').next()?.parse::<u32>().ok()?;
        (major < OLDEST_MACOS).then(|| Self::TooOld(version.into()))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform { os: "macos", .. } => {
                f.write_str("this program was built for Intel, or this Mac has no Apple Silicon")
            }
            Self::Platform { os, .. } => {
                write!(f, "this host runs {os}, it needs macOS on Apple Silicon")
            }
            Self::TooOld(version) => write!(
                f,
                "this is macOS {version}, it needs macOS {OLDEST_MACOS} or newer"
            ),
            Self::NoSupport => f.write_str(
                "this macOS runs no VMs (kern.hv_support is not 1): it is one itself, or was started \
                 without Hypervisor.framework",
            ),
            Self::NoEntitlement => f.write_str(
                "this program lacks the entitlement com.apple.security.hypervisor: sign it with \
                 `codesign --sign - --force --entitlements FILE PROGRAM`, where FILE is a property \
                 list that sets it to true, as xtask/files/armlet.entitlements of the sources does",
            ),
            Self::SecondVm => f.write_str("this process has a VM already, and macOS allows one"),
            Self::UnknownCounter { guest_hz, tick_hz } => write!(
                f,
                "guests count {guest_hz} in a second where the host counts {tick_hz}, in no way that \
                 is known: please report this Mac and its macOS"
            ),
            Self::NoTime => f.write_str("mach_timebase_info says that time stands still"),
            Self::Call(failure) => write!(f, "{} failed: {failure}", failure.call),
            Self::Host(line) => f.write_str(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_obstacle_says_what_to_change() {
        let platform = |os, arch| Obstacle::Platform { os, arch };
        let failure = |code| Failure {
            call: "hv_vm_create",
            code,
        };
        let counter = Obstacle::UnknownCounter {
            guest_hz: 1_000_000_000,
            tick_hz: 24_000_000,
        };
        for (obstacle, said) in [
            (platform("macos", "x86_64"), "no Apple Silicon"),
            (platform("linux", "aarch64"), "needs macOS"),
            (Obstacle::TooOld("12.6".into()), "macOS 13 or newer"),
            (
                Obstacle::of_vm(failure(status::DENIED)),
                "xtask/files/armlet.entitlements",
            ),
            (
                Obstacle::of_vm(failure(status::UNSUPPORTED)),
                "kern.hv_support",
            ),
            (Obstacle::of_vm(failure(status::BUSY)), "a VM already"),
            (
                Obstacle::of_vm(failure(status::ERROR)),
                "hv_vm_create failed: HV_ERROR",
            ),
            (Obstacle::of_vm(failure(5)), "error 0x5"),
            (counter, "1000000000 in a second"),
            (Obstacle::NoTime, "time stands still"),
            (Obstacle::Host("why".into()), "why"),
        ] {
            let line = obstacle.to_string();
            assert!(line.contains(said) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn only_a_version_that_is_known_to_be_too_old_is_refused() {
        assert_eq!(
            Obstacle::of_version("12.7.6"),
            Some(Obstacle::TooOld("12.7.6".into()))
        );
        for version in ["13", "13.0", "26.4.1", "", "later"] {
            assert_eq!(Obstacle::of_version(version), None);
        }
    }
}
