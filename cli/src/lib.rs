//! The `armlet` command, as a function: programs that test it over a stand-in for the host's
//! accelerator call it too.
//!
//! It reads the command line, sets up logs, signals and the terminal, and turns what happens into
//! one line and an exit status. Everything else is the [`vmm`] crate's.

mod args;
mod disk;
mod doctor;
mod remote;
mod words;

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use args::{Cli, Command, Run, Stop, Wish};
use tracing_subscriber::EnvFilter;
use vmm::config::{self, MachineConfig, RawConfig, Settings};
use vmm::host::signals::{self, Urgency};
use vmm::host::tty;
use vmm::machine::outputs::{self, Beside};
use vmm::machine::{Machine, StartError, device_tree};
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
        Command::Stop(args) => remote::stop(&args),
        Command::Status(args) => remote::status(&args),
        Command::Balloon(args) => remote::balloon(&args),
    }
}

fn work_on_disk(work: disk::Disk) -> Result<u8, Failure> {
    // Only a new file may be left half done: the others' order of writes is made for an end at any time.
    let _watch = if work.makes_a_file() {
        Some(watch(|signal, _| {
            images::abandon();
            signals::end_by(signal);
        })?)
    } else {
        None
    };
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
    let Wish {
        raw,
        file,
        dump_dtb,
        print_config,
    } = run.wish();
    let config = configure(raw, file.as_deref())?;
    if print_config {
        let text = config.to_toml().map_err(bad_input)?;
        return show(text.trim_end());
    }
    let beside = Beside {
        machine_file: file.as_deref(),
        device_tree: dump_dtb.as_deref(),
    };
    outputs::check(&config, beside)?;
    if let Some(path) = dump_dtb {
        return write_device_tree(&config, &path);
    }
    let patience = config.stop_timeout.time();
    let machine = Machine::new(config)?;
    let control = machine.control();
    let told = move |signal, urgency| {
        let outcome = Outcome::Signal(signal);
        let taken = match urgency {
            Urgency::Ask if !patience.is_zero() => {
                let seconds = patience.as_secs();
                complain(&format!(
                    "the guest has {seconds} s to shut down; once more cuts its power"
                ));
                control.stop(patience, outcome)
            }
            Urgency::Ask | Urgency::Cut | Urgency::AtOnce => control.end(outcome),
        };
        // Past its end, the machine only has its disks' last writes made to last, and waits for
        // the reader of its output.
        if !taken {
            signals::end_by(signal);
        }
    };
    let _watch = watch(told)?;
    report(machine.run()?)
}

fn watch(told: impl Fn(i32, Urgency) + Send + 'static) -> Result<signals::Watch, Failure> {
    let failed = |error| Failure(HOST_FAILED, format!("cannot watch for signals: {error}"));
    signals::Watch::start(told).map_err(failed)
}

/// The machine that flags and a file make together.
fn configure(raw: RawConfig, file: Option<&Path>) -> Result<MachineConfig, Failure> {
    let flags = Settings::try_from(raw).map_err(bad_input)?;
    let settings = match file {
        Some(path) if path.extension() != Some("toml".as_ref()) => {
            let path = path.display();
            let line = format!(
                "{path}: not a machine file, whose name ends in .toml; a kernel is given with --kernel"
            );
            return Err(Failure(BAD_INPUT, line));
        }
        Some(path) => flags.or(config::file::read(path).map_err(bad_input)?),
        None => flags,
    };
    MachineConfig::try_from(settings).map_err(bad_input)
}

fn bad_input(error: impl Display) -> Failure {
    Failure(BAD_INPUT, error.to_string())
}

fn write_device_tree(config: &MachineConfig, path: &Path) -> Result<u8, Failure> {
    let tree = device_tree(config)?;
    let written = outputs::create(path).and_then(|mut file| file.write_all(&tree));
    written.map_err(|error| {
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
        Outcome::PoweredOff | Outcome::ResetRefused => tracing::info!("{outcome}"),
        Outcome::Cut => complain_on_new_line(&outcome.to_string()),
        Outcome::StopTimedOut(_) => return Err(Failure(GUEST_FAILED, outcome.to_string())),
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
