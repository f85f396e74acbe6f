//! What a disk does with requests: each in turn, on the worker of its queue; [`super::together`] has those
//! that are done side by side.
//!
//! Bytes go straight between the image and guest memory. A failure of the host ends one request
//! and nothing else: the guest is told, the log has one line for each kind of failure, and the
//! machine goes on. When the driver hears of what is done is [`Pace`]'s to say.

use std::io;
use std::ops::Range;
use std::sync::PoisonError;
use std::time::Duration;

use super::super::{Chain, Pace, QueueHandle, Served};
use super::Block;
use super::request::{
    MAX_DISCARD_SECTORS, MAX_ZEROES_SECTORS, Operation, Refusal, Request, Segment, parse, place,
    segments,
};
use super::spec::{SECTOR, Status, request};
use super::turn::{Job, Turn};

/// A request of more bytes takes long.
pub(super) const LONG: u64 = 1 << 20;
/// A request is done in parts that end at multiples of so many bytes of the disk, and given up
/// between two of them when somebody wants the worker to stop: it is put back, and done again from
/// its start. No harm comes of that, as nothing is promised of a request that is not finished.
pub(super) const PART: u64 = 4 << 20;
/// For a request that cannot be given up.
pub(super) const WHOLE: u64 = u64::MAX;
/// As [`PART`], where no bytes move.
const DISCARD_PART: u64 = 64 << 20;

/// Why a request failed.
pub(super) enum Failure {
    Refused(Refusal),
    Host(io::Error),
    /// It did not: somebody wants the worker to stop.
    GivenUp,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Host(error)
    }
}

impl Block {
    pub(super) fn serve_queue(&self, queue: &QueueHandle) -> Served {
        // There are no queues beside those that it has.
        let Some(pace) = self.paces.get(usize::from(queue.index())) else {
            return Served::Idle;
        };
        let mut pace = pace.lock().unwrap_or_else(PoisonError::into_inner);
        let served = self.take_turn_with_a_ring(queue, &mut pace);
        let served = served.unwrap_or_else(|| self.take_turn(queue, &mut pace));
        match served {
            Served::Soon(_) => {}
            Served::Idle | Served::Again | Served::After(_) | Served::Waiting => {
                pace.told(self.clock.now());
            }
        }
        served
    }

    fn take_turn(&self, queue: &QueueHandle, pace: &mut Pace) -> Served {
        let mut turn = Turn::new(self.clock.now());
        while !turn.is_over() {
            let job = match self.take(queue, &mut turn, pace) {
                Ok(job) => job,
                Err(served) => return served,
            };
            if pace.is_due_before(self.takes_long(&job)) {
                tell(queue, pace, self.clock.now());
            }
            let urgent = job.is_urgent();
            let from = self.clock.now();
            let outcome = self.perform(queue, &job, PART);
            if !self.complete(queue, job, outcome) {
                break;
            }
            turn.go_on(self.clock.now());
            pace.served(turn.now().saturating_sub(from));
            pace.done(urgent, turn.now());
            tell_if_due(queue, pace, queue.waiting().into(), turn.now());
        }
        Served::Again
    }

    /// The next request; if there is none to do now, how the queue is left.
    pub(super) fn take(
        &self,
        queue: &QueueHandle,
        turn: &mut Turn,
        pace: &mut Pace,
    ) -> Result<Job, Served> {
        if let Some(wait) = self.limits.wait(turn.now()) {
            return Err(Served::After(wait));
        }
        let Some(chain) = queue.pop() else {
            return Err(pace.rest(turn.now()).map_or(Served::Idle, Served::Soon));
        };
        let request = parse(&chain).map_err(|fault| {
            queue.fail(fault);
            Served::Idle
        })?;
        let bytes = self.weigh(&chain, &request);
        self.limits.take(bytes, turn.now());
        turn.count(bytes);
        Ok(Job {
            chain,
            request,
            bytes,
        })
    }

