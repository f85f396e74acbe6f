//! The `armlet` command, as a function: programs that test it over a stand-in for the host's
//! accelerator call it too.
//!
//! It reads the command line, sets up logs, signals and the terminal, and turns what happens into
//! one line and an exit status. Everything else is the [`vmm`] crate's.

mod args;
mod disk;
mod doctor;
mod words;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use args::{Cli, Command, Run, Stop};
use tracing_subscriber::EnvFilter;
use vmm::config::MachineConfig;
use vmm::host::{signals, tty};
use vmm::machine::{Machine, StartError, device_tree, starts_from};
use vmm::outcome::Outcome;
use words::{complain, complain_on_new_line, say};

/// The guest powered off, or did what it was asked to.
const DONE: u8 = 0;
/// Bad usage or input.
const BAD_INPUT: u8 = 2;
/// The guest crashed, or asked for something impossible.
const GUEST_FAILED: u8 = 3;
/// The host failed.
const HOST_FAILED: u8 = 4;

/// Why the program ends early: its exit status and one line.
struct Failure(u8, String);

/// Runs the command with the arguments of this process.
#[must_use]
pub fn main() -> ExitCode {
    tty::restore_on_panic();
    let done = match args::parse(std::env::args_os()) {
        Ok(cli) => start(cli),
        Err(Stop::Show(text)) => show(text.trim_end()),
        Err(Stop::Wrong(line)) => Err(Failure(BAD_INPUT, line)),
    };
    let status = done.unwrap_or_else(|Failure(status, line)| {
        complain(&line);
        status
    });
    ExitCode::from(status)
}

fn start(cli: Cli) -> Result<u8, Failure> {
    start_logs(cli.verbose)?;
    match cli.command {
        Command::Run(run) => run_machine(*run),
        Command::Disk(disk) => work_on_disk(disk),
        Command::Doctor => show(&doctor::report()),
    }
}

fn work_on_disk(work: disk::Disk) -> Result<u8, Failure> {
    let disk::Done { text, bad } = disk::run(work).map_err(|line| Failure(BAD_INPUT, line))?;
    if !text.is_empty() {
        show(&text)?;
    }
    bad.map_or(Ok(DONE), |line| Err(Failure(BAD_INPUT, line)))
}

/// What the user asked to read.
fn show(text: &str) -> Result<u8, Failure> {
    let failed = |error| format!("cannot write to standard output: {error}");
    say(text).map_err(|error| Failure(HOST_FAILED, failed(error)))?;
    Ok(DONE)
}

fn start_logs(verbose: u8) -> Result<(), Failure> {
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = match std::env::var("ARMLET_LOG") {
        Ok(filter) if !filter.is_empty() => EnvFilter::try_new(&filter)
            .map_err(|error| Failure(BAD_INPUT, format!("ARMLET_LOG={filter}: {error}")))?,
        _ => EnvFilter::new(default),
    };
    let stderr = std::io::stderr;
    let colour = stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_writer(stderr)
        .init();
    Ok(())
}

fn run_machine(run: Run) -> Result<u8, Failure> {
    let (raw, dump_dtb) = run.into_parts();
    let config = MachineConfig::try_from(raw).map_err(|e| Failure(BAD_INPUT, e.to_string()))?;
    if let Some(path) = dump_dtb {
        return write_device_tree(&config, &path);
    }
    let machine = Machine::new(config)?;
    let control = machine.control();
    let told = move |signal| {
        // Past its end, the machine only waits for the reader of its output.
        if !control.end(Outcome::Signal(signal)) {
            signals::end_by(signal);
        }
    };
    let _watch = signals::Watch::start(told)
        .map_err(|error| Failure(HOST_FAILED, format!("cannot watch for signals: {error}")))?;
    report(machine.run()?)
}

fn write_device_tree(config: &MachineConfig, path: &Path) -> Result<u8, Failure> {
    if starts_from(config, path) {
        let path = path.display();
        let line = format!("--dump-dtb {path}: the guest starts from this file; give another one");
        return Err(Failure(BAD_INPUT, line));
    }
    let tree = device_tree(config)?;
    std::fs::write(path, tree).map_err(|error| {
        let path = path.display();
        Failure(
            BAD_INPUT,
            format!("--dump-dtb {path}: cannot write the file: {error}"),
        )
    })?;
    Ok(DONE)
}

/// The exit status for how a machine ended.
fn report(outcome: Outcome) -> Result<u8, Failure> {
    match outcome {
        Outcome::PoweredOff => tracing::info!("the guest powered off"),
        Outcome::ResetRefused => tracing::info!("the guest asked for a reset"),
        // The cursor stands in the guest's last line.
        Outcome::Left => complain_on_new_line("left the guest"),
        Outcome::Signal(signal) => signals::end_by(signal),
        Outcome::GuestFailed { reason, registers } => {
            complain(&reason);
            words::add(&registers);
            return Ok(GUEST_FAILED);
        }
        Outcome::HostFailed(reason) => return Err(Failure(HOST_FAILED, reason)),
        Outcome::NotRestored(reason) => return Err(Failure(BAD_INPUT, reason)),
    }
    Ok(DONE)
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Input(line) => Self(BAD_INPUT, line),
            StartError::Host(line) => Self(HOST_FAILED, line),
        }
    }
}
