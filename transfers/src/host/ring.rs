//! An io_uring.
//!
//! A transfer has a slot from the time it is taken to the time it is reaped: the slot's number is what
//! the kernel says again when it is done. What the kernel takes is taken in the order of the queue, so
//! the first of `queued` are under way as soon as it says how many it took.

// UNSAFETY: gives the host's kernel addresses of guest memory.
#![expect(
    unsafe_code,
    reason = "the kernel reads and writes guest RAM in our place"
)]

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode, squeue};

use memory::Way;

use crate::transfer::{Done, Transfer};

/// Runs of memory of one transfer: few enough for every kernel's `IOV_MAX`.
const MOST_RUNS: usize = 512;
/// No transfer moves more bytes: a kernel moves less than an `int` can count.
const MOST_BYTES: u64 = 1 << 30;

/// Transfers that the kernel makes, each with a token of its owner.
pub struct Ring<T> {
    uring: IoUring,
    slots: Vec<Option<Slot<T>>>,
    /// The numbers of those that are empty.
    free: Vec<usize>,
    /// The numbers of those that the kernel has not seen.
    queued: VecDeque<usize>,
}

struct Slot<T> {
    token: T,
    transfer: Transfer,
    #[expect(dead_code, reason = "the kernel finds the runs there")]
    vectors: Vectors,
}

/// Addresses of runs of memory.
struct Vectors(Vec<libc::iovec>);

// SAFETY: the addresses are only for the kernel, which does not mind threads; nothing here follows
// them.
unsafe impl Send for Vectors {}

