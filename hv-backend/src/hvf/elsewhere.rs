//! Hosts without Hypervisor.framework: the backend is compiled and tested on them, over a table that a
//! test registers.

use crate::hvf::obstacle::Obstacle;
use crate::hvf::table::Table;

/// Says why there is no framework here.
///
/// # Errors
/// Always.
pub fn table() -> Result<&'static Table, Obstacle> {
    Err(Obstacle::Platform {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    })
}
