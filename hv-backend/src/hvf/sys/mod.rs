//! The only code that calls Hypervisor.framework.

// UNSAFETY: a table of functions of C.
#![expect(unsafe_code, reason = "functions of C")]

pub mod table;

use std::sync::OnceLock;

use table::Table;

static REGISTERED: OnceLock<&'static Table> = OnceLock::new();

/// Makes `table` stand for the framework in this process, for tests. The first one stays.
///
/// # Safety
/// Its functions have the types and keep the rules of the framework's.
pub unsafe fn register(table: &'static Table) {
    let _ = REGISTERED.set(table);
}

/// What [`register`] was given.
pub fn registered() -> Option<&'static Table> {
    REGISTERED.get().copied()
}
