//! What a balloon does with buffers.

use std::ops::Range;

use aarch64::Gpa;
use aarch64::machine::Span;
use memory::Pieces;

use super::super::{Chain, QueueHandle, RingFault, Served};
use super::spec::{PAGE, PFN_BYTES};
use super::{Balloon, Role, Stats};

/// Buffers in one go, before somebody may want the worker to stop.
const BATCH: usize = 8;
/// Page frame numbers in a buffer. Drivers send a few hundred at most.
const MOST_PFNS: u64 = 1 << 14;
/// Page frame numbers read at once.
const CHUNK: u64 = 1024;

impl Balloon {
    pub(super) fn serve_queue(&self, queue: &QueueHandle) -> Served {
        let mut inner = self.lock();
        let role = inner.roles.get(usize::from(queue.index())).copied();
        let restored = std::mem::take(&mut inner.restored);
        drop(inner);
        if restored {
            self.announce();
        }
        match role.flatten() {
            None => Served::Waiting,
            Some(Role::Stats) => self.serve_stats(queue),
            Some(role) => self.serve_pages(queue, role),
        }
    }

    fn serve_pages(&self, queue: &QueueHandle, role: Role) -> Served {
        for _ in 0..BATCH {
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            let Chain {
                head,
                readable,
                writable,
            } = chain;
            let done = match role {
                Role::Inflate => self.for_pages(&readable, |pages| self.inflate(pages)),
                Role::Deflate => self.for_pages(&readable, |pages| {
                    self.lock().granules.remove(pages);
                }),
                Role::Reports => {
                    self.reclaim_all(&writable);
                    Ok(())
                }
                Role::Hints => {
                    self.hint(&readable, &writable);
                    Ok(())
                }
                // It has a way of its own.
                Role::Stats => Ok(()),
            };
            if let Err(fault) = done {
                queue.fail(fault);
                return Served::Waiting;
            }
            queue.push(head, 0);
        }
        Served::Again
    }

    /// The pages whose numbers are in a buffer, in runs from the start of RAM on. Those that are not
    /// RAM are left out.
    fn for_pages(
        &self,
        buffer: &Pieces,
        mut work: impl FnMut(Range<u64>),
    ) -> Result<(), RingFault> {
        let count = buffer.len() / PFN_BYTES;
        if count > MOST_PFNS {
            return Err(RingFault::Request(
                "more pages at once than any driver sends",
            ));
        }
        let base = self.ram.base.0 / PAGE;
        let mut at = 0;
        while at < count {
            let now = CHUNK.min(count - at);
            let mut bytes = vec![0; (now * PFN_BYTES) as usize];
            let read = buffer.copy_to(at * PFN_BYTES, &mut bytes);
            read.map_err(|_| RingFault::Buffer)?;
            let (words, _) = bytes.as_chunks::<4>();
            let numbers = words
                .iter()
                .map(|word| u64::from(u32::from_le_bytes(*word)));
            let mut pages: Vec<u64> = numbers.filter_map(|pfn| pfn.checked_sub(base)).collect();
            pages.sort_unstable();
            pages.dedup();
            for run in pages.chunk_by(|a, b| a + 1 == *b) {
                if let [first, ..] = run {
                    work(*first..*first + run.len() as u64);
                }
            }
            at += now;
        }
        Ok(())
    }

    fn inflate(&self, pages: Range<u64>) {
        let mut inner = self.lock();
        let whole = inner.granules.add(pages.clone());
        if !inner.tells {
            // It may use them again without a word, so they do not count when others come.
            inner.granules.remove(pages);
        }
        drop(inner);
        for pages in whole {
            let gpa = Gpa(self.ram.base.0 + pages.start * PAGE);
            self.reclaim_range(gpa, (pages.end - pages.start) * PAGE);
        }
    }

    fn reclaim_all(&self, buffer: &Pieces) {
        for (gpa, bytes) in buffer.spans() {
            self.reclaim_range(gpa, bytes);
        }
    }

    fn reclaim_range(&self, gpa: Gpa, bytes: u64) {
        let Err(error) = self.reclaim.reclaim(gpa, bytes) else {
            return;
        };
        // It costs the host memory, and the guest nothing.
        if std::mem::replace(&mut self.lock().warned, true) {
            tracing::debug!(%gpa, bytes, %error, "the host does not take memory back again");
        } else {
            tracing::warn!(%gpa, bytes, %error, "the host does not take memory back");
        }
    }

    /// A buffer of hints: a number that begins or ends a round, or free memory.
    fn hint(&self, readable: &Pieces, writable: &Pieces) {
        let mut number = [0; 4];
        let said = readable.copy_to(0, &mut number).is_ok();
        let mut inner = self.lock();
        if said {
            inner.rounds.said(u32::from_le_bytes(number));
        }
        for (gpa, bytes) in writable.spans() {
            inner.rounds.named(self.whole_pages(gpa, bytes));
        }
    }

    /// The pages, by number from the start of RAM, that lie wholly in a range and in RAM.
    fn whole_pages(&self, gpa: Gpa, bytes: u64) -> Range<u64> {
        let Span { base, size } = self.ram;
        let offset = |at: u64| at.saturating_sub(base.0).min(size);
        let end = gpa.0.saturating_add(bytes);
        offset(gpa.0).div_ceil(PAGE)..offset(end) / PAGE
    }

    /// Keeps the newest buffer of statistics until new ones are wanted.
    fn serve_stats(&self, queue: &QueueHandle) -> Served {
        let mut inner = self.lock();
        if inner.stats_wanted
            && let Some(chain) = inner.stats_buffer.take()
        {
            inner.stats_wanted = false;
            queue.push(chain.head, 0);
        }
        for _ in 0..BATCH {
            let Some(chain) = queue.pop() else {
                return Served::Idle;
            };
            inner.stats = Some((Stats::read(&chain.readable), self.clock.now()));
            if let Some(before) = inner.stats_buffer.replace(chain) {
                queue.push(before.head, 0);
            }
        }
        Served::Again
    }
}
