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

const USAGE: &str = "usage: cargo xtask bench soft|kvm [--rounds N] | block [OPTION...] | \
                     balloon [--on soft|kvm]";

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
    let (name, rounds) = match words.as_slice() {
        [name] => (*name, None),
        [name, "--rounds", n] => (
            *name,
            Some(n.parse().ok().filter(|n| *n > 0).ok_or_else(usage)?),
        ),
        _ => return Err(usage()),
    };
    match name {
        "soft" => soft::run(rounds),
        "kvm" => kvm::run(rounds),
        _ => Err(usage()),
    }
}
