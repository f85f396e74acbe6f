//! The machine's side of a control socket.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::connection::{Connection, Line};
use super::protocol::{
    self, Answer, Balloon, Code, Command, Event, Facts, Fault, Greeting, GuestMemory, Inflate,
    MAX_LINE, Said, Status, Stop, Stopping, fault, to_line,
};
use crate::config::{ByteSize, StopTimeout};
use crate::coordinator::Control;
use crate::host::poll::{self, Wanted};
use crate::host::socket::Socket;
use crate::host::thread;
use crate::machine::GuestBalloon;
use crate::outcome::Outcome;

/// Connections at once. When one more comes, the one that was silent longest goes.
const MAX_CONNECTIONS: usize = 32;
/// How long a host that has no file descriptors left is given to find some.
const REST: Duration = Duration::from_millis(200);

/// What answers requests.
#[derive(Clone, Debug)]
pub struct Service {
    /// The machine's controls.
    pub control: Control,
    /// What does not change.
    pub facts: Facts,
    /// How long its guest may take to shut down, unless a request says otherwise.
    pub stop_timeout: StopTimeout,
    /// Its memory balloon, if it has one.
    pub balloon: Option<Arc<GuestBalloon>>,
}

/// Tells everybody who is connected what happens.
pub type Herald = Arc<dyn Fn(Event) + Send + Sync>;

impl Service {
    /// Does what a line asks for, and gives the line to say. What takes time is told to the herald
    /// later.
    #[must_use]
    pub fn answer(&self, line: &[u8], herald: &Herald) -> String {
        let (id, result) = match protocol::read_request(line) {
            Ok((id, command)) => (Some(id), self.obey(command, herald)),
            Err((id, fault)) => (id, Err(fault)),
        };
        answer(id, result)
    }

    fn obey(&self, command: Command, herald: &Herald) -> Result<Value, Fault> {
        match command {
            Command::Status => {
                let status = Status::new(self.control.condition(), self.facts.clone());
                Ok(to_value(&status))
            }
            Command::Stop(stop) => self.stop(stop).map(|stopping| to_value(&stopping)),
            Command::Balloon(inflate) => self
                .inflate(inflate, herald)
                .map(|report| to_value(&report)),
        }
    }

    fn inflate(&self, inflate: Inflate, herald: &Herald) -> Result<Balloon, Fault> {
        let Inflate { size, reclaim } = inflate;
        let balloon = self.balloon.as_ref().ok_or_else(|| {
            let line = "balloon: the machine was started with --balloon off".to_owned();
            fault(Code::NoDevice, line)
        })?;
        let device = balloon.device();
        if let Some(size) = size {
            device.set_target(size).map_err(|most| {
                let (size, most) = (ByteSize(size), ByteSize(most));
                let line = format!("balloon: size {size}: the guest has only {most} of memory");
                fault(Code::BadParams, line)
            })?;
        }
        let round = if reclaim {
            let herald = herald.clone();
            let tell = move |round, result| herald(Event::of_reclaim(round, result));
            Some(balloon.reclaim(&self.control, tell)?)
        } else {
            None
        };
        let guest = device.stats().map(|(stats, age)| GuestMemory {
            total: stats.total,
            free: stats.free,
            available: stats.available,
            caches: stats.caches,
            age: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        });
        Ok(Balloon {
            target: device.target(),
            actual: device.actual(),
            driver: device.has_driver(),
            guest,
            round,
        })
    }

    fn stop(&self, stop: Stop) -> Result<Stopping, Fault> {
        let Stop { timeout, force } = stop;
        let limit = match (force, timeout) {
            (true, Some(_)) => {
                let line = "stop: force takes no time; give no timeout with it".to_owned();
                return Err(fault(Code::BadParams, line));
            }
            (_, None) => self.stop_timeout,
            (false, Some(seconds)) => StopTimeout::try_from(seconds)
                .map_err(|error| fault(Code::BadParams, format!("stop: timeout {error}")))?,
        };
        let is_cut = force || limit.time().is_zero();
        let taken = if is_cut {
            self.control.end(Outcome::Cut)
        } else {
            let or_else = Outcome::StopTimedOut(limit.time());
            self.control.stop(limit.time(), or_else)
        };
        if !taken {
            let line = "the machine is over already".to_owned();
            return Err(fault(Code::Over, line));
        }
        let timeout = if is_cut { 0 } else { limit.seconds() };
        Ok(Stopping { timeout })
    }
}

fn answer(id: Option<u64>, result: Result<Value, Fault>) -> String {
    let outcome = match result {
        Ok(value) => Said::Result(value),
        Err(fault) => Said::Error(fault),
    };
    to_line(&Answer { id, outcome })
}

fn to_value(result: &impl serde::Serialize) -> Value {
    // As with lines: there is nothing in them that JSON cannot say.
    serde_json::to_value(result).unwrap_or_default()
}

