//! The log of written memory: scripted vCPUs write none, so it has what a test says they did.

use std::collections::BTreeSet;
use std::sync::Mutex;

use aarch64::{Gpa, PAGE_SIZE};
use memory::PageSet;

use super::{ScriptedVm, lock};
use crate::api::{DirtyLog, HostError};

/// The pages that were written, by number from address 0 on, while it is on.
#[derive(Debug, Default)]
pub struct Written(Mutex<Option<BTreeSet<u64>>>);

impl Written {
    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        lock(&self.0).is_some()
    }

    /// A vCPU wrote there.
    pub fn note(&self, gpa: Gpa) {
        if let Some(pages) = &mut *lock(&self.0) {
            pages.insert(gpa.0 / PAGE_SIZE);
        }
    }
}

impl DirtyLog for ScriptedVm {
    fn start(&self) -> Result<(), HostError> {
        *lock(&self.shared.written.0) = Some(BTreeSet::new());
        Ok(())
    }

    fn take(&self, gpa: Gpa) -> Result<PageSet, HostError> {
        let layout = lock(&self.shared.layout);
        let mapping = layout.mappings().iter().find(|m| m.gpa == gpa);
        let mut written = lock(&self.shared.written.0);
        let (Some(mapping), Some(written)) = (mapping, &mut *written) else {
            let line = format!("no region with a log begins at {gpa}");
            return Err(HostError::BadState(line));
        };
        let bytes = mapping.region.size();
        let mut set = PageSet::empty(bytes);
        let first = gpa.0 / PAGE_SIZE;
        written.retain(|page| match page.checked_sub(first) {
            Some(page) if page < set.universe() => {
                set.insert(page);
                false
            }
            Some(_) | None => true,
        });
        Ok(set)
    }

    fn stop(&self) -> Result<(), HostError> {
        *lock(&self.shared.written.0) = None;
        Ok(())
    }
}
