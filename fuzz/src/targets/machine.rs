//! Whole machines on the software CPU: random guests with one to four vCPUs.
//!
//! What a guest does is random, not when: vCPUs run in parallel, so a run may differ from the last
//! one of the same bytes.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use vmm::config::{MachineConfig, RawConfig};
use vmm::machine::{Machine, StartError};
use vmm::outcome::Outcome;

use super::boot::TempFile;
use crate::bytes::Bytes;
use crate::guest;

/// Guests that have not ended by then are stopped.
const LIMIT: Duration = Duration::from_millis(20);

/// A guest powers off, crashes or is stopped; the host never fails.
pub fn machine(data: &[u8]) {
    let outcome = run(data, LIMIT);
    let legal = match &outcome {
        Ok(Outcome::PoweredOff | Outcome::ResetRefused | Outcome::Left) => true,
        Ok(Outcome::GuestFailed { reason, .. }) => !reason.is_empty() && !reason.contains('\n'),
        // A vCPU's thread that panicked ends the machine as a failure of the host.
        Ok(Outcome::Signal(_) | Outcome::Cut | Outcome::StopTimedOut(_)) => false,
        Ok(Outcome::HostFailed(_) | Outcome::NotRestored(_)) | Err(_) => false,
    };
    assert!(legal, "{outcome:?}");
}

fn run(data: &[u8], limit: Duration) -> Result<Outcome, StartError> {
    let mut bytes = Bytes::new(data);
    let cpus = 1 + bytes.below(4);
    let no_reboot = bytes.below(4) != 0;
    let kernel = TempFile::new(&guest::program(&mut bytes));
    let raw = RawConfig {
        kernel: Some(kernel.path().to_owned()),
        cpus: Some(cpus.to_string()),
        memory: Some("16M".to_owned()),
        accel: Some("soft".to_owned()),
        serial: Some("none".to_owned()),
        no_reboot: Some(no_reboot),
        ..RawConfig::default()
    };
    let config = MachineConfig::try_from(raw).expect("a possible machine");
    let machine = Machine::new(config)?;
    let control = machine.control();
    let (ended, wait) = channel::<()>();
    let stopper = thread::spawn(move || {
        // An error is the end of the machine as well: the other side is gone.
        let _ = wait.recv_timeout(limit);
        control.end(Outcome::Left);
    });
    let outcome = machine.run();
    drop(ended);
    let _ = stopper.join();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_does_nothing_powers_off() {
        // No more than a hang needs to show: a busy host may take its time.
        let limit = Duration::from_secs(60);
        assert_eq!(run(&[], limit), Ok(Outcome::PoweredOff));
    }
}
