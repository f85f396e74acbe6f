//! The host's ends of the virtio console's ports.
//!
//! | end | how |
//! |---|---|
//! | a Unix socket | `socket`: whoever connects, one at a time; one thread waits for all sockets |
//! | a file, standard output | `writer`: a bounded buffer, and a thread that writes it |
//! | standard input | [`input`](super::input), as for a serial port |
//! | nothing | `nothing` |

mod nothing;
mod socket;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use devices::virtio::console::{Console, PortEnd};

use self::nothing::Nothing;
use self::socket::Switchboard;
use self::writer::Writer;
use super::input::Typist;
use crate::config::console::{ConsoleConfig, ConsoleEnd, PortName};
use crate::host::{stdio, winsize};
use crate::machine::{StartError, outputs};

/// The ports, with all that is open for them.
pub struct Ports {
    device: Arc<Console>,
    writers: Vec<Writer>,
    /// The one that standard input is for.
    keyboard: Option<Writer>,
    /// Watches the terminal's size.
    resizes: Option<winsize::Resizes>,
    /// Held for its thread.
    _switchboard: Option<Switchboard>,
}

impl Ports {
    /// Opens what the ports go to.
    ///
    /// # Errors
    /// When a file or socket cannot be opened.
    pub fn open(consoles: &[ConsoleConfig]) -> Result<Self, StartError> {
        let mut switchboard = Switchboard::default();
        let (mut writers, mut keyboard) = (Vec::new(), None);
        let (mut terminal, mut named) = (None, Vec::new());
        for console in consoles {
            let ConsoleConfig { port, end } = console;
            let refuse =
                |error| StartError::Input(format!("--console {console}: cannot open it: {error}"));
            let end: Box<dyn PortEnd> = match end {
                ConsoleEnd::Socket(path) => Box::new(switchboard.bind(path).map_err(refuse)?),
                ConsoleEnd::File(path) => {
                    let file = outputs::create(path).map_err(refuse)?;
                    let writer = Writer::start(file, path.display().to_string());
                    let writer = writer.map_err(no_thread)?;
                    writers.push(writer.clone());
                    Box::new(writer)
                }
                ConsoleEnd::Stdio => {
                    let file = stdio::stdout().map_err(refuse)?;
                    let writer = Writer::start(file, "standard output".to_owned());
                    let writer = writer.map_err(no_thread)?;
                    writers.push(writer.clone());
                    keyboard = Some(writer.clone());
                    Box::new(writer)
                }
                ConsoleEnd::None => Box::new(Nothing),
            };
            match port {
                PortName::Terminal => terminal = Some(end),
                PortName::Named(name) => named.push((name.clone(), end)),
            }
        }
        let device = Arc::new(Console::new(terminal, named));
        let has_terminal = |console: &ConsoleConfig| {
            console.end == ConsoleEnd::Stdio && console.port == PortName::Terminal
        };
        let resizes = match consoles.iter().any(has_terminal) {
            true => watch_size(&device)?,
            false => None,
        };
        Ok(Self {
            device,
            writers,
            keyboard,
            resizes,
            _switchboard: switchboard.start().map_err(no_thread)?,
        })
    }

    /// The guest's device.
    pub fn device(&self) -> &Arc<Console> {
        &self.device
    }

    /// Who gets what is typed, if that is a port.
    pub fn keyboard(&self) -> Option<Arc<dyn Typist>> {
        let keyboard = self.keyboard.clone()?;
        Some(Arc::new(keyboard))
    }

    /// Writes out what is left, each at most for `limit`.
    pub fn finish(self, limit: Option<Duration>) {
        drop(self.resizes);
        self.writers.iter().for_each(|writer| writer.finish(limit));
    }
}

/// Tells the guest the terminal's size, and each change of it.
fn watch_size(device: &Arc<Console>) -> Result<Option<winsize::Resizes>, StartError> {
    let Some((cols, rows)) = winsize::size() else {
        return Ok(None);
    };
    device.resize(cols, rows);
    let device = device.clone();
    let told = move |(cols, rows)| device.resize(cols, rows);
    winsize::Resizes::watch(told).map(Some).map_err(no_thread)
}

fn no_thread(error: std::io::Error) -> StartError {
    StartError::Host(format!("cannot start a thread: {error}"))
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports")
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}
