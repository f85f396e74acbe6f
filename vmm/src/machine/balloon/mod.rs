//! The machine's memory balloon: what the guest gives up goes back through the accelerator, which
//! knows what its host has mapped.
//!
//! | part | where |
//! |---|---|
//! | the device, and what it reaches | here |
//! | taking free memory back at once | `reclaim` |
//! | the writes of a guest meanwhile | `writes` |
//! | which pages of hints go back | `unwritten` |

mod reclaim;
#[cfg(test)]
mod tests;
mod unwritten;
mod writes;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aarch64::Gpa;
use aarch64::machine::Span;
use devices::clock::Monotonic;
use devices::virtio::GuestRam;
use devices::virtio::balloon::{Balloon, BalloonConfig as Setup, Reclaim};

use crate::config::balloon::BalloonConfig;
use crate::fleet::Fleet;
use reclaim::UnderWay;
pub use reclaim::{ReclaimError, Reclaimed};

/// A machine's memory balloon, for those who ask something of it.
pub struct GuestBalloon {
    // Wiring.
    device: Arc<Balloon>,
    fleet: Arc<Fleet>,
    ram: Arc<GuestRam>,
    /// Where RAM is.
    span: Span,
    /// How long the guest may take to name its free memory.
    patience: Duration,
    // State.
    /// The free memory that is being taken back.
    under_way: Mutex<Option<UnderWay>>,
    /// Those who see to that.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl GuestBalloon {
    /// The balloon that `config` describes, for a guest with this RAM.
    pub(super) fn new(
        config: &BalloonConfig,
        clock: Arc<dyn Monotonic>,
        fleet: &Arc<Fleet>,
        (ram, span): (&Arc<GuestRam>, Span),
    ) -> Self {
        let BalloonConfig {
            size,
            deflate_on_oom,
            free_page_reporting,
        } = *config;
        let setup = Setup {
            target: size.0,
            deflate_on_oom,
            reporting: free_page_reporting,
        };
        let reclaim = Box::new(ThroughAccelerator(fleet.clone()));
        let granule = memory::page_size() as u64;
        let device = Balloon::new((reclaim, clock), span, granule, setup);
        Self {
            device: Arc::new(device),
            fleet: fleet.clone(),
            ram: ram.clone(),
            span,
            patience: reclaim::PATIENCE,
            under_way: Mutex::default(),
            threads: Mutex::default(),
        }
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Arc<Balloon> {
        &self.device
    }
}

impl fmt::Debug for GuestBalloon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestBalloon")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

struct ThroughAccelerator(Arc<Fleet>);

impl Reclaim for ThroughAccelerator {
    fn reclaim(&self, gpa: Gpa, bytes: u64) -> io::Result<()> {
        let given = self.0.vm().discard(gpa, bytes);
        given.map_err(io::Error::other)
    }
}
