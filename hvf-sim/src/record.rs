//! The exit record, which the framework and its user share by address.

// UNSAFETY: a record that others read by address.
#![expect(unsafe_code, reason = "hv_vcpu_create hands out an address")]

use hv_backend::hvf::abi::ExitRecord;

/// What nobody may rely on.
const POISON: ExitRecord = ExitRecord {
    reason: 0xdead_2bad,
    padding: 0xdead_2bad,
    syndrome: 0xdead_2bad_dead_2bad,
    virtual_address: 0xdead_2bad_dead_2bad,
    physical_address: 0xdead_2bad_dead_2bad,
};

/// A record at an address that stays. It is never freed, so that who reads the record of a vCPU that
/// is gone finds poison.
#[derive(Debug)]
pub(crate) struct RecordCell(*mut ExitRecord);

impl RecordCell {
    pub fn new() -> Self {
        Self(Box::into_raw(Box::new(POISON)))
    }

    /// Where it is.
    pub fn address(&self) -> *mut ExitRecord {
        self.0
    }

    /// Poisons it: nobody may read it now.
    pub fn poison(&self) {
        self.write(POISON);
    }

    pub fn write(&self, record: ExitRecord) {
        // SAFETY: from a box that is never freed; its readers are on this thread.
        unsafe { self.0.write(record) }
    }
}

impl Drop for RecordCell {
    fn drop(&mut self) {
        self.poison();
    }
}

/// A record whose fields are poison but for the reason.
pub(crate) fn bare(reason: u32) -> ExitRecord {
    ExitRecord { reason, ..POISON }
}