impl<T> Ring<T> {
    /// A ring for so many transfers.
    ///
    /// # Errors
    /// The kernel's: it is too old, has no memory for it, or may not do it for this process.
    pub fn new(most: u16) -> io::Result<Self> {
        let entries = u32::from(most);
        // Completions are only looked for where the kernel is called: it need not interrupt for them.
        let uring = IoUring::builder().setup_coop_taskrun().build(entries);
        let uring = uring.or_else(|_| IoUring::new(entries))?;
        let features = uring.params();
        // To wait for some time, and that no completion is lost.
        if !features.is_feature_ext_arg() || !features.is_feature_nodrop() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self {
            uring,
            slots: (0..most).map(|_| None).collect(),
            free: (0..usize::from(most)).rev().collect(),
            queued: VecDeque::new(),
        })
    }

    /// Whether it takes another transfer.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Transfers that were begun and not reaped.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a transfer.
    ///
    /// # Errors
    /// The token, if this transfer cannot be made here.
    pub fn begin(&mut self, token: T, transfer: Transfer) -> Result<(), T> {
        let Some(vectors) = vectors(&transfer) else {
            return Err(token);
        };
        let Some(number) = self.free.pop() else {
            return Err(token);
        };
        let entry = entry(&transfer, &vectors).user_data(number as u64);
        // SAFETY: the memory, the addresses of its runs and the file are in the slot until the kernel
        // says that it is done with them. Runs are memory of regions that the pieces hold, which is
        // only ever shared as atomics, volatile copies and raw pointers; only pieces that may be
        // written are given to devices as such, and the host's mapping is writable in any case.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        if pushed.is_err() {
            self.free.push(number);
            return Err(token);
        }
        self.queued.push_back(number);
        self.slots[number] = Some(Slot {
            token,
            transfer,
            vectors,
        });
        Ok(())
    }

    /// Has the kernel begin with what it was given. It may put off some of it until something else is
    /// over.
    ///
    /// # Errors
    /// The kernel's: nobody knows what becomes of the transfers until [`Ring::give_up`].
    pub fn submit(&mut self) -> io::Result<()> {
        while !self.queued.is_empty() {
            let taken = self.uring.submit();
            if !self.note_taken(taken)? {
                break;
            }
        }
        Ok(())
    }

    /// As [`Ring::submit`], and waits until a transfer is over, or for some time.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&mut self, most: Option<Duration>) -> io::Result<()> {
        if !self.uring.completion().is_empty() {
            return self.submit();
        }
        let limit = most.map(Timespec::from);
        loop {
            let submitter = self.uring.submitter();
            let taken = match &limit {
                None => submitter.submit_and_wait(1),
                Some(limit) => {
                    let arguments = SubmitArgs::new().timespec(limit);
                    submitter.submit_with_args(1, &arguments)
                }
            };
            if matches!(&taken, Err(error) if error.raw_os_error() == Some(libc::ETIME)) {
                // What was queued is taken before the time begins.
                self.queued.clear();
                return Ok(());
            }
            if !self.note_taken(taken)? {
                return self.wait_for_kernel();
            }
            if self.queued.is_empty() && !self.uring.completion().is_empty() {
                return Ok(());
            }
            if self.in_kernel() == 0 || limit.is_some() && self.queued.is_empty() {
                return Ok(());
            }
        }
    }

    /// A transfer that is over.
    pub fn reap(&mut self) -> Option<Done<T>> {
        let completion = self.uring.completion().next()?;
        let number = usize::try_from(completion.user_data()).ok()?;
        let Slot {
            token,
            transfer,
            vectors: _,
        } = self.slots.get_mut(number)?.take()?;
        self.free.push(number);
        note_end(&transfer);
        let result = completion.result();
        let moved =
            u64::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.wrapping_neg()));
        Some(Done { token, moved })
    }

    /// Waits for what is under way, and gives back what was never begun or reaped.
    pub fn give_up(mut self) -> Vec<T> {
        self.settle();
        let slots = mem::take(&mut self.slots);
        slots.into_iter().flatten().map(|slot| slot.token).collect()
    }

    fn in_kernel(&self) -> usize {
        self.under_way() - self.queued.len()
    }

    /// The kernel took so many of those that were queued. Whether to ask it again for the rest; it has
    /// no room for them until something else is over, otherwise.
    fn note_taken(&mut self, taken: io::Result<usize>) -> io::Result<bool> {
        match taken {
            Ok(0) if !self.queued.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                self.queued.drain(..count.min(self.queued.len()));
                Ok(true)
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EINTR) => Ok(true),
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) if self.in_kernel() > 0 => {
                    Ok(false)
                }
                Some(_) | None => Err(error),
            },
        }
    }

    /// Waits until something is over, without giving the kernel anything.
    fn wait_for_kernel(&self) -> io::Result<()> {
        loop {
            let (flags, submitter) = (EnterFlags::GETEVENTS.bits(), self.uring.submitter());
            // SAFETY: nothing is submitted, and no argument is an address.
            let waited = unsafe { submitter.enter::<libc::sigset_t>(0, 1, flags, None) };
            match waited {
                Ok(_) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the kernel has nothing any more. The tokens stay.
    fn settle(&mut self) {
        let mut left = self.in_kernel();
        while left > 0 {
            if self.uring.completion().is_empty() && self.wait_for_kernel().is_err() {
                // The kernel cannot be asked whether it still writes there, so nobody else may have
                // that memory ever again.
                mem::forget(mem::take(&mut self.slots));
                return;
            }
            while let Some(completion) = self.uring.completion().next() {
                left = left.saturating_sub(1);
                let number = usize::try_from(completion.user_data()).ok();
                let slot = number.and_then(|number| self.slots.get(number)?.as_ref());
                if let Some(slot) = slot {
                    note_end(&slot.transfer);
                }
            }
        }
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if !self.slots.is_empty() {
            self.settle();
        }
    }
}

/// A transfer is over. What an error or fewer bytes than asked for leave behind is not known: all of
/// the memory may be written.
fn note_end(transfer: &Transfer) {
    match transfer.way {
        // The range was found to fit when the transfer was begun.
        Way::In => drop(transfer.pieces.note_written(transfer.range.clone())),
        Way::Out => {}
    }
}

/// Where the kernel finds the runs of a transfer; nothing if they are too many, or too long.
fn vectors(transfer: &Transfer) -> Option<Vectors> {
    let runs = transfer.pieces.runs(transfer.range.clone()).ok()?;
    let vectors: Vec<_> = runs
        .take(MOST_RUNS + 1)
        .map(|run| libc::iovec {
            iov_base: run.base.as_ptr().cast(),
            iov_len: run.len,
        })
        .collect();
    let fits = vectors.len() <= MOST_RUNS && transfer.len() <= MOST_BYTES;
    (fits && !vectors.is_empty()).then_some(Vectors(vectors))
}

fn entry(transfer: &Transfer, vectors: &Vectors) -> squeue::Entry {
    let file = Fd(transfer.file.as_raw_fd());
    let (at, first) = (transfer.at, vectors.0.as_ptr());
    // There are no more than `MOST_RUNS`.
    let count = vectors.0.len() as u32;
    match transfer.way {
        Way::In => opcode::Readv::new(file, first, count).offset(at).build(),
        Way::Out => opcode::Writev::new(file, first, count).offset(at).build(),
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("slots", &self.slots.len())
            .field("under_way", &self.under_way())
            .finish_non_exhaustive()
    }
}