/// A control socket that is served. Dropping it ends its thread.
#[derive(Debug)]
pub struct Server {
    bell: Arc<PipeWriter>,
    ended: Arc<Mutex<Option<Event>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to serve a socket.
    ///
    /// # Errors
    /// When the host has no pipe or thread left.
    pub fn start(socket: Socket, service: Service) -> std::io::Result<Self> {
        socket.listener().set_nonblocking(true)?;
        let (hear, bell) = std::io::pipe()?;
        let bell = Arc::new(bell);
        let (herald, news) = herald(bell.clone());
        let ended = Arc::new(Mutex::new(None));
        let serving = Serving {
            socket,
            hear,
            ended: ended.clone(),
            service,
            herald,
            news,
            connections: Vec::new(),
            rests: false,
        };
        let thread = thread::spawn("control", move || serving.serve())?;
        Ok(Self {
            bell,
            ended,
            thread: Some(thread),
        })
    }

    /// Tells everybody how the machine ended, as far as they listen, and ends.
    pub fn finish(self, outcome: &Outcome) {
        let event = Event::from(outcome);
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        ring(&self.bell, Ring::End);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Why the bell rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    /// It is over.
    End,
    /// There is an event to tell.
    News,
}

/// Wakes the thread. What it is told is a byte in a pipe.
fn ring(mut bell: &PipeWriter, why: Ring) {
    // The reader is gone when the thread is, and nobody listens then.
    let _ = bell.write(&[why as u8]);
}

/// What tells the thread of events, and where they arrive.
fn herald(bell: Arc<PipeWriter>) -> (Herald, Receiver<Event>) {
    let (tell, news): (Sender<Event>, _) = channel();
    let herald = move |event| {
        let _ = tell.send(event);
        ring(&bell, Ring::News);
    };
    (Arc::new(herald), news)
}

struct Serving {
    // Wiring.
    socket: Socket,
    hear: PipeReader,
    ended: Arc<Mutex<Option<Event>>>,
    service: Service,
    herald: Herald,
    news: Receiver<Event>,
    // State.
    /// The one that spoke last is last.
    connections: Vec<Connection<UnixStream>>,
    /// The host could not accept a connection: none is accepted for a while.
    rests: bool,
}

impl Serving {
    fn serve(mut self) {
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return self.say_goodbye(),
                Err(error) => {
                    tracing::error!(%error, "the control socket is no longer served");
                    return;
                }
            }
        }
    }

    /// Waits for something to do and does it. False at the end.
    fn turn(&mut self) -> std::io::Result<bool> {
        let listener = self.socket.listener();
        let mut wanted = vec![
            Wanted::new(&self.hear, true, false),
            Wanted::new(listener, !self.rests, false),
        ];
        wanted.extend(
            self.connections
                .iter()
                .map(|c| Wanted::new(c.stream(), c.wants_read(), c.wants_write())),
        );
        let limit = self.rests.then_some(REST);
        let ready = poll::wait(&wanted, limit)?;
        self.rests = false;
        let [bell, listening, ready @ ..] = &*ready else {
            return Ok(true);
        };
        if bell.read {
            let mut rings = [0; 8];
            let count = self.hear.read(&mut rings)?;
            if count == 0 || rings[..count].contains(&(Ring::End as u8)) {
                return Ok(false);
            }
        }
        let mut spoke = Vec::new();
        let mut silent = Vec::new();
        for (mut connection, ready) in self.connections.drain(..).zip(ready) {
            if ready.write {
                connection.write();
            }
            if ready.read && connection.wants_read() {
                connection.read();
            }
            let list = if converse(&mut connection, &self.service, &self.herald) {
                &mut spoke
            } else {
                &mut silent
            };
            if !connection.is_over() {
                list.push(connection);
            }
        }
        self.connections = silent;
        self.connections.append(&mut spoke);
        self.tell_news();
        if listening.read {
            self.accept();
        }
        Ok(true)
    }

    /// Tells everybody what happened. Answers that were given before go first.
    fn tell_news(&mut self) {
        for event in self.news.try_iter() {
            let line = to_line(&event);
            for connection in &mut self.connections {
                connection.say(&line);
                connection.write();
            }
        }
    }

    fn accept(&mut self) {
        use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        let accepted = self.socket.listener().accept();
        let stream = accepted.and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => {
                if self.connections.len() >= MAX_CONNECTIONS {
                    drop(self.connections.remove(0));
                }
                let mut connection = Connection::new(stream);
                connection.say(&to_line(&Greeting::ours()));
                connection.write();
                self.connections.push(connection);
            }
            Err(error) if matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the control socket");
                self.rests = true;
            }
        }
    }

    /// Says how the machine ended, to those who read.
    fn say_goodbye(mut self) {
        self.tell_news();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(event) = &*ended else {
            return;
        };
        let line = to_line(event);
        for connection in &mut self.connections {
            connection.say(&line);
            connection.write();
        }
    }
}

/// Answers what was asked; whether anything was.
fn converse(connection: &mut Connection<UnixStream>, service: &Service, herald: &Herald) -> bool {
    let mut spoke = false;
    while let Some(line) = connection.next_line() {
        spoke = true;
        connection.say(&match line {
            Line::Whole(line) => service.answer(&line, herald),
            Line::TooLong => {
                let message = format!("a line has at most {MAX_LINE} bytes");
                answer(None, Err(fault(Code::TooLong, message)))
            }
        });
    }
    if spoke {
        connection.write();
    }
    spoke
}
