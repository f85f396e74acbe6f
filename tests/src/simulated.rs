//! Hypervisor.framework on hosts that have none: the simulator in its place, for processes whose
//! environment names a Mac (`ARMLET_HVF_SIM`, see [`hvf_sim::profile`]).
//!
//! A process is one Mac. [`verdict`] says whether it was treated as one must be.

// UNSAFETY: hands the backend functions of C.
#![expect(unsafe_code, reason = "functions of C by table")]

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long a VM may outlive its machine: threads that serve no vCPU hold it until they have seen
/// that it is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// Puts the simulator in place of the framework, once, if the environment names a Mac. Whether it
/// does.
///
/// # Errors
/// When it names one that there is not.
pub fn install() -> Result<bool, String> {
    static INSTALLED: OnceLock<Result<bool, String>> = OnceLock::new();
    let install = || {
        let table = hvf_sim::install_from_environment().map_err(|error| error.to_string())?;
        if let Some(table) = table {
            // SAFETY: the simulator's functions have the framework's types and keep its rules.
            unsafe { hv_backend::hvf::register(table) };
        }
        Ok(table.is_some())
    };
    INSTALLED.get_or_init(install).clone()
}

/// Makes this process another Mac, whatever the environment says: for tests that want a certain one.
/// Nothing of the Mac before may be left.
pub fn become_mac(profile: hvf_sim::Profile) {
    let table = hvf_sim::install(profile);
    // SAFETY: as above.
    unsafe { hv_backend::hvf::register(table) };
}

/// As [`verdict`], where nothing of a VM may be left: that something is, is one more complaint.
///
/// # Errors
/// As there.
pub fn last_verdict() -> Result<(), String> {
    let start = Instant::now();
    while hvf_sim::has_vm() && start.elapsed() < FAREWELL {
        thread::sleep(Duration::from_millis(1));
    }
    hvf_sim::check_leaks();
    verdict()
}

/// What the simulated Mac has to complain of since it was asked last.
///
/// # Errors
/// Its complaints, one a line.
pub fn verdict() -> Result<(), String> {
    let violations = hvf_sim::take_violations();
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
}
