//! What a console does with buffers, all on one worker: nothing here waits for the host.

use super::super::{QueueHandle, RingFault, Served};
use super::control::{Message, Say};
use super::end::Flow;
use super::spec::{MESSAGE, event};
use super::state::Due;
use super::{Console, Port};

/// Buffers in one go, before other queues get their turn.
const BATCH: usize = 32;
/// Bytes after which a go ends.
const BATCH_BYTES: u64 = 256 << 10;
/// Bytes moved at once.
const CHUNK: usize = 4096;

impl Console {
    /// Hands what the host has for a port to the guest. What nobody in the guest has opened is left
    /// with the host.
    pub(super) fn give_input(&self, port: &Port, queue: &QueueHandle) -> Served {
        let mut chunk = [0; CHUNK];
        for _ in 0..BATCH {
            if self.is_multiport() && !port.progress().opened {
                return Served::Waiting;
            }
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            let room = chain.writable.len().min(CHUNK as u64) as usize;
            if room == 0 {
                queue.push(chain.head, 0);
                continue;
            }
            match port.end.read(&mut chunk[..room]) {
                Flow::Bytes(count) => {
                    let bytes = &chunk[..count.min(room)];
                    // They fit.
                    let _ = chain.writable.copy_from(0, bytes);
                    queue.push(chain.head, bytes.len() as u32);
                }
                Flow::Later => {
                    queue.put_back(chain);
                    return Served::Waiting;
                }
                Flow::Gone => {
                    queue.put_back(chain);
                    self.tell_closed(port, queue);
                    return Served::Waiting;
                }
            }
        }
        Served::Again
    }

    /// Hands what the guest has sent to the host. With nobody there it is lost, as with a serial
    /// line; with somebody who does not read, it waits in the guest's own buffers.
    pub(super) fn take_output(&self, port: &Port, queue: &QueueHandle) -> Served {
        let mut chunk = [0; CHUNK];
        let mut left = BATCH_BYTES;
        for _ in 0..BATCH {
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            let mut at = port.progress().sent;
            let flow = loop {
                let count = chain.readable.len().saturating_sub(at).min(CHUNK as u64);
                if count == 0 || left == 0 {
                    break None;
                }
                let bytes = &mut chunk[..count as usize];
                // They are there.
                let _ = chain.readable.copy_to(at, bytes);
                match port.end.write(bytes) {
                    Flow::Bytes(taken) => {
                        let taken = count.min(taken as u64);
                        at += taken;
                        left = left.saturating_sub(taken);
                    }
                    stopped @ (Flow::Later | Flow::Gone) => break Some(stopped),
                }
            };
            if flow == Some(Flow::Gone) {
                self.tell_closed(port, queue);
            } else if at < chain.readable.len() {
                port.with(|progress| progress.sent = at);
                queue.put_back(chain);
                // Either the end has no room, or this go was long enough.
                return if flow.is_some() {
                    Served::Waiting
                } else {
                    Served::Again
                };
            }
            port.with(|progress| progress.sent = 0);
            queue.push(chain.head, 0);
        }
        Served::Again
    }

    /// The host's end is gone: the next turn tells the driver, if it does not know and can be told.
    fn tell_closed(&self, port: &Port, queue: &QueueHandle) {
        if !self.is_multiport() {
            let _ = port.end.is_open();
        } else if port.progress().told_open {
            queue.wake();
        }
    }

    /// Tells the driver what it is to know.
    pub(super) fn give_messages(&self, queue: &QueueHandle) -> Served {
        if !self.is_multiport() {
            return Served::Waiting;
        }
        for _ in 0..BATCH {
            let Some((number, port, say)) = self.next_message() else {
                return Served::Waiting;
            };
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            let mut bytes = say.message(number).bytes().to_vec();
            match say {
                // With the zero that its length counts.
                Say::Name => {
                    bytes.extend(port.name.iter().flat_map(|name| name.bytes()).chain([0]))
                }
                Say::Size => {
                    let (cols, rows) = self.size();
                    // In this order; Linux long had them the other way round.
                    bytes.extend(cols.to_le_bytes());
                    bytes.extend(rows.to_le_bytes());
                }
                Say::Add | Say::Console | Say::Open(_) => {}
            }
            if chain.writable.len() < MESSAGE as u64 {
                queue.fail(RingFault::Request("a control buffer holds no message"));
                return Served::Idle;
            }
            bytes.truncate(usize::try_from(chain.writable.len()).unwrap_or(usize::MAX));
            // They fit.
            let _ = chain.writable.copy_from(0, &bytes);
            port.with(|progress| progress.said(say));
            queue.push(chain.head, bytes.len() as u32);
        }
        Served::Again
    }

    /// What to say next, and of which port.
    fn next_message(&self) -> Option<(u32, &Port, Say)> {
        self.ports().find_map(|(number, port)| {
            // It is asked in any case: who is to connect next waits for that.
            let open = port.end.is_open();
            port.progress().next(open).map(|say| (number, port, say))
        })
    }

    /// Hears what the driver has to say.
    pub(super) fn take_messages(&self, queue: &QueueHandle) -> Served {
        if !self.is_multiport() {
            return Served::Waiting;
        }
        for _ in 0..BATCH {
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            let mut bytes = [0; MESSAGE];
            if chain.readable.copy_to(0, &mut bytes).is_ok() {
                self.hear(Message::from_bytes(bytes), queue);
            } else {
                tracing::debug!("a control message of the guest's console driver is too short");
            }
            queue.push(chain.head, 0);
        }
        Served::Again
    }

    fn hear(&self, message: Message, queue: &QueueHandle) {
        let Message { port, event, value } = message;
        let named = self.ports().find(|(number, _)| *number == port);
        match (event, named) {
            (event::DEVICE_READY, _) if value == 1 => {
                self.ports()
                    .for_each(|(_, port)| port.with(super::Progress::device_ready));
            }
            (event::PORT_READY, Some((_, port))) => {
                let console = port.name.is_none();
                let unknown = self.size() == (0, 0);
                port.with(|progress| {
                    progress.port_ready(value == 1, console);
                    if unknown {
                        progress.due -= Due::SIZE;
                    }
                });
            }
            (event::PORT_OPEN, Some((_, port))) => {
                port.with(|progress| progress.opened = value == 1);
            }
            _ => tracing::debug!(?message, "a control message of the guest means nothing"),
        }
        // Queues that were served before this one in this turn may have something to do now.
        queue.wake();
    }
}
