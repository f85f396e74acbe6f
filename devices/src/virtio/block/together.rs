//! Requests of one queue side by side, for a disk where each waits for the drive itself
//! ([`Shape::waits`](super::Shape::waits)): a drive does several in the time of one.
//!
//! The worker's turn has a ring: it takes what waits, has the host begin with all of it in one call,
//! and gives buffers back as the host gets done, until there is no more to do. At the turn's end
//! nothing is under way, so nobody outside sees a difference: who holds or resets the device waits for
//! the turn, as ever.
//!
//! | request | how it is done |
//! |---|---|
//! | read or write of at most [`LONG`] bytes, as they lie in a file | beside others |
//! | flush, serial number, what nobody knows | by the worker, while others are under way |
//! | everything else | by the worker, when nothing is under way: it may be given up |
//!
//! What the host did not do, or not all of it, the worker does again from the start; what comes of
//! that is what the driver hears. Without a ring the worker does all of it, one after another.
//!
//! The order of requests is nobody's promise (Virtio 1.2, section 5.2.6.2): a flush is about what the
//! driver knows to be done.

use std::io;
use std::mem;
use std::sync::PoisonError;
use std::time::Duration;

use transfers::{Done, Ring, Transfer, Way};

use super::super::{Pace, QueueHandle, Served};
use super::Block;
use super::request::{Operation, place};
use super::turn::{Job, Turn};
use super::worker::{LONG, PART, WHOLE, tell, tell_if_due};

/// The most requests under way, and the bytes after which no more are begun.
const MOST: u16 = 64;
const MOST_BYTES: u64 = 8 << 20;

/// When a turn ends. What is under way is waited for then, which costs time; who wants the worker to
/// stop is looked for before each request.
const TURN: Duration = Duration::from_millis(200);

/// Where a queue's ring is between two turns.
#[derive(Debug, Default)]
pub(super) enum Seat {
    /// Nobody needed it yet.
    #[default]
    Untried,
    /// A turn has it, and has not brought it back if it is over.
    Taken,
    Here(Box<Ring<Job>>),
    /// The host has none to give.
    Refused,
}

impl Seat {
    /// The ring; the first time, it is made.
    pub fn take(&mut self, make: impl FnOnce() -> io::Result<Ring<Job>>) -> Option<Box<Ring<Job>>> {
        match mem::replace(self, Self::Taken) {
            Self::Here(ring) => Some(ring),
            Self::Refused => {
                *self = Self::Refused;
                None
            }
            Self::Untried | Self::Taken => match make() {
                Ok(ring) => Some(Box::new(ring)),
                Err(error) => {
                    tracing::debug!(%error, "no io_uring here: disks do one request at a time");
                    *self = Self::Refused;
                    None
                }
            },
        }
    }
}

/// A turn.
struct Together<'a> {
    block: &'a Block,
    queue: &'a QueueHandle,
    pace: &'a mut Pace,
    turn: Turn,
    ring: Box<Ring<Job>>,
    /// Bytes of what is under way.
    bytes: u64,
    /// Waits until nothing is under way.
    alone: Option<Job>,
    /// How the queue is left when nothing is under way.
    end: Option<Served>,
}

impl Block {
    /// A turn with the queue's ring; nothing if there is none, or it is not worth while.
    pub(super) fn take_turn_with_a_ring(
        &self,
        queue: &QueueHandle,
        pace: &mut Pace,
    ) -> Option<Served> {
        // Before the first request it is not worth while.
        if !self.waits || queue.waiting() == 0 {
            return None;
        }
        let ring = self.seat(queue, |seat| seat.take(|| Ring::new(MOST)))?;
        let now = self.clock.now();
        let together = Together {
            block: self,
            queue,
            pace,
            turn: Turn::new(now),
            ring,
            bytes: 0,
            alone: None,
            end: None,
        };
        let (served, left) = together.run();
        self.seat(queue, |seat| *seat = left);
        Some(served)
    }

