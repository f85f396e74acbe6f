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
