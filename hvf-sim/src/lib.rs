//! A simulator of Hypervisor.framework, so that the `hvf` backend runs on any host: in tests, over
//! guests that really run.
//!
//! It fills the backend's [table of functions](hv_backend::hvf::table::Table) with functions that
//! behave as those of a Mac, as far as anybody has documented or measured that; where nobody has, a
//! comment says "guess". Behind `hv_vcpu_run` is the software CPU ([`softcpu::hypervised`]), so that
//! exits come from guest code.
//!
//! What makes it strict, and more than a stand-in:
//! - [`profile`]: Macs differ. What a chip or a macOS lacks is not there.
//! - [`violations`]: whoever breaks a rule that a Mac might let pass is told on.
//! - State that no document gives a value for is poison; so is the exit record between runs.
//! - [`inject`]: rare things happen when asked for.
//! - [`script()`]: exits can be prepared instead of made.
//!
//! Not here: `hv_gic`, EL2 for guests, SME state (its size is there to be asked), the software CPU's
//! own limits (its guests cannot use what its `portable` model does not have, even where the
//! identification registers of a Mac show it), WFIT and WFET.
//!
//! A process has one simulator, as it has one framework. [`install`] chooses the Mac.

mod clock;
mod engine;
mod faults;
mod ffi;
mod forward;
mod host_memory;
mod ids;
mod lent;
mod objects;
pub mod profile;
mod record;
mod run;
mod script;
mod stage2;
mod syndrome;
mod sysregs;
mod violation;
mod world;

cfg_if::cfg_if! {
    if #[cfg(all(unix, target_arch = "x86_64"))] {
        #[path = "ffi/vector_x86_64.rs"]
        mod vector;
    } else if #[cfg(target_arch = "aarch64")] {
        #[path = "ffi/vector_aarch64.rs"]
        mod vector;
    } else {
        #[path = "ffi/vector_elsewhere.rs"]
        mod vector;
    }
}

use hv_backend::hvf::table::Table;

pub use clock::sleep_host;
pub use faults::{Fault, clear as clear_faults, dropped_kicks, inject};
pub use profile::Profile;
pub use script::{Scripted, script};
pub use violation::{Violation, take_violations, violations};

use violation::record;

/// Makes the process a Mac of this profile, on which nothing goes wrong, and returns its framework.
/// What is left of the Mac before is dropped; a VM that is still there is a violation.
///
/// Threads of earlier vCPUs must have ended or destroyed them.
#[must_use]
pub fn install(profile: Profile) -> &'static Table {
    clear_faults();
    script::clear();
    let mut world = world::world();
    if world.vm.take().is_some() {
        record(Violation::VmLeft);
    }
    world.objects.record_leaks();
    world.profile = profile;
    // A table is small, and a process has few of them.
    Box::leak(Box::new(ffi::table(&profile)))
}

/// As [`install`], for the Mac and with the faults that [`profile::ENVIRONMENT`] names; `None` if it
/// names nothing.
///
/// # Errors
/// When it names what there is not.
pub fn install_from_environment() -> Result<Option<&'static Table>, profile::UnknownChoice> {
    let Some(text) = std::env::var_os(profile::ENVIRONMENT) else {
        return Ok(None);
    };
    let choice: profile::Choice = text.to_string_lossy().parse()?;
    let table = install(choice.profile);
    for fault in choice.faults {
        inject(fault);
    }
    Ok(Some(table))
}

/// Whether there is a VM.
#[must_use]
pub fn has_vm() -> bool {
    world::world().vm.is_some()
}

/// Records what should not be there any more at the end: a VM, objects.
pub fn check_leaks() {
    let mut world = world::world();
    if world.vm.is_some() {
        record(Violation::VmLeft);
    }
    world.objects.record_leaks();
}
