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

/// Opens what was asked for.
///
/// # Errors
/// [`HostError::Unavailable`] with the reason; for [`Choice::Auto`] that of the last one tried.
pub fn select(choice: Choice) -> Result<Box<dyn Hypervisor>, HostError> {
    match choice {
        Choice::Only(accel) => open(accel),
        Choice::Auto => Accel::BY_PREFERENCE
            .into_iter()
            .map(open)
            .reduce(|best, next| best.or(next))
            .unwrap_or_else(|| {
                Err(unavailable(
                    Accel::Soft,
                    "no accelerator is built in".into(),
                ))
            }),
    }
}

/// Opens one accelerator.
///
/// # Errors
/// [`HostError::Unavailable`] with the reason and the way out.
pub fn open(accel: Accel) -> Result<Box<dyn Hypervisor>, HostError> {
    match accel {
        Accel::Kvm => kvm::open().map_err(|why| unavailable(accel, format!("{why}; {WAY_OUT}"))),
        Accel::Hvf => hvf::open().map_err(|why| unavailable(accel, format!("{why}; {WAY_OUT}"))),
        Accel::Soft => Ok(Box::new(Soft::default())),
    }
}

const WAY_OUT: &str = "use --accel soft, which runs on any host";

fn unavailable(accel: Accel, reason: String) -> HostError {
    HostError::Unavailable {
        accel: accel.name(),
        reason,
    }
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
        assert!(select(Choice::Auto).is_ok());
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
