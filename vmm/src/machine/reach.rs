//! How other programs reach the machine while it runs: its control socket, if it has one.

use std::sync::Arc;

use aarch64::cpu_model::CpuModel;

use super::{GuestBalloon, StartError};
use crate::config::{MachineConfig, StopTimeout};
use crate::control::Address;
use crate::control::protocol::Facts;
use crate::control::server::{Server, Service};
use crate::coordinator::Control;
use crate::host::socket::{self, Socket};

/// A socket that is not served yet, and what is to be said there.
#[derive(Debug)]
pub struct Reach {
    socket: Option<Socket>,
    /// All but the CPU model, which the accelerator has to agree to.
    facts: Facts,
    stop_timeout: StopTimeout,
}

impl Reach {
    /// Makes the socket of a machine on this accelerator.
    pub fn open(config: &MachineConfig, accel: &str) -> Result<Self, StartError> {
        let name = config.name.as_ref();
        let address = Address::of(name, config.control.as_deref());
        let facts = Facts {
            name: name.map(ToString::to_string),
            process: std::process::id(),
            accel: accel.to_owned(),
            cpu: config.cpu.to_string(),
            cpus: config.cpus.get(),
            memory: config.memory.bytes(),
        };
        Ok(Self {
            socket: address.map(|address| bind(&address)).transpose()?,
            facts,
            stop_timeout: config.stop_timeout,
        })
    }

    /// Serves the socket from now on, for a machine with this CPU model.
    pub fn serve(
        self,
        control: Control,
        cpu: CpuModel,
        balloon: Option<Arc<GuestBalloon>>,
    ) -> Result<Option<Server>, StartError> {
        let Self {
            socket,
            mut facts,
            stop_timeout,
        } = self;
        cpu.name().clone_into(&mut facts.cpu);
        let service = Service {
            control,
            facts,
            stop_timeout,
            balloon,
        };
        let server = socket.map(|socket| Server::start(socket, service));
        let refuse = |error| StartError::Host(format!("cannot serve the control socket: {error}"));
        server.transpose().map_err(refuse)
    }
}

/// Makes the socket.
fn bind(address: &Address) -> Result<Socket, StartError> {
    let (option, path) = (address.option(), address.path());
    let refuse = |error: std::io::Error| {
        let path = path.display();
        let line = format!("{option} {address}: cannot listen at {path}: {error}");
        StartError::Input(line)
    };
    if matches!(address, Address::Name(_)) {
        socket::make_directory(&socket::directory()).map_err(refuse)?;
    }
    Socket::bind(&path).map_err(refuse)
}
