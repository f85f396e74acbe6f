//! The machine's memory balloon: what the guest gives up goes back through the accelerator, which
//! knows what its host has mapped.

use std::io;
use std::sync::Arc;

use aarch64::Gpa;
use aarch64::machine::Span;
use devices::virtio::balloon::{Balloon, BalloonConfig as Setup, Reclaim};

use crate::config::balloon::BalloonConfig;
use crate::fleet::Fleet;

/// The device that `config` describes, for a guest with this RAM.
pub fn device(config: &BalloonConfig, fleet: &Arc<Fleet>, ram: Span) -> Balloon {
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
    Balloon::new(reclaim, ram, memory::page_size() as u64, setup)
}

struct ThroughAccelerator(Arc<Fleet>);

impl Reclaim for ThroughAccelerator {
    fn reclaim(&self, gpa: Gpa, bytes: u64) -> io::Result<()> {
        let given = self.0.vm().discard(gpa, bytes);
        given.map_err(io::Error::other)
    }
}
