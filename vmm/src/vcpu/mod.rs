//! One vCPU: its thread, its run loop, and its post for other threads.
//!
//! A vCPU is bound on the thread that runs it and never leaves it. Other threads reach it through
//! its [`Post`]; it reaches the machine through the [`Board`] and its end through [`Event`]s.
//!
//! What the thread does next follows from three things, looked at in this order each time round:
//! the gate (stop, start over, or end), the power table (off, or to be started), and else the
//! guest. See [`run`] for the loop.

mod call;
mod post;
mod report;
mod run;
mod timers;

use std::sync::Arc;
use std::sync::mpsc::Sender;

use aarch64::VcpuId;
use hv_backend::api::HostError;

pub use post::{Errand, Lines, Post};

use crate::board::Board;
use crate::fleet::Fleet;
use crate::outcome::{Event, Outcome};

/// What every vCPU thread shares.
#[derive(Clone)]
pub struct Context {
    /// The vCPUs.
    pub fleet: Arc<Fleet>,
    /// The machine around them.
    pub board: Arc<dyn Board>,
    /// Whom they report to.
    pub events: Sender<Event>,
}

impl Context {
    /// Reports to the coordinator. It may be gone already when the machine ends; then nobody
    /// needs to know.
    fn report(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// The body of a vCPU's thread. Returns when the gate sends it away or its vCPU failed; however it
/// ends, by a panic too, the coordinator hears of it and the gate no longer waits for it.
pub fn run_thread(context: &Context, id: VcpuId) {
    let leave = Leave {
        context,
        id,
        finished: false,
    };
    let outcome = bind_and_run(context, id);
    if let Err(error) = outcome {
        let line = format!("{id}: {}", chain(&error));
        context.report(Event::End(Outcome::HostFailed(line)));
    }
    leave.finish();
}

fn bind_and_run(context: &Context, id: VcpuId) -> Result<(), HostError> {
    let vcpu = context.fleet.vm().bind_vcpu(id)?;
    run::Runner::new(context, id, vcpu).run()
}

/// Takes the thread off the gate's list, and reports a panic.
struct Leave<'a> {
    context: &'a Context,
    id: VcpuId,
    finished: bool,
}

impl Leave<'_> {
    fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let line = format!(
                "the thread of {} panicked; this is a bug in armlet",
                self.id
            );
            self.context.report(Event::End(Outcome::HostFailed(line)));
        }
        self.context.fleet.post(self.id).close();
        self.context.fleet.gate().resign();
    }
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |e| e.source());
    sources.fold(error.to_string(), |line, source| {
        format!("{line}: {source}")
    })
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}
