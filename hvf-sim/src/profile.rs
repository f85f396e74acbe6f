//! Which Mac is simulated: its chip, its macOS and whether it lets the program make VMs.
//!
//! A profile is chosen by name, in code or from the environment ([`ENVIRONMENT`]):
//! `NAME[,FAULT[=N]]...`, such as `m2-15` or `m1-13,drop-kicks,unknown=50`. What is misspelt is
//! refused and never ignored.

use std::str::FromStr;

use crate::faults::Fault;

/// The environment variable that names the profile for programs that run over the simulator.
pub const ENVIRONMENT: &str = "ARMLET_HVF_SIM";

/// A level of macOS at which the framework changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MacOs {
    /// 12: as 13, and older than what armlet runs on.
    V12,
    /// 13.0: the oldest whose framework is simulated as it is.
    V13,
    /// 15.0: `hv_gic`, EL2, `ACTLR_EL1`.
    V15,
    /// 15.2: SME.
    V15_2,
    /// 26.0: the granule of guest addresses.
    V26,
}

impl MacOs {
    /// What `sysctl kern.osproductversion` says.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V12 => "12.6.1",
            Self::V13 => "13.6",
            Self::V15 => "15.0",
            Self::V15_2 => "15.2",
            Self::V26 => "26.4.1",
        }
    }
}

/// A chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chip {
    /// ARMv8.5 with Apple's pointer authentication.
    M1,
    /// As M1, and BTI.
    M2,
    /// Also SME2, EL2 for guests, longer guest addresses.
    M4,
    /// As M4; the one that measurements were published of.
    M5,
}

impl Chip {
    /// The longest guest addresses, in bits. Those of M1 and M2 are hearsay.
    #[must_use]
    pub const fn max_address_bits(self) -> u32 {
        match self {
            Self::M1 | Self::M2 => 36,
            Self::M4 | Self::M5 => 40,
        }
    }

    /// Bytes of a streaming vector, where the chip has SME.
    #[must_use]
    pub const fn sme_bytes(self) -> Option<usize> {
        match self {
            Self::M1 | Self::M2 => None,
            Self::M4 | Self::M5 => Some(64),
        }
    }

    /// Whether guests can have EL2, given a macOS that offers it.
    #[must_use]
    pub const fn has_el2(self) -> bool {
        match self {
            Self::M1 | Self::M2 => false,
            Self::M4 | Self::M5 => true,
        }
    }
}

/// Whether the host lets the program make VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Full,
    /// The program is not signed with the entitlement.
    NoEntitlement,
    /// `kern.hv_support` is 0: a VM without nesting.
    NoHypervisor,
    /// A Mac with an Intel processor, where the functions have other meanings.
    Intel,
}

/// A Mac.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name it is chosen by.
    pub name: &'static str,
    /// Its chip.
    pub chip: Chip,
    /// Its macOS.
    pub macos: MacOs,
    /// What it lets the program do.
    pub support: Support,
    /// `CNTFRQ_EL0` of guests, in Hz.
    pub guest_frequency: u64,
    /// Guests' counters run at that frequency, and not at that of `mach_absolute_time`.
    pub counter_scales: bool,
}

/// Ticks of `mach_absolute_time` in a second.
pub const MACH_FREQUENCY: u64 = 24_000_000;

const fn mac(name: &'static str, chip: Chip, macos: MacOs) -> Profile {
    Profile {
        name,
        chip,
        macos,
        support: Support::Full,
        guest_frequency: MACH_FREQUENCY,
        counter_scales: false,
    }
}

const fn broken(name: &'static str, support: Support) -> Profile {
    Profile {
        support,
        ..mac(name, Chip::M1, MacOs::V13)
    }
}

