//! `armlet doctor`: which accelerators work here.

use hv_backend::api::HostError;
use hv_backend::select::{Accel, open};

use crate::say;

/// Prints a line for each accelerator.
pub fn run() {
    let mut best = None;
    for accel in Accel::BY_PREFERENCE {
        match open(accel) {
            Ok(hypervisor) => {
                let vcpus = hypervisor.caps().max_vcpus;
                say(&format!(
                    "{accel}: works, up to {vcpus} CPUs for each guest"
                ));
                best = best.or(Some(accel));
            }
            Err(HostError::Unavailable { reason, .. }) => {
                say(&format!("{accel}: not available: {reason}"));
            }
            Err(error) => say(&format!("{accel}: {error}")),
        }
    }
    match best {
        Some(accel) => say(&format!("--accel auto uses {accel}")),
        None => say("no accelerator works on this host"),
    }
}
