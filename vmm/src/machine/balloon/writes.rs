//! The log of everything that is written to guest memory: what vCPUs write by the accelerator's log,
//! what devices write by that of the memory itself.

use std::sync::Arc;

use hv_backend::api::{DirtyLog, HostError};
use memory::{Layout, Mapping, PageSet};

use crate::fleet::Fleet;

/// A log that is on for as long as this is there. There is one at a time.
pub struct WriteLog {
    fleet: Arc<Fleet>,
    /// Guest memory when it began. Memory that comes later has no log of devices: whoever reads the
    /// log has to know that the guest is still in this one.
    layout: Arc<Layout>,
}

impl WriteLog {
    /// Begins, with no page written. `None` where the accelerator keeps no log.
    pub fn start(fleet: &Arc<Fleet>, layout: Arc<Layout>) -> Option<Result<Self, HostError>> {
        let fleet = fleet.clone();
        fleet.vm().dirty_log()?;
        // What has begun ends again, should the rest fail.
        let log = Self { fleet, layout };
        let mappings = log.layout.mappings();
        let regions = mappings.iter().map(|mapping| &mapping.region);
        regions.for_each(|region| region.start_device_log());
        let started = log.of_vcpus().map_or(Ok(()), |vcpus| vcpus.start());
        Some(started.map(|()| log))
    }

    /// Guest memory.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The pages that were written since the start or the last call, for each mapping. What is written
    /// meanwhile is in these sets or in the next ones; who reads a page from now on finds all that is
    /// in neither.
    pub fn take(&self) -> Result<Vec<PageSet>, HostError> {
        let of_one = |mapping: &Mapping| {
            let mut written = mapping.region.take_device_log();
            if let Some(vcpus) = self.of_vcpus() {
                written.insert_all(&vcpus.take(mapping.gpa)?);
            }
            Ok(written)
        };
        self.layout.mappings().iter().map(of_one).collect()
    }

    fn of_vcpus(&self) -> Option<&dyn DirtyLog> {
        self.fleet.vm().dirty_log()
    }
}

impl Drop for WriteLog {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.of_vcpus().map(DirtyLog::stop) {
            tracing::warn!(%error, "the log of the guest's writes stays on; the guest is slower");
        }
        for mapping in self.layout.mappings() {
            mapping.region.stop_device_log();
        }
    }
}
