//! The log of written memory of the `soft` backend.
//!
//! A region notes a page when a software CPU takes it into its frame cache for a store. The log is
//! complete because every CPU forgets its frames when it starts and whenever it is taken, and because
//! that is waited for: a store through an old frame is over before `take` returns, and its page was
//! noted when the frame was taken in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Gpa;
use memory::{PageSet, Prot, Region};

use super::vm::Shared;
use crate::api::{DirtyLog, HostError};

/// See the [module](self).
#[derive(Debug)]
pub struct SoftLog {
    shared: Arc<Shared>,
    on: Mutex<bool>,
}

impl SoftLog {
    /// The log of a VM, not started.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            on: Mutex::new(false),
        }
    }

    /// A region was mapped.
    pub fn mapped(&self, region: &Region) {
        if *self.on() {
            region.start_log();
            self.shared.cluster.forget_translations();
        }
    }

    fn on(&self) -> MutexGuard<'_, bool> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn for_each_region(&self, act: impl Fn(&Region)) {
        let (layout, _) = self.shared.layout();
        for mapping in layout.mappings() {
            if mapping.prot == Prot::ReadWrite {
                act(&mapping.region);
            }
        }
    }
}

impl DirtyLog for SoftLog {
    fn start(&self) -> Result<(), HostError> {
        let mut on = self.on();
        self.for_each_region(Region::start_log);
        self.shared.cluster.forget_translations();
        *on = true;
        Ok(())
    }

    fn take(&self, gpa: Gpa) -> Result<PageSet, HostError> {
        let on = self.on();
        if !*on {
            return Err(HostError::BadState("the dirty log was not started".into()));
        }
        let (layout, _) = self.shared.layout();
        let mapping = layout.mappings().iter().find(|m| m.gpa == gpa);
        let mapping = mapping.ok_or_else(|| HostError::Map {
            gpa,
            reason: "no region begins there".into(),
        })?;
        let pages = mapping.region.take_log();
        self.shared.cluster.forget_translations();
        Ok(pages)
    }

    fn stop(&self) -> Result<(), HostError> {
        let mut on = self.on();
        self.for_each_region(Region::stop_log);
        *on = false;
        Ok(())
    }
}