impl Profile {
    /// M1, macOS 13.
    pub const M1_13: Self = mac("m1-13", Chip::M1, MacOs::V13);
    /// M2, macOS 15.0.
    pub const M2_15: Self = mac("m2-15", Chip::M2, MacOs::V15);
    /// M2, macOS 15.2.
    pub const M2_15_2: Self = mac("m2-15.2", Chip::M2, MacOs::V15_2);
    /// M4, macOS 26.
    pub const M4_26: Self = mac("m4-26", Chip::M4, MacOs::V26);
    /// M5, macOS 26.
    pub const M5_26: Self = mac("m5-26", Chip::M5, MacOs::V26);
    /// M4, macOS 26, where guests read 1 GHz and count at it.
    pub const M4_26_1GHZ: Self = Self {
        guest_frequency: 1_000_000_000,
        counter_scales: true,
        ..mac("m4-26-1ghz", Chip::M4, MacOs::V26)
    };
    /// M4, macOS 26, whose guests count as fast as those of an emulated arm64 host do: a guest can
    /// move between that and this.
    pub const M4_26_62MHZ: Self = Self {
        guest_frequency: 62_500_000,
        counter_scales: true,
        ..mac("m4-26-62mhz", Chip::M4, MacOs::V26)
    };
    /// M4, macOS 26, where guests read 1 GHz but count at 24 MHz.
    pub const M4_26_WRONG_HZ: Self = Self {
        guest_frequency: 1_000_000_000,
        ..mac("m4-26-wrong-hz", Chip::M4, MacOs::V26)
    };
    /// M1, macOS 12.
    pub const M1_12: Self = mac("m1-12", Chip::M1, MacOs::V12);
    /// The program has no entitlement.
    pub const NO_ENTITLEMENT: Self = broken("no-entitlement", Support::NoEntitlement);
    /// The host has no hypervisor to offer.
    pub const NO_HYPERVISOR: Self = broken("no-hypervisor", Support::NoHypervisor);
    /// A Mac on Intel.
    pub const INTEL: Self = broken("intel", Support::Intel);

    /// Every profile.
    pub const ALL: [Self; 12] = [
        Self::M1_13,
        Self::M2_15,
        Self::M2_15_2,
        Self::M4_26,
        Self::M5_26,
        Self::M4_26_1GHZ,
        Self::M4_26_62MHZ,
        Self::M4_26_WRONG_HZ,
        Self::M1_12,
        Self::NO_ENTITLEMENT,
        Self::NO_HYPERVISOR,
        Self::INTEL,
    ];
}

/// A profile and the faults to begin with, as text says them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The Mac.
    pub profile: Profile,
    /// What goes wrong on it.
    pub faults: Vec<Fault>,
}

/// The text names no profile or no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is no {what} of the simulator; there are {known}")]
pub struct UnknownChoice {
    word: String,
    what: &'static str,
    known: String,
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        let mut words = text.split(',');
        let name = words.next().unwrap_or_default();
        let profile = Profile::ALL.iter().find(|profile| profile.name == name);
        let profile = *profile.ok_or_else(|| UnknownChoice {
            word: name.to_owned(),
            what: "profile",
            known: Profile::ALL.map(|profile| profile.name).join(", "),
        })?;
        let fault = |word: &str| {
            Fault::from_word(word).ok_or_else(|| UnknownChoice {
                word: word.to_owned(),
                what: "fault",
                known: Fault::WORDS.join(", "),
            })
        };
        let faults = words.map(fault).collect::<Result<_, _>>()?;
        Ok(Self { profile, faults })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name() {
        for profile in Profile::ALL {
            let choice: Choice = profile.name.parse().unwrap();
            assert_eq!((choice.profile, choice.faults), (profile, vec![]));
        }
    }

    #[test]
    fn faults_follow_the_name() {
        let choice: Choice = "m4-26,drop-kicks,unknown=50".parse().unwrap();
        assert_eq!(choice.profile, Profile::M4_26);
        assert_eq!(choice.faults, [Fault::DropKicks, Fault::Unknown(50)]);
    }

    #[test]
    fn misspellings_are_refused_with_what_there_is() {
        for (text, said) in [
            ("", "m1-13"),
            ("m9-13", "m1-13"),
            ("M1-13", "m1-13"),
            ("m1-13,", "drop-kicks"),
            ("m1-13,unknown", "unknown=N"),
            ("m1-13,unknown=0", "unknown=N"),
            ("m1-13,unknown=-1", "unknown=N"),
            ("m1-13,drop-kicks=3", "drop-kicks"),
            ("m1-13, drop-kicks", "drop-kicks"),
        ] {
            let refused = text.parse::<Choice>().unwrap_err().to_string();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
