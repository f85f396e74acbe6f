//! `cargo xtask bench`: armlet beside QEMU.
//!
//! | benchmark | where | beside |
//! |---|---|---|
//! | `soft` | on this machine | QEMU's TCG |
//! | `kvm` | where arm64 KVM works, see [`crate::kvm_host`] | QEMU with KVM |
//! | `block` | on both, with a disk | both |

mod block;
mod kvm;
mod meter;
mod program;
mod soft;

use crate::error::Error;

const USAGE: &str = "usage: cargo xtask bench soft|kvm [--rounds N] | block [OPTION...]";

/// Runs the command. False when what it measured is not as it should be.
pub fn run(arguments: &[String]) -> Result<bool, Error> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let usage = || Error::new(USAGE);
    if let ["block", options @ ..] = words.as_slice() {
        return block::run(options);
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
