//! The other side of a control socket: what `armlet stop`, `status` and `balloon` are.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Address;
use super::protocol::{
    Answer, Balloon, End, Event, Fault, Greeting, Inflate, MAX_LINE, Request, Said, Status, Stop,
    Stopping, VERSION, to_line,
};
use crate::host::clock::now;
use crate::machine::Reclaimed;

/// How long a machine may take to answer. It does so in no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take a guest's free memory, longer than it gives the guest.
const TO_RECLAIM: Duration = Duration::from_secs(30);

/// Why a machine cannot be reached or does not do as it is told. One line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("{0}: no such machine runs here; there is nobody at {path}", path = .0.path().display())]
    Nobody(Address),
    /// The socket cannot be used.
    #[error("{address}: cannot reach the machine at {path}: {error}", path = .address.path().display())]
    Refused {
        /// Where.
        address: Address,
        /// Why.
        error: std::io::Error,
    },
    /// Who answers is no machine of ours, or one of another version.
    #[error("{address}: what answers at {path} {why}", path = .address.path().display())]
    Stranger {
        /// Where.
        address: Address,
        /// What is odd about it.
        why: String,
    },
    /// The machine went away without a word.
    #[error("{0}: the connection to the machine is lost")]
    Lost(Address),
    /// The machine says nothing.
    #[error("{0}: the machine does not answer")]
    Silent(Address),
    /// The machine refuses.
    #[error("{0}: {1}")]
    Fault(Address, Fault),
}

/// A connection to a machine.
#[derive(Debug)]
pub struct Client {
    address: Address,
    stream: BufReader<UnixStream>,
    /// Of the request that was sent last.
    id: u64,
    /// Events that came before an answer.
    events: VecDeque<Event>,
    /// What came of a line so far.
    line: Vec<u8>,
}

impl Client {
    /// Connects to a machine.
    ///
    /// # Errors
    /// When there is none, or it speaks another language.
    pub fn connect(address: &Address) -> Result<Self, ClientError> {
        let address = address.clone();
        let stream = match UnixStream::connect(address.path()) {
            Ok(stream) => BufReader::new(stream),
            Err(error) => {
                let nobody = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
                return Err(if nobody.contains(&error.kind()) {
                    ClientError::Nobody(address)
                } else {
                    ClientError::Refused { address, error }
                });
            }
        };
        let mut client = Self {
            address,
            stream,
            id: 0,
            events: VecDeque::new(),
            line: Vec::new(),
        };
        let Greeting { armlet, protocol } = client.read(Some(now() + PATIENCE))?;
        if protocol != VERSION {
            let why = format!(
                "is armlet {armlet}, which speaks version {protocol} of the protocol, not {VERSION}"
            );
            return Err(client.stranger(why));
        }
        Ok(client)
    }

