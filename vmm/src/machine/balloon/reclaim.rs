//! Taking all free memory of a guest back at once, by free page hints.
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | who asks | the log of writes begins; then the guest is asked for hints |
//! | 2 | the guest | names its free pages, and says when it is through |
//! | 3 | a thread of its own | waits for that, but not for long; reads the log, and looks into what was named and written |
//! | 4 | the coordinator | vCPUs and devices stand still: what was named and holds nothing goes back; the log ends; the guest hears that it has its pages again; the machine goes on |
//!
//! A hint only says that a page was free. Linux gives such pages to whoever needs memory before the
//! host is through, without a word; what was written there meanwhile is in the log, and stays.
//!
//! But it may be zeros that were written. Many kernels fill memory with zeros when they allocate it,
//! also what their balloon's driver allocates in order to name it, so that all of it is in the log. Such
//! pages read the same when they are given back. They are looked for in step 3, while the guest runs:
//! whatever it writes from then on is in the log of step 4, which stays unseen.
//!
//! Nothing goes back but in step 4, and where that is not reached, nothing does:
//!
//! | what | outcome |
//! |---|---|
//! | the accelerator keeps no log; no driver, or one without hints; a machine that stands still; another one under way | refused at once |
//! | the guest is not through in time | the round ends; the guest has its pages again |
//! | the guest, or its driver, starts over | the same: what it named is not free any more |
//! | the machine is saved, or ends | the round ends before: nothing of it is in what is saved |

use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aarch64::{Gpa, PAGE_SIZE};
use devices::virtio::balloon::{HintsEnd, NoHints, Round};
use hv_backend::api::HostError;
use memory::{Mapping, PageSet, Region};

use super::GuestBalloon;
use super::unwritten::unwritten;
use super::writes::WriteLog;
use crate::coordinator::{Activity, Control};
use crate::host::thread;
use crate::vcpu::chain;

/// How long a guest may take to name its free memory.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What was taken back, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// What the guest named as free.
    pub named: u64,
    /// What of it went back to the host.
    pub returned: u64,
}

/// Why free memory was not taken back, or not all of it. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReclaimError {
    /// Without a driver.
    #[error("the guest has no driver for its balloon, at least not yet")]
    NoDriver,
    /// Without hints.
    #[error("the driver of the guest's balloon cannot name free memory")]
    NoHints,
    /// Without a log.
    #[error("the accelerator keeps no log of what the guest writes, without which it is not safe")]
    NoLog,
    /// Not while it stands still.
    #[error("the machine stands still: its guest cannot name free memory")]
    StandsStill,
    /// Not twice at once.
    #[error("free memory is being taken back already")]
    UnderWay,
    /// The guest did not answer.
    #[error("the guest did not name its free memory within {} s", PATIENCE.as_secs())]
    TimedOut,
    /// The guest does not know of it any more.
    #[error("the guest or its driver started over meanwhile")]
    Reset,
    /// It was not to be.
    #[error("the machine was saved or ended meanwhile")]
    Ended,
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(String),
}

impl From<NoHints> for ReclaimError {
    fn from(why: NoHints) -> Self {
        match why {
            NoHints::NoDriver => Self::NoDriver,
            NoHints::NotKnown => Self::NoHints,
            NoHints::UnderWay => Self::UnderWay,
        }
    }
}

/// Memory that is being taken back. Whoever takes this out of its place ends it.
pub struct UnderWay {
    round: Round,
    log: WriteLog,
}

impl GuestBalloon {
    /// Begins to take all free memory back, and tells what came of it later, on another thread. Both
    /// say the number of the round.
    ///
    /// # Errors
    /// Why it does not begin; nothing is told then.
    pub fn reclaim(
        self: &Arc<Self>,
        control: &Control,
        tell: impl FnOnce(u32, Result<Reclaimed, ReclaimError>) + Send + 'static,
    ) -> Result<u32, ReclaimError> {
        let mut under_way = lock(&self.under_way);
        if under_way.is_some() {
            return Err(ReclaimError::UnderWay);
        }
        match control.condition().activity {
            Activity::Running => {}
            Activity::Starting | Activity::Paused | Activity::Over => {
                return Err(ReclaimError::StandsStill);
            }
        }
        // A log costs the guest time: not where nothing can come of it.
        self.device.can_hint()?;
        let log = WriteLog::start(&self.fleet, self.ram.get()).ok_or(ReclaimError::NoLog)?;
        let log = log.map_err(host)?;
        let (told, end) = channel();
        let round = self.device.ask_for_hints(told)?;
        *under_way = Some(UnderWay { round, log });
        drop(under_way);
        let (me, control) = (self.clone(), control.clone());
        let see_to_it = move || {
            let result = me.wait_and_take_back(round, &end, &control);
            me.end_round(round);
            tell(round.number(), result);
        };
        match thread::spawn("reclaim", see_to_it) {
            Ok(thread) => {
                let mut threads = lock(&self.threads);
                threads.retain(|thread| !thread.is_finished());
                threads.push(thread);
                Ok(round.number())
            }
            Err(error) => {
                self.end_round(round);
                Err(ReclaimError::Host(format!("it has no thread: {error}")))
            }
        }
    }

    /// Ends what is under way, as before a save. Who waits for it hears of that. vCPUs may run or not.
    pub fn end_reclaim(&self) {
        let ended = lock(&self.under_way).take();
        if let Some(ended) = ended {
            self.end(ended);
        }
    }

