//! A trace, replayed through the VMM.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use aarch64::machine::RTC;
use hv_backend::api::{Exit, Resume};
use hv_backend::scripted::{Script, Scripted, Step};
use vmm::config::RawConfig;
use vmm::machine::Machine;
use vmm::outcome::Outcome;

use super::{Line, Log, Observed, Trace, What};

/// What a replay may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    /// What happened.
    pub lines: Vec<Line>,
    /// How the machine ended.
    pub outcome: Outcome,
}

/// Plays the trace's exits to the VMM. `kernel` is any file that it takes for a kernel: nothing runs
/// of it.
///
/// # Panics
/// When the machine cannot be made.
#[must_use]
pub fn replay(trace: &Trace, kernel: &Path) -> Replayed {
    let start = Instant::now();
    let nanoseconds = move || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let scripts = (0..trace.cpus).map(|vcpu| script(trace, vcpu)).collect();
    let scripted = Box::new(Scripted::new(scripts, nanoseconds));
    let log = Arc::new(Log::in_turns(trace.lines.len(), turns(trace)));
    let observed = Observed::new(scripted, log.clone());
    let config = RawConfig {
        kernel: Some(kernel.into()),
        cpus: Some(trace.cpus.to_string()),
        memory: Some(trace.memory.clone()),
        serial: Some("none".into()),
        no_reboot: Some(true),
        ..RawConfig::default()
    };
    let config = config.try_into().expect("a trace's machine can be made");
    let machine = Machine::on(&observed, config).expect("a machine");
    let control = machine.control();
    let watcher = {
        let log = log.clone();
        thread::spawn(move || {
            log.wait_for_end(LIMIT);
            // It may have ended by itself.
            control.end(Outcome::Left);
        })
    };
    let outcome = machine.run().expect("it runs");
    log.close();
    watcher.join().expect("it only waits");
    let lines = log.lines();
    Replayed { lines, outcome }
}

/// Where a replay and its trace say different things, but for what cannot be the same: the time of
/// day. Lines are compared vCPU by vCPU.
#[must_use]
pub fn differences(trace: &Trace, replayed: &Replayed) -> Vec<String> {
    let mut found = Vec::new();
    for vcpu in 0..trace.cpus {
        let of = |lines: &[Line]| -> Vec<Line> {
            lines
                .iter()
                .filter(|line| line.vcpu == vcpu)
                .copied()
                .collect()
        };
        let (recorded, replayed) = (of(&trace.lines), of(&replayed.lines));
        for n in 0..recorded.len().max(replayed.len()) {
            let (was, is) = (recorded.get(n), replayed.get(n));
            if was.map(timeless) != is.map(timeless) {
                let text = |line: Option<&Line>| line.map_or("nothing".into(), Line::to_string);
                found.push(format!(
                    "line {n}: was \"{}\", is \"{}\"",
                    text(was),
                    text(is)
                ));
            }
        }
    }
    found
}

/// A line without the time of day that it may tell.
fn timeless(line: &Line) -> Line {
    let mut line = *line;
    if let What::Exit {
        exit: Exit::MmioRead { gpa, .. },
        answer: answer @ Resume::Data(_),
        ..
    } = &mut line.what
        && *gpa == RTC.base
    {
        *answer = Resume::Data(0);
    }
    line
}

fn script(trace: &Trace, vcpu: u16) -> Script {
    let exits = trace.lines.iter().filter(|line| line.vcpu == vcpu);
    exits.fold(Script::new(), |script, line| match line.what {
        What::Start { .. } => script,
        What::Exit { exit, x, .. } => {
            let set = |script: Script, (n, x)| script.then(Step::X(n, x));
            let call = matches!(exit, Exit::Call { .. });
            let x = x.into_iter().enumerate().filter(|_| call);
            x.fold(script, set).exit(exit)
        }
    })
}

/// Whose exit each is, in order.
fn turns(trace: &Trace) -> Vec<u16> {
    let exits = trace
        .lines
        .iter()
        .filter(|line| matches!(line.what, What::Exit { .. }));
    exits.map(|line| line.vcpu).collect()
}
