//! KVM on hosts that cannot have it: the reason why, and those parts of the backend that know
//! nothing of the host, so that they are compiled and tested everywhere.

pub mod exits;
pub mod gic_registers;
pub mod gic_state;
pub mod obstacle;
pub mod registers;
pub mod signed_load;
pub mod wires;

use crate::api::Hypervisor;
use obstacle::Obstacle;

/// Says why there is no KVM here.
///
/// # Errors
/// Always.
pub fn open() -> Result<Box<dyn Hypervisor>, Obstacle> {
    Err(Obstacle::Host {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
    })
}
