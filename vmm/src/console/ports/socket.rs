//! Ports that go to Unix sockets: whoever connects speaks to the port, one at a time, and others wait
//! in the socket's queue.
//!
//! The device's worker reads and writes the connections itself and keeps no bytes: a client that
//! stands still is waited for by the [`Switchboard`]'s thread, together with those who connect, with
//! one `poll` for all ports.
//!
//! | the link is | then |
//! |---|---|
//! | `Waiting` | the next client makes it `Open` |
//! | `Open` | a client that left, and whose bytes were all read, makes it `Gone` |
//! | `Gone` | the device takes note ([`PortEnd::is_open`]), which makes it `Waiting` |

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use devices::virtio::console::{Flow, PortEnd, PortSignal};
use rustix::net::{RecvFlags, recv};

use crate::host::poll::{Ready, Wanted, wait};
use crate::host::socket::Socket;
use crate::host::thread;

/// How long the host is left alone after it could not accept a connection.
const RELIEF: Duration = Duration::from_millis(100);

/// A client.
#[derive(Debug)]
struct Client {
    stream: Arc<UnixStream>,
    /// A read had nothing: the thread waits for bytes.
    wants_read: bool,
    /// A write had no room: the thread waits for it.
    wants_write: bool,
    /// The client has left bytes behind and gone.
    left: bool,
}

#[derive(Debug, Default)]
enum Link {
    #[default]
    Waiting,
    Open(Client),
    Gone,
}

/// A port.
#[derive(Debug)]
struct Line {
    socket: Socket,
    link: Mutex<(Link, PortSignal)>,
}

impl Line {
    fn lock(&self) -> MutexGuard<'_, (Link, PortSignal)> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the thread.
#[derive(Debug)]
struct Ring {
    pipe: PipeWriter,
    /// The pipe has a byte that was not read: another is not needed, and so it is never full.
    rung: AtomicBool,
    over: AtomicBool,
}

impl Ring {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            let _ = (&self.pipe).write(&[0]);
        }
    }
}

/// The end of a port.
#[derive(Debug)]
pub struct SocketEnd {
    line: Arc<Line>,
    ring: Arc<Ring>,
}

/// All sockets. Dropping it ends its thread and removes them.
#[derive(Debug, Default)]
pub struct Switchboard {
    lines: Vec<Arc<Line>>,
    ring: Option<(PipeReader, Arc<Ring>)>,
    thread: Option<(Arc<Ring>, JoinHandle<()>)>,
}

impl Switchboard {
    /// Makes a socket that only this user may connect to.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn bind(&mut self, path: &Path) -> std::io::Result<SocketEnd> {
        let socket = Socket::bind(path)?;
        socket.listener().set_nonblocking(true)?;
        let line = Arc::new(Line {
            socket,
            link: Mutex::default(),
        });
        let ring = match &self.ring {
            Some((_, ring)) => ring.clone(),
            None => {
                let (hear, pipe) = std::io::pipe()?;
                let ring = Arc::new(Ring {
                    pipe,
                    rung: AtomicBool::new(false),
                    over: AtomicBool::new(false),
                });
                self.ring = Some((hear, ring.clone()));
                ring
            }
        };
        self.lines.push(line.clone());
        Ok(SocketEnd { line, ring })
    }

    /// Lets clients connect, if there are sockets.
    ///
    /// # Errors
    /// When the host cannot start a thread.
    pub fn start(mut self) -> std::io::Result<Option<Self>> {
        let Some((hear, ring)) = self.ring.take() else {
            return Ok(None);
        };
        let (lines, heard) = (self.lines.clone(), ring.clone());
        let thread = thread::spawn("console-sockets", move || serve(&lines, hear, &heard))?;
        self.thread = Some((ring, thread));
        Ok(Some(self))
    }
}

impl Drop for Switchboard {
    fn drop(&mut self) {
        if let Some((ring, thread)) = self.thread.take() {
            ring.over.store(true, Ordering::SeqCst);
            ring.ring();
            let _ = thread.join();
        }
    }
}

/// The thread's life.
fn serve(lines: &[Arc<Line>], mut hear: PipeReader, ring: &Ring) {
    while !ring.over.load(Ordering::SeqCst) {
        let clients: Vec<_> = lines.iter().map(|line| line.wishes()).collect();
        let mut wanted = vec![Wanted::new(&hear, true, false)];
        for (line, wish) in lines.iter().zip(&clients) {
            match wish {
                Wish::Nothing => {}
                Wish::Client => wanted.push(Wanted::new(line.socket.listener(), true, false)),
                Wish::Bytes(stream, read, write) => {
                    wanted.push(Wanted::new(&**stream, *read, *write));
                }
            }
        }
        let found = match wait(&wanted, None) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the console's sockets are lost");
                return;
            }
        };
        let mut found = found.into_iter();
        if found.next().is_some_and(|bell| bell.read) {
            let _ = hear.read(&mut [0; 8]);
            // From here on what somebody wants is looked at again.
            ring.rung.store(false, Ordering::SeqCst);
        }
        for (line, wish) in lines.iter().zip(&clients) {
            match wish {
                Wish::Nothing => {}
                Wish::Client => line.accept(found.next().unwrap_or_default()),
                Wish::Bytes(stream, ..) => line.tell(stream, found.next().unwrap_or_default()),
            }
        }
    }
}