    /// The machine is over: nothing is under way on return.
    pub fn finish(&self) {
        self.end_reclaim();
        for thread in lock(&self.threads).drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }

    fn wait_and_take_back(
        self: &Arc<Self>,
        round: Round,
        end: &Receiver<HintsEnd>,
        control: &Control,
    ) -> Result<Reclaimed, ReclaimError> {
        match end.recv_timeout(self.patience) {
            Ok(HintsEnd::Complete) => {
                let kept = self.look_into(round)?;
                let me = self.clone();
                let taken = control.while_still(move |_| me.take_back(round, kept));
                taken.unwrap_or(Err(ReclaimError::Ended))
            }
            Ok(HintsEnd::Reset) => Err(ReclaimError::Reset),
            Err(RecvTimeoutError::Timeout) => Err(ReclaimError::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Err(ReclaimError::Ended),
        }
    }

    /// The pages that were named and written and hold something, for each mapping. vCPUs run: the log
    /// has what they write from now on.
    fn look_into(&self, round: Round) -> Result<Vec<PageSet>, ReclaimError> {
        let under_way = lock(&self.under_way);
        let mine = under_way.as_ref().filter(|it| it.round == round);
        let log = &mine.ok_or(ReclaimError::Ended)?.log;
        let named = self.device.hints(round).ok_or(ReclaimError::Reset)?;
        let written = log.take().map_err(host)?;
        let layout = log.layout().clone();
        // Looking takes time, and a save is not to wait for it.
        drop(under_way);
        let both = layout.mappings().iter().zip(written);
        let kept = both.map(|(mapping, written)| {
            let named = self.part_in(&named, mapping);
            let mut kept = PageSet::empty(mapping.region.size());
            let pages = written.iter().filter(|page| holds(&named, *page));
            let full = pages.filter(|page| !is_zero(&mapping.region, *page));
            full.for_each(|page| kept.insert(page));
            kept
        });
        Ok(kept.collect())
    }

    /// Gives back what was named and is not to be kept or was written since that was looked for, and
    /// ends the round. vCPUs and devices stand still.
    fn take_back(&self, round: Round, kept: Vec<PageSet>) -> Result<Reclaimed, ReclaimError> {
        let mine = lock(&self.under_way).take_if(|it| it.round == round);
        let mine = mine.ok_or(ReclaimError::Ended)?;
        let result = match self.device.hints(round) {
            Some(named) => self.give_back(&named, &mine.log, kept),
            // It was asked for in memory that may be gone.
            None => Err(ReclaimError::Reset),
        };
        self.end(mine);
        result
    }

    fn give_back(
        &self,
        named: &[Range<u64>],
        log: &WriteLog,
        kept: Vec<PageSet>,
    ) -> Result<Reclaimed, ReclaimError> {
        let each = (memory::page_size() as u64 / PAGE_SIZE).max(1);
        let mut returned = 0;
        let written = log.take().map_err(host)?;
        let mappings = log.layout().mappings().iter();
        for ((mapping, written), mut kept) in mappings.zip(written).zip(kept) {
            kept.insert_all(&written);
            for run in unwritten(&self.part_in(named, mapping), &kept, each) {
                let gpa = Gpa(mapping.gpa.0 + run.start * PAGE_SIZE);
                let bytes = (run.end - run.start) * PAGE_SIZE;
                let given = self.fleet.vm().discard(gpa, bytes);
                given.map_err(host)?;
                returned += bytes;
            }
        }
        let pages: u64 = named.iter().map(|run| run.end - run.start).sum();
        Ok(Reclaimed {
            named: pages * PAGE_SIZE,
            returned,
        })
    }

    /// What of the pages of RAM lies in a mapping, as pages of that.
    fn part_in(&self, named: &[Range<u64>], mapping: &Mapping) -> Vec<Range<u64>> {
        let skip = mapping.gpa.0.saturating_sub(self.span.base.0) / PAGE_SIZE;
        let pages = mapping.region.size() / PAGE_SIZE;
        let inside = |page: u64| page.saturating_sub(skip).min(pages);
        let parts = named.iter().map(|run| inside(run.start)..inside(run.end));
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Ends a round, if it is still under way.
    fn end_round(&self, round: Round) {
        let mine = lock(&self.under_way).take_if(|it| it.round == round);
        if let Some(mine) = mine {
            self.end(mine);
        }
    }

    fn end(&self, UnderWay { round, log }: UnderWay) {
        // In this order: once the guest has its pages, the log is of no use.
        drop(log);
        self.device.end_hints(round);
    }
}

fn host(error: HostError) -> ReclaimError {
    ReclaimError::Host(chain(&error))
}

/// Whether a page is in one of these runs, lowest first.
fn holds(runs: &[Range<u64>], page: u64) -> bool {
    let next = runs.partition_point(|run| run.end <= page);
    runs.get(next).is_some_and(|run| run.contains(&page))
}

/// Whether there is nothing but zeros in a page of a region.
fn is_zero(region: &Region, page: u64) -> bool {
    let mut bytes = [0; PAGE_SIZE as usize];
    let read = region.read(page * PAGE_SIZE, &mut bytes);
    read.is_ok() && bytes.iter().all(|byte| *byte == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
