//! Exit traces: what an accelerator told the VMM and what it was answered, as text; recorded on one
//! host, replayed on any.
//!
//! [`Observed`] wraps any accelerator and writes each exit with its answer into a [`Log`]. A replay
//! plays a trace's exits through the scripted accelerator, inside the same wrapper: so the replay makes
//! a trace too, and both must say the same. What is replayed is the VMM: run loop, PSCI, devices.
//!
//! A trace is lines of words, numbers in hexadecimal. A line that begins with `#` is a remark; the
//! first two say how many vCPUs and how much memory the machine had. Then, vCPU first:
//! ```text
//! cpus 2
//! memory 64M
//! 0 read 9000018 4 data 90
//! 0 write 9000000 1 41 done
//! 0 call hvc 0 84000003 1 40280100 7 call 0 1 40280100 7
//! 1 start 40280100 7
//! ```
//! Lines stand in the order of the exits. Kicks are left out: they come when they come. A trace
//! ends where a debugger's stop, a fault or a failure would stand.

mod log;
mod observed;
mod record;
mod replay;
mod text;

pub use log::Log;
pub use observed::Observed;
pub use record::record_all;
pub use replay::{Replayed, differences, replay};
pub use text::Malformed;

use hv_backend::api::{Exit, Resume};

/// A recorded run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// vCPUs of the machine.
    pub cpus: u16,
    /// Its memory, as on the command line.
    pub memory: String,
    /// What happened.
    pub lines: Vec<Line>,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which vCPU.
    pub vcpu: u16,
    /// What.
    pub what: What,
}

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The VMM put the vCPU to this PC, with this X0. Of the first vCPU that is not told: it depends
    /// on the kernel's file.
    Start {
        /// PC.
        pc: u64,
        /// X0.
        x0: u64,
    },
    /// The vCPU left the guest and was answered.
    Exit {
        /// Why it left.
        exit: Exit,
        /// X0 to X3 when it left for a call, else zero.
        x: [u64; 4],
        /// The answer.
        answer: Resume,
    },
}
