//! Console (Virtio 1.2, section 5.3): a terminal, and named ports for programs of the guest, each
//! with whatever the host has at the other [end](PortEnd).
//!
//! | part | where |
//! |---|---|
//! | what is asked of the host | [`PortEnd`] |
//! | what the driver and the device tell each other of ports | [`control`] |
//! | buffers of all queues, on one worker | `worker` |
//!
//! Port 0 is the terminal (`hvc0` in Linux); it may be missing. Ports from 1 on have names. The
//! device keeps no bytes of its own: input that the guest does not take stays with the host, and
//! output that the host does not take stays in the guest's buffers, so neither side can make it
//! grow, and a port that stands still holds up no other. A device that has only the terminal offers
//! no control queues: it is the plain console that every driver knows.
//!
//! Omitted: emergency writes, and ports that come and go while the guest runs.

pub mod control;
mod end;
pub mod spec;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod worker;

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use end::{Flow, PortEnd, PortSignal};
pub use state::{ConsoleState, Due, PortState, Progress};

use self::spec::{config, feature, queue};
use super::{
    Activation, BadVirtioState, ConfigSignal, DeviceKind, DeviceState, QueueHandle, QueueSpec,
    Served, VirtioDevice,
};

/// The most ports with names.
pub const MAX_NAMED: usize = 15;

/// The most descriptors of a queue for bytes, and of one for messages.
const SIZES: (u16, u16) = (64, 32);

/// A port.
struct Port {
    /// `None` for the terminal.
    name: Option<String>,
    end: Box<dyn PortEnd>,
    progress: Mutex<Progress>,
}

impl Port {
    fn new(name: Option<String>, end: Box<dyn PortEnd>) -> Self {
        let progress = Mutex::default();
        Self {
            name,
            end,
            progress,
        }
    }

    fn with<R>(&self, change: impl FnOnce(&mut Progress) -> R) -> R {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn progress(&self) -> Progress {
        self.with(|progress| *progress)
    }
}

/// The device.
pub struct Console {
    // Wiring.
    queues: Vec<QueueSpec>,
    /// By number; only port 0 may be missing.
    ports: Vec<Option<Port>>,
    signal: PortSignal,
    config: OnceLock<ConfigSignal>,
    // State.
    /// The features that the driver chose.
    features: AtomicU64,
    /// Columns of the terminal, and rows above them.
    size: AtomicU32,
}

impl Console {
    /// A console with a terminal, if there is an end for one, and named ports, of which those beyond
    /// [`MAX_NAMED`] are left out.
    #[must_use]
    pub fn new(terminal: Option<Box<dyn PortEnd>>, named: Vec<(String, Box<dyn PortEnd>)>) -> Self {
        let mut ports = vec![terminal.map(|end| Port::new(None, end))];
        let named = named.into_iter().take(MAX_NAMED);
        ports.extend(named.map(|(name, end)| Some(Port::new(Some(name), end))));
        let signal = PortSignal::default();
        for port in ports.iter().flatten() {
            port.end.connect(signal.clone());
        }
        let spec = |max_size| QueueSpec {
            max_size,
            worker: 0,
        };
        let (data, control) = (spec(SIZES.0), spec(SIZES.1));
        let mut queues = vec![data; 2];
        if ports.len() > 1 {
            queues.extend([control; 2]);
            queues.extend(vec![data; 2 * (ports.len() - 1)]);
        }
        Self {
            queues,
            ports,
            signal,
            config: OnceLock::new(),
            features: AtomicU64::new(0),
            size: AtomicU32::new(0),
        }
    }

    /// The terminal has another size.
    pub fn resize(&self, cols: u16, rows: u16) {
        let size = u32::from(rows) << 16 | u32::from(cols);
        if self.size.swap(size, Ordering::SeqCst) == size {
            return;
        }
        if let Some(Some(port)) = self.ports.first() {
            port.with(|progress| progress.due.set(Due::SIZE, progress.ready));
        }
        self.signal.changed();
        if let Some(config) = self.config.get() {
            config.changed();
        }
    }