/// What a port waits for.
enum Wish {
    Nothing,
    Client,
    /// Bytes of a client, room, or at least its end.
    Bytes(Arc<UnixStream>, bool, bool),
}

impl Line {
    fn wishes(&self) -> Wish {
        match &self.lock().0 {
            Link::Waiting => Wish::Client,
            Link::Gone => Wish::Nothing,
            Link::Open(client) => {
                let Client {
                    stream,
                    wants_read,
                    wants_write,
                    left,
                } = client;
                // The end of one who left bytes behind would be found again and again.
                if *left && !wants_read && !wants_write {
                    return Wish::Nothing;
                }
                Wish::Bytes(stream.clone(), *wants_read, *wants_write)
            }
        }
    }

    fn accept(&self, ready: Ready) {
        if !ready.read {
            return;
        }
        let accepted = self.socket.listener().accept();
        let stream = accepted.and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match stream {
            Ok(stream) => {
                let mut link = self.lock();
                link.0 = Link::Open(Client {
                    stream: Arc::new(stream),
                    wants_read: false,
                    wants_write: false,
                    left: false,
                });
                let signal = link.1.clone();
                drop(link);
                signal.changed();
            }
            // Who wanted to connect has thought better of it.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::ConnectionAborted
                ) => {}
            Err(error) => {
                let path = self.socket.path().display();
                tracing::warn!(%error, "cannot accept a connection to {path}");
                std::thread::sleep(RELIEF);
            }
        }
    }

    fn tell(&self, stream: &Arc<UnixStream>, ready: Ready) {
        let mut link = self.lock();
        let (Link::Open(client), signal) = (&mut link.0, ready.read || ready.write) else {
            return;
        };
        if !signal || !Arc::ptr_eq(&client.stream, stream) {
            return;
        }
        let mut gone = false;
        if ready.read && !client.wants_read {
            // Nobody asked for bytes, so it is the client's end. What it sent is still to be read.
            let peeked = recv(stream, &mut [0; 1], RecvFlags::PEEK);
            match peeked {
                Ok((1.., _)) => client.left = true,
                Ok(_) => gone = true,
                Err(error) => gone = error != rustix::io::Errno::AGAIN,
            }
        }
        client.wants_read &= !ready.read;
        client.wants_write &= !ready.write;
        if gone {
            link.0 = Link::Gone;
        }
        let signal = link.1.clone();
        drop(link);
        signal.changed();
    }
}

impl SocketEnd {
    /// Moves bytes between the device and the client by `step`.
    fn transfer(
        &self,
        step: impl FnOnce(&UnixStream) -> std::io::Result<usize>,
        wants: impl FnOnce(&mut Client) -> &mut bool,
    ) -> Flow {
        let mut link = self.line.lock();
        let Link::Open(client) = &mut link.0 else {
            return Flow::Gone;
        };
        let stream = client.stream.clone();
        let wanted = wants(client);
        if *wanted {
            return Flow::Later;
        }
        match step(&stream) {
            Ok(count) if count > 0 => Flow::Bytes(count),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                *wanted = true;
                drop(link);
                self.ring.ring();
                Flow::Later
            }
            Ok(_) | Err(_) => {
                link.0 = Link::Gone;
                Flow::Gone
            }
        }
    }
}

impl PortEnd for SocketEnd {
    fn connect(&self, signal: PortSignal) {
        self.line.lock().1 = signal;
    }

    fn is_open(&self) -> bool {
        let mut link = self.line.lock();
        match link.0 {
            Link::Open(_) => true,
            Link::Waiting => false,
            Link::Gone => {
                link.0 = Link::Waiting;
                drop(link);
                self.ring.ring();
                false
            }
        }
    }

    fn read(&self, into: &mut [u8]) -> Flow {
        self.transfer(
            |mut stream| stream.read(into),
            |client| &mut client.wants_read,
        )
    }

    fn write(&self, from: &[u8]) -> Flow {
        self.transfer(
            |mut stream| stream.write(from),
            |client| &mut client.wants_write,
        )
    }
}

#[cfg(test)]
mod tests;
