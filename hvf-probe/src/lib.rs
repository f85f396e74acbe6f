//! Questions to Hypervisor.framework that only a Mac can answer, asked through the same table of
//! functions as the backend's, so that the questions themselves are tested on a simulator.
//!
//! | file | what |
//! |---|---|
//! | `raw` | the framework's functions with their return codes; the only unsafe code |
//! | `guest` | a VM with one page of code, vectors that call back, and one vCPU |
//! | `questions` | one file for each group of questions: a function from a table to an answer |
//!
//! An answer is whatever was seen, never a judgement: refusals are answers too. Every question
//! makes and destroys its own VM, so that none depends on another.

mod guest;
mod questions;
mod raw;

use hv_backend::hvf::table::Table;
use serde_json::{Map, Value, json};

use raw::Raw;

/// What a report is to contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Kicks to send to a busy guest.
    pub kicks: u32,
    /// Seconds to wait for the host to sleep and wake; 0 for not at all.
    pub sleep_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kicks: 100_000,
            sleep_seconds: 0,
        }
    }
}

/// Asks everything. No other VM may exist in this process.
#[must_use]
pub fn report(table: &'static Table, options: &Options) -> Value {
    let raw = Raw::new(table);
    let mut report = Map::new();
    report.insert("format".into(), json!(1));
    report.insert("host".into(), questions::host::ask(raw));
    for (name, ask) in questions::ALL {
        report.insert((*name).into(), ask(raw, options));
    }
    Value::Object(report)
}
