//! The framework's objects: configurations, which their user releases.

use crate::violation::{Violation, record};

/// What an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    /// A VM's configuration, with its bits of guest address.
    Vm {
        /// Bits.
        address_bits: u32,
    },
    /// A vCPU's configuration.
    Vcpu,
}

impl Object {
    fn created_by(self) -> &'static str {
        match self {
            Self::Vm { .. } => "hv_vm_config_create",
            Self::Vcpu => "hv_vcpu_config_create",
        }
    }
}

/// The objects that are there. Their names pass for pointers and are never used twice.
#[derive(Debug)]
pub(crate) struct Objects {
    live: Vec<(usize, Object)>,
    made: usize,
}

/// Names are far from null and from anything that is mapped.
const FIRST_NAME: usize = 0x1_0000;
const NAME_STEP: usize = 0x10;

impl Objects {
    /// No objects.
    pub const NONE: Self = Self {
        live: Vec::new(),
        made: 0,
    };

    /// Makes an object.
    pub fn create(&mut self, object: Object) -> usize {
        let name = FIRST_NAME + self.made * NAME_STEP;
        self.made += 1;
        self.live.push((name, object));
        name
    }

    /// The object of this name.
    pub fn get(&self, name: usize) -> Option<Object> {
        let row = self.live.iter().find(|(known, _)| *known == name);
        row.map(|(_, object)| *object)
    }

    /// Replaces an object; false if there is none of this name.
    pub fn set(&mut self, name: usize, object: Object) -> bool {
        match self.live.iter_mut().find(|(known, _)| *known == name) {
            Some(row) => {
                row.1 = object;
                true
            }
            None => false,
        }
    }

    /// `os_release`
    pub fn release(&mut self, name: usize) {
        match self.live.iter().position(|(known, _)| *known == name) {
            Some(at) => {
                self.live.remove(at);
            }
            None => record(Violation::BadRelease),
        }
    }

    /// Records the objects that are still there, and forgets them.
    pub fn record_leaks(&mut self) {
        for (_, object) in self.live.drain(..) {
            let created_by = object.created_by();
            record(Violation::ObjectLeaked { created_by });
        }
    }
}
