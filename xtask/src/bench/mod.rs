//! `cargo xtask bench`: armlet beside QEMU.
//!
//! | benchmark | where | beside |
//! |---|---|---|
//! | `soft` | on this machine | QEMU's TCG |
//! | `kvm` | where arm64 KVM works, see [`crate::kvm_host`] | QEMU with KVM |
//! | `block` | on both, with a disk | both |
//! | `balloon` | on both, memory that goes back | a promise |

mod balloon;
mod block;
mod kvm;
mod meter;
mod program;
mod soft;

use crate::error::Error;
use crate::kvm_host::Emulator;

const USAGE: &str = "usage: cargo xtask bench soft [--rounds N] | kvm [--rounds N] [--installed] | \
                     block [OPTION...] | balloon [--on soft|kvm]";

/// What runs the guest's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accelerator {
    /// armlet's software CPU, and QEMU's TCG.
    Soft,
    /// KVM for both.
    Kvm,
}

impl Accelerator {
    const BOTH: [Self; 2] = [Self::Soft, Self::Kvm];

    /// By the name that `--on` takes.
    fn named(name: &str) -> Option<Self> {
        match name {
            "soft" => Some(Self::Soft),
            "kvm" => Some(Self::Kvm),
            _ => None,
        }
    }

    /// Its name for people.
    fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Kvm => "KVM",
        }
    }
}

/// Runs the command. False when what it measured is not as it should be.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = || Error::new(USAGE);
    match words.as_slice() {
        ["block", options @ ..] => return block::run(options),
        ["balloon", options @ ..] => return balloon::run(options),
        _ => {}
    }
    let [name, options @ ..] = words.as_slice() else {
        return Err(usage());
    };
    let (mut rounds, mut emulator) = (None, Emulator::Recent);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--rounds" => {
                let number = options.next().and_then(|number| number.parse().ok());
                rounds = Some(number.filter(|number| *number > 0).ok_or_else(usage)?);
            }
            "--installed" if *name == "kvm" => emulator = Emulator::Installed,
            _ => return Err(usage()),
        }
    }
    match *name {
        "soft" => soft::run(rounds),
        "kvm" => kvm::run(rounds, emulator),
        _ => Err(usage()),
    }
}