    /// Gives a request's buffer back; puts it back, and is false, if it was given up.
    pub(super) fn complete(
        &self,
        queue: &QueueHandle,
        job: Job,
        outcome: Result<u64, Failure>,
    ) -> bool {
        let Job {
            chain,
            request: Request {
                operation,
                status_at,
            },
            bytes,
        } = job;
        let Some((status, data)) = self.status(&operation, outcome) else {
            self.limits.give_back(bytes);
            queue.put_back(chain);
            return false;
        };
        finish(queue, chain, status_at, status, data);
        true
    }

    /// Whether a request surely takes long, as what waits for the disk itself does.
    pub(super) fn takes_long(&self, job: &Job) -> bool {
        match job.request.operation {
            Operation::Read(_) => job.bytes > LONG,
            Operation::Write(..) => job.bytes > LONG || self.is_write_through(),
            Operation::Flush | Operation::Discard(_) | Operation::WriteZeroes(_) => true,
            Operation::Id | Operation::Unknown(_) => false,
        }
    }

    /// How many bytes of the disk a request reads or writes, zeros too; none if it is refused for
    /// where it is.
    fn weigh(&self, chain: &Chain, request: &Request) -> u64 {
        let inside = |sector, len| match place(sector, len, self.sectors()) {
            Ok(_) => len,
            Err(_) => 0,
        };
        match &request.operation {
            Operation::Read(sector) => inside(*sector, request.status_at),
            Operation::Write(sector, range) => inside(*sector, range.end - range.start),
            Operation::WriteZeroes(range) => {
                let segments = zeroed(chain, range.clone(), self.sectors());
                segments.map_or(0, |segments| {
                    segments.iter().map(|segment| segment.len).sum()
                })
            }
            Operation::Flush | Operation::Id | Operation::Discard(_) | Operation::Unknown(_) => 0,
        }
    }

    /// What the driver is told, and how many bytes of data were written; nothing if the request was
    /// given up.
    fn status(
        &self,
        operation: &Operation,
        outcome: Result<u64, Failure>,
    ) -> Option<(Status, u64)> {
        Some(match outcome {
            Ok(written) => (Status::Ok, written),
            Err(Failure::GivenUp) => return None,
            Err(Failure::Refused(Refusal::Unsupported)) => (Status::Unsupported, 0),
            Err(Failure::Refused(Refusal::Wrong(why))) => {
                let disk = self.disk.name();
                tracing::debug!(disk, ?operation, why, "a request is wrong");
                (Status::IoError, 0)
            }
            Err(Failure::Host(error)) => {
                self.failures.warn(self.disk.name(), operation, &error);
                (Status::IoError, 0)
            }
        })
    }

    /// How many bytes of data it wrote to the buffer, from its start. Reads and writes are done in
    /// parts that end at multiples of `unit`.
    pub(super) fn perform(
        &self,
        queue: &QueueHandle,
        job: &Job,
        unit: u64,
    ) -> Result<u64, Failure> {
        let sectors = self.sectors();
        let Job {
            chain,
            request: Request {
                operation,
                status_at,
            },
            bytes: _,
        } = job;
        let room = *status_at;
        match operation {
            Operation::Read(sector) => {
                let at = place(*sector, room, sectors)?;
                in_parts(queue, (at, room), unit, |part| {
                    let range = part.at - at..part.at - at + part.len;
                    self.disk.read(part.at, &chain.writable, range)
                })?;
                return Ok(room);
            }
            Operation::Write(sector, range) => {
                self.check_writable()?;
                let len = range.end - range.start;
                let at = place(*sector, len, sectors)?;
                in_parts(queue, (at, len), unit, |part| {
                    let start = range.start + (part.at - at);
                    let range = start..start + part.len;
                    self.disk.write(part.at, &chain.readable, range)
                })?;
                self.write_through()?;
            }
            Operation::Flush => self.disk.flush()?,
            Operation::Id => return Ok(self.give_id(chain, room)),
            Operation::Discard(range) => {
                self.check_writable()?;
                if !self.disk.shape().discard {
                    return Err(Refusal::Unsupported.into());
                }
                let limits = (MAX_DISCARD_SECTORS, 0);
                for segment in segments(&chain.readable, range.clone(), sectors, limits)? {
                    let Segment { at, len, unmap: _ } = segment;
                    in_parts(queue, (at, len), DISCARD_PART, |part| {
                        self.disk.discard(part.at, part.len)
                    })?;
                }
                self.write_through()?;
            }
            Operation::WriteZeroes(range) => {
                self.check_writable()?;
                for segment in zeroed(chain, range.clone(), sectors)? {
                    let Segment { at, len, unmap } = segment;
                    in_parts(queue, (at, len), PART, |part| {
                        self.disk.write_zeroes(part.at, part.len, unmap)
                    })?;
                }
                self.write_through()?;
            }
            Operation::Unknown(_) => return Err(Refusal::Unsupported.into()),
        }
        Ok(0)
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        if self.disk.shape().read_only {
            return Err(Refusal::Wrong("the disk is read-only"));
        }
        Ok(())
    }

