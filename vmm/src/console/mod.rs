//! Consoles: the guest's UART and the ports of its virtio console ([`ports`]) on one side; files,
//! sockets and the terminal of the host on the other.

pub mod escape;
pub mod input;
pub mod output;
pub mod ports;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use devices::pl011::Pl011;
use devices::serial::{NullSink, SerialSink};

use crate::config::Serial;
use crate::coordinator::Control;
use crate::host::stdio;
use crate::host::tty::RawMode;
use crate::machine::{StartError, outputs};
use crate::outcome::Outcome;
use input::{Input, Typist, Wish};
use output::Output;
use ports::Ports;

/// How long output may take to write when there is no reason to be patient.
const HURRY: Duration = Duration::from_secs(1);

/// A console whose output is open and whose input has not started.
#[derive(Debug)]
pub struct Console {
    output: Option<Output>,
    /// Whether standard input is the guest's.
    input: bool,
}

/// A console in use.
#[derive(Debug)]
pub struct Session {
    output: Option<Output>,
    input: Option<Input>,
    raw: Option<RawMode>,
    ports: Ports,
}

impl Console {
    /// Opens the output, and gives the sink for the UART. When writing fails later, the machine
    /// ends: a guest that nobody hears is of no use.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn open(
        serial: &Serial,
        control: Control,
    ) -> Result<(Self, Box<dyn SerialSink>), StartError> {
        let (name, file) = match serial {
            Serial::None => {
                return Ok((
                    Self {
                        output: None,
                        input: false,
                    },
                    Box::new(NullSink),
                ));
            }
            Serial::Stdio => {
                let closed = |error| StartError::Host(format!("standard output: {error}"));
                (
                    "standard output".to_owned(),
                    stdio::stdout().map_err(closed)?,
                )
            }
            Serial::File(path) => {
                let name = path.display().to_string();
                let refuse = |error| {
                    StartError::Input(format!("--serial file:{name}: cannot write it: {error}"))
                };
                (name.clone(), outputs::create(path).map_err(refuse)?)
            }
        };
        let on_failure = move |error: &std::io::Error| {
            let line = format!("cannot write the guest's output to {name}: {error}");
            control.end(Outcome::HostFailed(line));
        };
        let output = Output::start(file, Box::new(on_failure))
            .map_err(|error| StartError::Host(format!("cannot start a thread: {error}")))?;
        let sink = Box::new(output.sink());
        Ok((
            Self {
                output: Some(output),
                input: *serial == Serial::Stdio,
            },
            sink,
        ))
    }

    /// Starts the input, with the terminal in raw mode if there is one.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn start(
        self,
        uart: Arc<Pl011>,
        ports: Ports,
        control: Control,
    ) -> Result<Session, StartError> {
        let Self { output, input } = self;
        let guest: Option<Arc<dyn Typist>> = if input { Some(uart) } else { ports.keyboard() };
        let refuse = |error| StartError::Host(format!("standard input: {error}"));
        let raw = if guest.is_some() {
            RawMode::enter().map_err(refuse)?
        } else {
            None
        };
        if raw.is_some() {
            // A closed standard error is no reason to stop.
            let _ = writeln!(std::io::stderr(), "armlet: Ctrl-A x leaves, Ctrl-A h helps");
        }
        // A terminal that cannot be put in raw mode belongs to somebody in the foreground.
        let readable = raw.is_some() || !std::io::stdin().is_terminal();
        let input = if let Some(guest) = guest.filter(|_| readable) {
            let tell = move |wish| match wish {
                Wish::Leave => {
                    control.end(Outcome::Left);
                }
            };
            let file = stdio::stdin().map_err(refuse)?;
            Some(Input::start(file, raw.is_some(), guest, tell).map_err(refuse)?)
        } else {
            None
        };
        Ok(Session {
            output,
            input,
            raw,
            ports,
        })
    }
}

impl Session {
    /// Writes out what is left, and puts the terminal back.
    pub fn finish(self, outcome: &Outcome) {
        let Self {
            output,
            input,
            raw,
            ports,
        } = self;
        drop(input);
        let patience = match outcome {
            Outcome::PoweredOff | Outcome::ResetRefused | Outcome::GuestFailed { .. } => None,
            Outcome::Left
            | Outcome::Signal(_)
            | Outcome::Cut
            | Outcome::StopTimedOut(_)
            | Outcome::HostFailed(_)
            | Outcome::NotRestored(_) => Some(HURRY),
        };
        if let Some(output) = output {
            output.finish(patience);
        }
        ports.finish(patience);
        drop(raw);
    }
}
