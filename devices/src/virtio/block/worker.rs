//! What a disk does with requests: each in turn, on the worker of its queue.
//!
//! Bytes go straight between the image and guest memory. A failure of the host ends one request
//! and nothing else: the guest is told, the log has one line for each kind of failure, and the
//! machine goes on.

use std::io;
use std::time::Duration;

use super::super::{Chain, QueueHandle, Served};
use super::Block;
use super::request::{
    MAX_DISCARD_SECTORS, MAX_ZEROES_SECTORS, Operation, Refusal, Request, Segment, parse, place,
    segments,
};
use super::spec::{SECTOR, Status, request};

/// Requests in one go, before somebody may want the worker to stop.
const BATCH: usize = 64;
/// Bytes after which a go ends.
const BATCH_BYTES: u64 = 4 << 20;
/// How long a finished request may wait for others before the driver hears of it.
const PATIENCE: Duration = Duration::from_micros(100);

/// Why a request failed.
enum Failure {
    Refused(Refusal),
    Host(io::Error),
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
        let mut told = self.clock.now();
        let mut bytes = 0;
        for _ in 0..BATCH {
            let now = self.clock.now();
            if now.saturating_sub(told) > PATIENCE {
                queue.notify();
                told = now;
            }
            if let Some(wait) = self.limits.wait(now) {
                return Served::After(wait);
            }
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            match parse(&chain) {
                Ok(request) => bytes += self.answer(queue, chain, &request, now),
                Err(fault) => {
                    queue.fail(fault);
                    return Served::Idle;
                }
            }
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        Served::Again
    }

    /// Does what is asked for, and says how it went. How many bytes of data that was.
    fn answer(&self, queue: &QueueHandle, chain: Chain, request: &Request, now: Duration) -> u64 {
        let Request {
            operation,
            status_at,
        } = request;
        let bytes = match operation {
            Operation::Read(_) => *status_at,
            Operation::Write(_, range) => range.end - range.start,
            Operation::Flush
            | Operation::Id
            | Operation::Discard(_)
            | Operation::WriteZeroes(_)
            | Operation::Unknown(_) => 0,
        };
        self.limits.take(bytes, now);
        let (status, data) = match self.perform(&chain, operation, *status_at) {
            Ok(written) => (Status::Ok, written),
            Err(Failure::Refused(Refusal::Unsupported)) => (Status::Unsupported, 0),
            Err(Failure::Refused(Refusal::Wrong(why))) => {
                tracing::debug!(
                    disk = self.disk.name(),
                    ?operation,
                    why,
                    "a request is wrong"
                );
                (Status::IoError, 0)
            }
            Err(Failure::Host(error)) => {
                self.failures.warn(self.disk.name(), operation, &error);
                (Status::IoError, 0)
            }
        };
        // It was found to fit.
        let _ = chain.writable.copy_from(*status_at, &[status.byte()]);
        // The driver may rely on as many bytes from the start as it is told were written.
        let written = if data == *status_at { data + 1 } else { data };
        queue.push(chain.head, u32::try_from(written).unwrap_or(u32::MAX));
        bytes
    }

    /// How many bytes of data it wrote to the buffer, from its start.
    fn perform(&self, chain: &Chain, operation: &Operation, room: u64) -> Result<u64, Failure> {
        let sectors = self.sectors();
        match operation {
            Operation::Read(sector) => {
                let at = place(*sector, room, sectors)?;
                self.disk.read(at, &chain.writable, 0..room)?;
                return Ok(room);
            }
            Operation::Write(sector, range) => {
                self.check_writable()?;
                let at = place(*sector, range.end - range.start, sectors)?;
                self.disk.write(at, &chain.readable, range.clone())?;
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
                    self.disk.discard(segment.at, segment.len)?;
                }
                self.write_through()?;
            }
            Operation::WriteZeroes(range) => {
                self.check_writable()?;
                let limits = (MAX_ZEROES_SECTORS, request::UNMAP);
                for segment in segments(&chain.readable, range.clone(), sectors, limits)? {
                    let Segment { at, len, unmap } = segment;
                    self.disk.write_zeroes(at, len, unmap)?;
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