    /// Makes what was written last, for a driver that does not flush.
    fn write_through(&self) -> io::Result<()> {
        if self.is_write_through() {
            self.disk.flush()?;
        }
        Ok(())
    }

    fn give_id(&self, chain: &Chain, room: u64) -> u64 {
        let mut id = [0; request::ID_BYTES];
        let serial = &self.serial.as_bytes()[..self.serial.len().min(id.len())];
        id[..serial.len()].copy_from_slice(serial);
        let count = room.min(id.len() as u64);
        // It fits.
        let _ = chain.writable.copy_from(0, &id[..count as usize]);
        count
    }

    /// Sectors of the disk. What is left of its bytes behind the last is not the guest's.
    pub(super) fn sectors(&self) -> u64 {
        self.disk.size() / SECTOR
    }
}

/// The segments of a request to zero.
fn zeroed(chain: &Chain, range: Range<u64>, sectors: u64) -> Result<Vec<Segment>, Refusal> {
    let limits = (MAX_ZEROES_SECTORS, request::UNMAP);
    segments(&chain.readable, range, sectors, limits)
}

/// The driver hears of all that is done.
pub(super) fn tell(queue: &QueueHandle, pace: &mut Pace, now: Duration) {
    queue.notify();
    pace.told(now);
}

/// The driver hears of what is done, if it is time to; it has so many more requests under way.
pub(super) fn tell_if_due(queue: &QueueHandle, pace: &mut Pace, to_come: u32, now: Duration) {
    if pace.is_due(to_come, now) {
        tell(queue, pace, now);
    }
}

/// Writes the status, and gives the buffer back.
fn finish(queue: &QueueHandle, chain: Chain, status_at: u64, status: Status, data: u64) {
    // It was found to fit.
    let _ = chain.writable.copy_from(status_at, &[status.byte()]);
    // The driver may rely on as many bytes from the start as it is told were written.
    let written = if data == status_at { data + 1 } else { data };
    queue.push(chain.head, u32::try_from(written).unwrap_or(u32::MAX));
}

/// A part of a request: where on the disk, and bytes.
struct Part {
    at: u64,
    len: u64,
}

/// Does what takes long in parts that end at multiples of `unit`, and gives it up between two of them
/// when the device may not go on.
fn in_parts(
    queue: &QueueHandle,
    (at, len): (u64, u64),
    unit: u64,
    mut each: impl FnMut(Part) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut done = 0;
    loop {
        let from = at + done;
        let part = (unit - from % unit).min(len - done);
        each(Part {
            at: from,
            len: part,
        })?;
        done += part;
        if done == len {
            return Ok(());
        }
        if !queue.may_go_on() {
            return Err(Failure::GivenUp);
        }
    }
}