    /// How the machine does.
    ///
    /// # Errors
    /// When it does not say.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call("status", Value::Null)
    }

    /// Asks the guest to shut down, and says within how many seconds it will have.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn stop(&mut self, stop: Stop) -> Result<Stopping, ClientError> {
        let params = serde_json::to_value(stop).unwrap_or_default();
        self.call("stop", params)
    }

    /// Asks the guest for memory, and says how much it gives.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn balloon(&mut self, inflate: Inflate) -> Result<Balloon, ClientError> {
        let params = serde_json::to_value(inflate).unwrap_or_default();
        self.call("balloon", params)
    }

    /// Waits until the machine says that it is over; without a limit, as long as its process lives.
    ///
    /// # Errors
    /// When it does not within `limit` ([`ClientError::Silent`], after which one may wait on), or is
    /// gone.
    pub fn wait_for_end(&mut self, limit: Option<Duration>) -> Result<(End, String), ClientError> {
        let due = limit.map(|limit| now() + limit);
        loop {
            match self.next_event(due)? {
                Event::Ended { how, message } => return Ok((how, message)),
                Event::Reclaimed { .. } | Event::NotReclaimed { .. } => {}
            }
        }
    }

    /// Takes all of the guest's free memory back, and says how the balloon is and what came of that.
    ///
    /// # Errors
    /// When the machine refuses, or nothing goes back.
    pub fn reclaim(&mut self, size: Option<u64>) -> Result<(Balloon, Reclaimed), ClientError> {
        let reclaim = true;
        let balloon = self.balloon(Inflate { size, reclaim })?;
        let due = Some(now() + TO_RECLAIM);
        loop {
            match self.next_event(due)? {
                Event::Reclaimed {
                    round,
                    named,
                    returned,
                } if balloon.round == Some(round) => {
                    return Ok((balloon, Reclaimed { named, returned }));
                }
                Event::NotReclaimed { round, fault } if balloon.round == Some(round) => {
                    return Err(ClientError::Fault(self.address.clone(), fault));
                }
                // Others asked before.
                Event::Reclaimed { .. } | Event::NotReclaimed { .. } => {}
                Event::Ended { .. } => return Err(ClientError::Lost(self.address.clone())),
            }
        }
    }

    /// The next event, of those that this version knows.
    fn next_event(&mut self, due: Option<Instant>) -> Result<Event, ClientError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(event);
        }
        loop {
            let value: Value = self.read(due)?;
            if let Ok(event) = serde_json::from_value(value) {
                return Ok(event);
            }
        }
    }

    fn call<T: DeserializeOwned>(&mut self, method: &str, params: Value) -> Result<T, ClientError> {
        self.id += 1;
        let request = Request {
            id: self.id,
            method: method.to_owned(),
            params,
        };
        let sent = self
            .stream
            .get_mut()
            .write_all(to_line(&request).as_bytes());
        sent.map_err(|_| ClientError::Lost(self.address.clone()))?;
        let due = Some(now() + PATIENCE);
        let Answer { id: _, outcome } = loop {
            let value: Value = self.read(due)?;
            if let Ok(event) = serde_json::from_value(value.clone()) {
                self.events.push_back(event);
                continue;
            }
            let answer: Answer =
                serde_json::from_value(value).map_err(|error| self.stranger(odd(&error)))?;
            if answer.id == Some(self.id) {
                break answer;
            }
        };
        match outcome {
            Said::Result(value) => {
                serde_json::from_value(value).map_err(|error| self.stranger(odd(&error)))
            }
            Said::Error(fault) => Err(ClientError::Fault(self.address.clone(), fault)),
        }
    }

    /// The next line, as what it should be.
    fn read<T: DeserializeOwned>(&mut self, due: Option<Instant>) -> Result<T, ClientError> {
        while self.line.last() != Some(&b'\n') {
            let left = due.map(|due| due.saturating_duration_since(now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ClientError::Silent(self.address.clone()));
            }
            let lost = |_| ClientError::Lost(self.address.clone());
            let socket = self.stream.get_ref();
            socket.set_read_timeout(left).map_err(lost)?;
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            let mut limited = self.stream.by_ref().take(room as u64);
            match limited.read_until(b'\n', &mut self.line) {
                Ok(0) if self.line.len() > MAX_LINE => {
                    return Err(self.stranger("says more than a line".to_owned()));
                }
                Ok(0) => return Err(ClientError::Lost(self.address.clone())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(ClientError::Lost(self.address.clone())),
            }
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line).map_err(|error| self.stranger(odd(&error)))
    }

    fn stranger(&self, why: String) -> ClientError {
        let address = self.address.clone();
        ClientError::Stranger { address, why }
    }
}

fn odd(error: &serde_json::Error) -> String {
    format!("does not speak as armlet does: {error}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use images::testing::Folder;

    use super::*;

    #[test]
    fn who_waits_hears_of_an_end_that_comes_late() {
        let folder = Folder::new("client-late").unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (go, wait) = std::sync::mpsc::channel();
        let (how, message) = (End::PoweredOff, "the guest powered off".to_owned());
        let ended = (how, message.clone());
        let line = to_line(&Event::Ended { how, message });
        let machine = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let greeting = Greeting {
                armlet: "1".to_owned(),
                protocol: VERSION,
            };
            stream.write_all(to_line(&greeting).as_bytes()).unwrap();
            // The end comes in two parts, the second one after the limit.
            let (first, second) = line.as_bytes().split_at(9);
            stream.write_all(first).unwrap();
            wait.recv().unwrap();
            stream.write_all(second).unwrap();
        });
        let mut client = Client::connect(&Address::Path(path)).unwrap();
        let early = client.wait_for_end(Some(Duration::from_millis(50)));
        assert!(matches!(early, Err(ClientError::Silent(_))), "{early:?}");
        go.send(()).unwrap();
        assert_eq!(client.wait_for_end(None).unwrap(), ended);
        machine.join().unwrap();
        // Its process is gone.
        let gone = client.wait_for_end(None);
        assert!(matches!(gone, Err(ClientError::Lost(_))), "{gone:?}");
    }
}
