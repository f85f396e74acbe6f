//! Which accelerators there are, which work on this host, and what to do about the others.
//!
//! To add one: a variant of [`Accel`], its row in [`Accel::BY_PREFERENCE`] and its arm in [`open`].

use std::fmt;
use std::str::FromStr;

use crate::api::{HostError, Hypervisor};
use crate::hvf;
use crate::kvm;
use crate::soft::Soft;

/// An accelerator by the name users select it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accel {
    /// KVM on arm64 Linux.
    Kvm,
    /// Hypervisor.framework on Apple Silicon.
    Hvf,
    /// The software CPU, on any host.
    Soft,
}

impl Accel {
    /// Every accelerator, fastest first: the order in which `auto` tries them.
    pub const BY_PREFERENCE: [Self; 3] = [Self::Kvm, Self::Hvf, Self::Soft];

    /// The name users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Soft => "soft",
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Choice {
    /// The best that works here.
    #[default]
    Auto,
    /// This one or none.
    Only(Accel),
}

/// The text names no accelerator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no accelerator; choose auto, kvm, hvf or soft")]
pub struct UnknownAccel(String);

impl FromStr for Choice {
    type Err = UnknownAccel;

    fn from_str(text: &str) -> Result<Self, UnknownAccel> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let named = Accel::BY_PREFERENCE
            .into_iter()
            .find(|accel| accel.name() == text);
        named
            .map(Self::Only)
            .ok_or_else(|| UnknownAccel(text.into()))
    }
}

/// Opens what was asked for. For [`Choice::Auto`], `passed_over` is told of each accelerator that this
/// kind of host has but that does not work, and why: a user may want to change that.
///
/// # Errors
/// [`HostError::Unavailable`] with the reason; for [`Choice::Auto`] that of the last one tried.
pub fn select(
    choice: Choice,
    passed_over: impl FnMut(Accel, &str),
) -> Result<Box<dyn Hypervisor>, HostError> {
    match choice {
        Choice::Only(accel) => open(accel),
        Choice::Auto => best(try_open, passed_over),
    }
}

/// Opens one accelerator.
///
/// # Errors
/// [`HostError::Unavailable`] with the reason and the way out.
pub fn open(accel: Accel) -> Result<Box<dyn Hypervisor>, HostError> {
    try_open(accel).map_err(|obstacle| obstacle.on(accel))
}

const WAY_OUT: &str = "use --accel soft, which runs on any host";

/// Why an accelerator does not open.
#[derive(Debug, PartialEq, Eq)]
struct Obstacle {
    /// The reason, in words for a user.
    reason: String,
    /// No host of this kind has the accelerator: there is nothing to do about it.
    is_the_platform: bool,
}

impl Obstacle {
    fn on(self, accel: Accel) -> HostError {
        HostError::Unavailable {
            accel: accel.name(),
            reason: format!("{}; {WAY_OUT}", self.reason),
        }
    }
}

fn try_open(accel: Accel) -> Result<Box<dyn Hypervisor>, Obstacle> {
    match accel {
        Accel::Kvm => kvm::open().map_err(|why| Obstacle {
            is_the_platform: matches!(why, kvm::obstacle::Obstacle::Host { .. }),
            reason: why.to_string(),
        }),
        Accel::Hvf => hvf::open().map_err(|why| Obstacle {
            is_the_platform: matches!(why, hvf::obstacle::Obstacle::Platform { .. }),
            reason: why.to_string(),
        }),
        Accel::Soft => Ok(Box::new(Soft::default())),
    }
}

/// The first accelerator that opens.
fn best(
    open: impl Fn(Accel) -> Result<Box<dyn Hypervisor>, Obstacle>,
    mut passed_over: impl FnMut(Accel, &str),
) -> Result<Box<dyn Hypervisor>, HostError> {
    let mut last = None;
    for accel in Accel::BY_PREFERENCE {
        match open(accel) {
            Ok(hypervisor) => return Ok(hypervisor),
            Err(obstacle) => {
                if !obstacle.is_the_platform {
                    passed_over(accel, &obstacle.reason);
                }
                last = Some(obstacle.on(accel));
            }
        }
    }
    Err(last.unwrap_or_else(|| HostError::Unavailable {
        accel: Accel::Soft.name(),
        reason: "no accelerator is built in".into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for accel in Accel::BY_PREFERENCE {
            assert_eq!(accel.name().parse(), Ok(Choice::Only(accel)));
        }
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        for wrong in ["", "KVM", "tcg", "soft "] {
            let refused = wrong.parse::<Choice>().unwrap_err().to_string();
            assert!(
                refused.contains("choose auto, kvm, hvf or soft"),
                "{refused}"
            );
        }
    }

    #[test]
    fn soft_works_everywhere() {
        assert_eq!(open(Accel::Soft).map(|h| h.name()).unwrap(), "soft");
        assert!(select(Choice::Auto, |_, _| ()).is_ok());
    }

    fn soft_after(kvm: &str, is_the_platform: bool) -> Vec<(Accel, String)> {
        let open = |accel| match accel {
            Accel::Kvm => Err(Obstacle {
                reason: kvm.into(),
                is_the_platform,
            }),
            Accel::Hvf => Err(Obstacle {
                reason: "another system".into(),
                is_the_platform: true,
            }),
            Accel::Soft => try_open(accel),
        };
        let mut told = Vec::new();
        let found = best(open, |accel, why| told.push((accel, why.to_owned())));
        assert_eq!(found.map(|hypervisor| hypervisor.name()).unwrap(), "soft");
        told
    }

    #[test]
    fn auto_tells_of_what_could_be_changed_and_of_nothing_else() {
        assert_eq!(
            soft_after("no permission", false),
            [(Accel::Kvm, "no permission".to_owned())]
        );
        assert_eq!(soft_after("this host is x86_64", true), []);
    }

    #[test]
    fn auto_says_why_the_last_one_failed() {
        let nothing = |accel: Accel| {
            Err(Obstacle {
                reason: format!("no {accel}"),
                is_the_platform: false,
            })
        };
        let mut told = 0;
        let error = best(nothing, |_, _| told += 1).map(drop);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("soft is not available: no soft"), "{error}");
        assert_eq!(told, 3);
    }

    #[test]
    fn a_host_of_another_kind_is_no_news() {
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        for (accel, at_home) in [(Accel::Kvm, "linux"), (Accel::Hvf, "macos")] {
            if (os, arch) != (at_home, "aarch64") {
                let obstacle = try_open(accel).map(drop).unwrap_err();
                assert!(obstacle.is_the_platform, "{obstacle:?}");
            }
        }
    }

    #[test]
    fn a_choice_works_or_says_why_and_what_to_do() {
        for accel in Accel::BY_PREFERENCE {
            if let Err(error) = open(accel) {
                let line = error.to_string();
                let beginning = format!("the accelerator {accel} is not available: ");
                assert!(
                    line.starts_with(&beginning) && line.ends_with(WAY_OUT),
                    "{line}"
                );
            }
        }
    }
}