    fn seat<R: Default>(&self, queue: &QueueHandle, with: impl FnOnce(&mut Seat) -> R) -> R {
        let Some(seat) = self.seats.get(usize::from(queue.index())) else {
            return R::default();
        };
        with(&mut seat.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a ring has to do for a request, if a ring can do it.
    fn transfer(&self, job: &Job) -> Option<Transfer> {
        let Job {
            chain,
            request,
            bytes,
        } = job;
        let (way, sector, pieces, range) = match &request.operation {
            Operation::Read(sector) => (Way::In, *sector, &chain.writable, 0..request.status_at),
            Operation::Write(sector, range)
                if !self.disk.shape().read_only && !self.is_write_through() =>
            {
                (Way::Out, *sector, &chain.readable, range.clone())
            }
            Operation::Write(..)
            | Operation::Flush
            | Operation::Id
            | Operation::Discard(_)
            | Operation::WriteZeroes(_)
            | Operation::Unknown(_) => return None,
        };
        // What is refused weighs nothing.
        let len = range.end - range.start;
        if *bytes != len || len > LONG {
            return None;
        }
        let at = place(sector, len, self.sectors()).ok()?;
        let (file, at) = self.disk.place(way, at, pieces, &range)?;
        Some(Transfer {
            way,
            pieces: pieces.clone(),
            range,
            file,
            at,
        })
    }
}

impl Together<'_> {
    /// How the queue is left, and the ring.
    fn run(mut self) -> (Served, Seat) {
        loop {
            self.take();
            if self.ring.under_way() == 0 {
                if let Some(job) = self.alone.take() {
                    if !self.perform(job, PART) {
                        return (Served::Again, Seat::Here(self.ring));
                    }
                } else if let Some(served) = self.end {
                    return (served, Seat::Here(self.ring));
                }
                continue;
            }
            if let Err(error) = self.wait() {
                return (self.go_on_without(&error), Seat::Refused);
            }
            self.reap();
        }
    }

    /// Takes what waits, and has it begin with the next call of the host.
    fn take(&mut self) {
        self.turn.go_on(self.block.clock.now());
        self.end = None;
        while self.alone.is_none() && self.ring.has_room() && self.bytes < MOST_BYTES {
            if self.turn.length() >= TURN || !self.queue.may_go_on() {
                self.end = Some(Served::Again);
                return;
            }
            match self.block.take(self.queue, &mut self.turn, self.pace) {
                Ok(job) => self.begin(job),
                Err(served) => {
                    self.end = Some(served);
                    return;
                }
            }
        }
    }

    fn begin(&mut self, job: Job) {
        if let Some(transfer) = self.block.transfer(&job) {
            let bytes = job.bytes;
            match self.ring.begin(job, transfer) {
                Ok(()) => self.bytes += bytes,
                Err(job) => self.alone = Some(job),
            }
            return;
        }
        match job.request.operation {
            Operation::Flush | Operation::Id | Operation::Unknown(_) => {
                // If it fails, so does what is waited for next, and is looked at there.
                let _ = self.ring.submit();
                self.perform(job, WHOLE);
            }
            Operation::Read(_)
            | Operation::Write(..)
            | Operation::Discard(_)
            | Operation::WriteZeroes(_) => self.alone = Some(job),
        }
    }

    /// The worker does it. Whether it is done.
    fn perform(&mut self, job: Job, unit: u64) -> bool {
        let urgent = job.is_urgent();
        if self.pace.is_due_before(self.block.takes_long(&job)) {
            tell(self.queue, self.pace, self.turn.now());
        }
        let outcome = self.block.perform(self.queue, &job, unit);
        let is_done = self.block.complete(self.queue, job, outcome);
        if is_done {
            self.turn.go_on(self.block.clock.now());
            self.pace.done(urgent, self.turn.now());
            self.tell_if_due();
        }
        is_done
    }

    /// Until something is done; if the driver has not heard of all that is done, no longer than it is
    /// to wait for that.
    fn wait(&mut self) -> io::Result<()> {
        let now = self.turn.now();
        let limit = self.pace.rest_for(self.to_come(), now);
        if limit.is_none() && self.pace.has_unheard() {
            tell(self.queue, self.pace, now);
        }
        self.ring.wait(limit)
    }

    /// Gives back what is done.
    fn reap(&mut self) {
        while let Some(Done { token: job, moved }) = self.ring.reap() {
            self.bytes -= job.bytes;
            let outcome = match (moved, &job.request.operation) {
                (Ok(moved), Operation::Read(_)) if moved == job.bytes => Ok(moved),
                (Ok(moved), Operation::Write(..)) if moved == job.bytes => Ok(0),
                // An error, or the end of the file is near.
                (Ok(_) | Err(_), _) => self.block.perform(self.queue, &job, WHOLE),
            };
            self.block.complete(self.queue, job, outcome);
            self.pace.done(false, self.turn.now());
        }
        self.turn.go_on(self.block.clock.now());
        self.tell_if_due();
    }

    /// The ring is broken: the worker does what was taken.
    fn go_on_without(self, error: &io::Error) -> Served {
        let disk = self.block.disk.name();
        tracing::warn!(disk, %error, "io_uring failed: the disk does one request at a time");
        for job in self.ring.give_up().into_iter().chain(self.alone) {
            let outcome = self.block.perform(self.queue, &job, WHOLE);
            self.block.complete(self.queue, job, outcome);
        }
        Served::Again
    }

    fn tell_if_due(&mut self) {
        let (to_come, now) = (self.to_come(), self.turn.now());
        tell_if_due(self.queue, self.pace, to_come, now);
    }

    /// Requests that the driver surely has under way, beside those that are done.
    fn to_come(&self) -> u32 {
        let to_come = usize::from(self.queue.waiting()) + self.ring.under_way();
        u32::try_from(to_come).unwrap_or(u32::MAX)
    }
}