    fn size(&self) -> (u16, u16) {
        let size = self.size.load(Ordering::SeqCst);
        (size as u16, (size >> 16) as u16)
    }

    fn is_multiport(&self) -> bool {
        self.features.load(Ordering::Relaxed) & feature::MULTIPORT != 0
    }

    /// The ports that are there, with their numbers.
    fn ports(&self) -> impl Iterator<Item = (u32, &Port)> {
        let numbered = (0..).zip(&self.ports);
        numbered.filter_map(|(number, port)| port.as_ref().map(|port| (number, port)))
    }

    /// The port of a queue for bytes.
    fn port_of(&self, queue: u16) -> Option<&Port> {
        let number = match queue {
            queue::INPUT | queue::OUTPUT => 0,
            _ => usize::from(queue / 2).saturating_sub(1),
        };
        self.ports.get(number)?.as_ref()
    }
}

impl VirtioDevice for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
    }

    fn features(&self) -> u64 {
        if self.ports.len() > 1 {
            feature::SIZE | feature::MULTIPORT
        } else {
            feature::SIZE
        }
    }

    fn queues(&self) -> &[QueueSpec] {
        &self.queues
    }

    fn connect(&self, config: ConfigSignal) {
        // It is called once.
        let _ = self.config.set(config);
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let (cols, rows) = self.size();
        let mut bytes = [0; config::LEN];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(config::COLS, &cols.to_le_bytes());
        put(config::ROWS, &rows.to_le_bytes());
        let count = u32::try_from(self.ports.len()).unwrap_or(1);
        put(config::MAX_PORTS, &count.to_le_bytes());
        let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        for (to, from) in into.iter_mut().zip(from.unwrap_or_default()) {
            *to = *from;
        }
    }

    fn activate(&self, activation: &Activation<'_>) {
        self.features.store(activation.features, Ordering::Relaxed);
        self.signal.set(activation.queues.first());
    }

    fn serve(&self, queue: &QueueHandle) -> Served {
        let index = queue.index();
        match index {
            queue::CONTROL_IN => self.give_messages(queue),
            queue::CONTROL_OUT => self.take_messages(queue),
            _ if index > queue::CONTROL_OUT && !self.is_multiport() => Served::Waiting,
            _ => match self.port_of(index) {
                Some(port) if index.is_multiple_of(2) => self.give_input(port, queue),
                Some(port) => self.take_output(port, queue),
                None => Served::Waiting,
            },
        }
    }

    fn reset(&self) {
        self.signal.set(None);
        self.features.store(0, Ordering::Relaxed);
        self.ports()
            .for_each(|(_, port)| port.with(|progress| *progress = Progress::default()));
    }

    fn save(&self) -> DeviceState {
        let state = |port: &Port| PortState {
            name: port.name.clone(),
            progress: port.progress(),
        };
        let ports = self.ports.iter().map(|port| port.as_ref().map(state));
        DeviceState::Console(ConsoleState {
            ports: ports.collect(),
        })
    }

    fn restore(&self, state: &DeviceState) -> Result<(), BadVirtioState> {
        let DeviceState::Console(ConsoleState { ports }) = state else {
            return Err(BadVirtioState::Kind {
                found: state.kind(),
                expected: self.kind(),
            });
        };
        let saved = ports
            .iter()
            .map(|port| port.as_ref().map(|port| &port.name));
        let here = self
            .ports
            .iter()
            .map(|port| port.as_ref().map(|port| &port.name));
        if !saved.eq(here) {
            return Err(BadVirtioState::Device {
                device: self.kind(),
                reason: "it has other ports".to_owned(),
            });
        }
        for (port, saved) in self.ports.iter().flatten().zip(ports.iter().flatten()) {
            port.with(|progress| *progress = saved.progress);
        }
        Ok(())
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.ports.iter().flatten().map(|port| &port.name);
        f.debug_struct("Console")
            .field("ports", &names.collect::<Vec<_>>())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
