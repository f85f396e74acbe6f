//! A device's side of a virtqueue (Virtio 1.2, section 2.7): takes buffers that the driver made
//! available, and gives them back used.
//!
//! `virtio-queue` walks the rings. What it cannot tell apart, or leaves to its user, is here: a chain
//! that ends before its last descriptor (a loop, an index or a table outside, more bytes than there
//! may be), buffers outside of memory, readable ones behind writable ones, and interrupts that the
//! driver does not want. Any of the first make the device need a reset: nobody can say what
//! the driver meant.
//!
//! Omitted: packed rings, in-order use, and reset of single queues, none of which is offered.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Gpa;
use memory::{Access, Layout, Pieces};
use virtio_queue::{Queue, QueueOwnedT, QueueT};

use super::host::{Bell, Interrupt};
use super::negotiation::QueueConfig;
use super::spec::ring;

/// The most descriptors of a chain, whatever the size of the queue: it bounds what a guest can make
/// us keep for each of its buffers. No driver comes near (Linux: a queue's size).
const MAX_CHAIN: usize = 1024;

/// A buffer that the driver made available.
#[derive(Debug)]
pub struct Chain {
    /// What [`QueueHandle::push`] gives back.
    pub head: Head,
    /// What the device reads.
    pub readable: Pieces,
    /// What the device writes.
    pub writable: Pieces,
}

/// A chain that was taken and not given back yet.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    index: u16,
    epoch: u32,
}

/// What a driver did that no device can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// The setup of a queue.
    #[error("a queue's size is bad, or its rings are not in memory")]
    Setup,
    /// The available index.
    #[error("more buffers are available than the queue has descriptors")]
    Available,
    /// The index of a chain's first descriptor.
    #[error("a buffer begins outside of the descriptor table")]
    Head,
    /// A chain that does not end well.
    #[error("a chain of descriptors is endless, too long or leaves its table")]
    Chain,
    /// A buffer that is not in memory, or that a device must not write.
    #[error("a buffer is not in memory")]
    Buffer,
    /// A readable buffer behind a writable one.
    #[error("a chain has a readable buffer behind a writable one")]
    Order,
    /// The used ring.
    #[error("the used ring cannot be written")]
    Used,
    /// A request that breaks what its device requires of any driver.
    #[error("{0}")]
    Request(&'static str),
}

/// What all queues of a device share.
pub(super) struct Shared {
    pub name: &'static str,
    pub interrupt: Arc<dyn Interrupt>,
    /// The driver drives the device.
    pub driven: AtomicBool,
    /// The device needs a reset.
    pub broken: AtomicBool,
    /// The machine stands still.
    pub held: AtomicBool,
    /// The transport does not let the device use guest memory.
    pub barred: AtomicBool,
    /// The device is gone.
    pub over: AtomicBool,
    /// Counts changes of the configuration.
    pub generation: AtomicU32,
    /// A fault was warned of; a guest cannot fill the log with more.
    pub warned: AtomicBool,
}

impl Shared {
    pub fn new(name: &'static str, interrupt: Arc<dyn Interrupt>) -> Self {
        Self {
            name,
            interrupt,
            driven: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            // Until the machine goes.
            held: AtomicBool::new(true),
            barred: AtomicBool::new(false),
            over: AtomicBool::new(false),
            generation: AtomicU32::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// Whether devices may work.
    pub fn may_serve(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        let stops = [&self.broken, &self.held, &self.barred, &self.over];
        is(&self.driven) && !stops.into_iter().any(is)
    }

    /// The device needs a reset.
    pub fn fail(&self, fault: RingFault) {
        if self.broken.swap(true, Ordering::SeqCst) {
            return;
        }
        if self.warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(device = self.name, %fault, "the guest's driver is at fault again");
        } else {
            let device = self.name;
            tracing::warn!(device, %fault, "the guest's driver is at fault; the device stops");
        }
        if self.driven.load(Ordering::SeqCst) {
            self.interrupt.config_changed();
        }
    }

    pub fn config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.driven.load(Ordering::SeqCst) {
            self.interrupt.config_changed();
        }
    }
}

/// A queue while the driver drives the device.
struct Live {
    queue: Queue,
    memory: Arc<Layout>,
    /// What was pushed since the driver was last asked whether it wants an interrupt.
    pushed: bool,
}

/// Where a queue stands: what is saved of it beyond its setup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Index of the available ring that is taken next.
    pub next_available: u16,
    /// Index of the used ring that is written next.
    pub next_used: u16,
}

struct Inner {
    index: u16,
    shared: Arc<Shared>,
    bell: Arc<dyn Bell>,
    /// Counts what ended the life of heads.
    epoch: AtomicU32,
    live: Mutex<Option<Live>>,
}

/// A queue, for its device: on any thread, and clones are the same queue.
#[derive(Clone)]
pub struct QueueHandle(Arc<Inner>);

impl QueueHandle {
    pub(super) fn new(index: u16, shared: Arc<Shared>, bell: Arc<dyn Bell>) -> Self {
        Self(Arc::new(Inner {
            index,
            shared,
            bell,
            epoch: AtomicU32::new(0),
            live: Mutex::new(None),
        }))
    }

    /// Its number.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.0.index
    }

    /// Descriptors; 0 when the driver does not use the queue.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.lock().as_ref().map_or(0, |live| live.queue.size())
    }

    /// Whether the driver uses the queue.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.lock().is_some()
    }

    /// Has the queue's worker call the device's `serve`, from any thread.
    pub fn wake(&self) {
        self.0.bell.ring();
    }

    /// What wakes the worker, for those who ring it otherwise.
    #[must_use]
    pub fn bell(&self) -> &Arc<dyn Bell> {
        &self.0.bell
    }

    /// The next buffer; `None` when there is none, or the device needs a reset.
    #[must_use]
    pub fn pop(&self) -> Option<Chain> {
        let mut slot = self.lock();
        let live = slot.as_mut()?;
        if self.0.shared.broken.load(Ordering::SeqCst) {
            return None;
        }
        let epoch = self.0.epoch.load(Ordering::SeqCst);
        match live.pop(epoch) {
            Ok(chain) => chain,
            Err(fault) => {
                drop(slot);
                self.fail(fault);
                None
            }
        }
    }

    /// How many buffers wait to be taken. A driver may say anything: no more than there can be.
    #[must_use]
    pub fn waiting(&self) -> u16 {
        self.lock().as_ref().map_or(0, |live| {
            let (queue, memory) = (&live.queue, &*live.memory);
            let available = queue.avail_idx(memory, Ordering::Acquire);
            let waiting = available.map_or(0, |index| index.0.wrapping_sub(queue.next_avail()));
            waiting.min(queue.size())
        })
    }

    /// Whether the device may go on with what it does. If not, somebody waits for the end of this
    /// turn.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.0.shared.may_serve()
    }

    /// Undoes the last [`QueueHandle::pop`], if none came after it.
    pub fn put_back(&self, chain: Chain) {
        let Chain {
            head,
            readable: _,
            writable: _,
        } = chain;
        let mut slot = self.lock();
        if let Some(live) = slot.as_mut().filter(|_| self.is_of_now(&head)) {
            live.queue.go_to_previous_position();
        }
    }

    /// Gives a buffer back, of which the device wrote `written` bytes from the start of what is
    /// writable. One from before a reset is forgotten.
    pub fn push(&self, head: Head, written: u32) {
        let mut slot = self.lock();
        let Some(live) = slot.as_mut().filter(|_| self.is_of_now(&head)) else {
            return;
        };
        live.pushed = true;
        let done = live.queue.add_used(&*live.memory, head.index, written);
        drop(slot);
        if done.is_err() {
            self.fail(RingFault::Used);
        }
    }

    /// Interrupts the driver if buffers were pushed and it wants to know. Workers do it after each
    /// `serve`; a device does it earlier, or on other threads, as it sees fit.
    pub fn notify(&self) {
        let mut slot = self.lock();
        let wanted = slot.as_mut().is_some_and(Live::wants_interrupt);
        drop(slot);
        if wanted {
            self.0.shared.interrupt.used(self.0.index);
        }
    }

    /// The driver broke the rules: the device needs a reset, and does nothing until then.
    pub fn fail(&self, fault: RingFault) {
        self.0.shared.fail(fault);
    }

    /// Asks the driver for no kicks for now.
    pub(super) fn mute(&self) {
        if let Some(live) = self.lock().as_mut() {
            // It is a wish: if it cannot be written, a kick more does no harm.
            let _ = live.queue.disable_notification(&*live.memory);
        }
    }

    /// Asks the driver for a kick at its next buffer; whether there is one already.
    pub(super) fn listen(&self) -> bool {
        let mut slot = self.lock();
        let broken = self.0.shared.broken.load(Ordering::SeqCst);
        let Some(live) = slot.as_mut().filter(|_| !broken) else {
            return false;
        };
        let more = live.queue.enable_notification(&*live.memory);
        drop(slot);
        more.unwrap_or_else(|_| {
            self.fail(RingFault::Used);
            false
        })
    }

    /// Begins to live as `config` says, from `position` on.
    pub(super) fn start(
        &self,
        config: &QueueConfig,
        max_size: u16,
        memory: &Arc<Layout>,
        (event_idx, position): (bool, Position),
    ) -> Result<(), RingFault> {
        let live = Live::new(config, max_size, memory, event_idx, position)?;
        *self.lock() = Some(live);
        Ok(())
    }

    /// Ends its life: whatever is pushed later is forgotten.
    pub(super) fn stop(&self) {
        let mut slot = self.lock();
        *slot = None;
        self.0.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn position(&self) -> Position {
        self.lock().as_ref().map_or_else(Position::default, |live| {
            let (next_available, next_used) = (live.queue.next_avail(), live.queue.next_used());
            Position {
                next_available,
                next_used,
            }
        })
    }

    fn is_of_now(&self, head: &Head) -> bool {
        head.epoch == self.0.epoch.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Live>> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn new(
        config: &QueueConfig,
        max_size: u16,
        memory: &Arc<Layout>,
        event_idx: bool,
        position: Position,
    ) -> Result<Self, RingFault> {
        let QueueConfig {
            size,
            ready: _,
            descriptors,
            available,
            used,
        } = *config;
        let is_there = |at, bytes, access| {
            let mut pieces = Pieces::new(Arc::clone(memory));
            pieces.push(Gpa(at), bytes, access).is_ok()
        };
        if !config.is_possible(max_size)
            || !is_there(descriptors, ring::descriptors_bytes(size), Access::Read)
            || !is_there(available, ring::available_bytes(size), Access::Read)
            || !is_there(used, ring::used_bytes(size), Access::Write)
        {
            return Err(RingFault::Setup);
        }
        let mut queue = Queue::new(max_size).map_err(|_| RingFault::Setup)?;
        let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
        let (low, high) = halves(descriptors);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(available);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(used);
        queue.set_used_ring_address(low, high);
        queue.set_size(size);
        queue.set_event_idx(event_idx);
        queue.set_next_avail(position.next_available);
        queue.set_next_used(position.next_used);
        queue.set_ready(true);
        Ok(Self {
            queue,
            memory: Arc::clone(memory),
            pushed: false,
        })
    }

    fn pop(&mut self, epoch: u32) -> Result<Option<Chain>, RingFault> {
        let size = self.queue.size();
        let memory = &*self.memory;
        let heads = self.queue.iter(memory);
        let mut heads = heads.map_err(|_| RingFault::Available)?;
        let Some(chain) = heads.next() else {
            return Ok(None);
        };
        let index = chain.head_index();
        if index >= size {
            return Err(RingFault::Head);
        }
        let mut readable = Pieces::new(Arc::clone(&self.memory));
        let mut writable = Pieces::new(Arc::clone(&self.memory));
        let (mut count, mut goes_on, mut writes) = (0, true, false);
        for descriptor in chain {
            count += 1;
            if count > MAX_CHAIN {
                return Err(RingFault::Chain);
            }
            goes_on = descriptor.has_next();
            let (at, len) = (Gpa(descriptor.addr().0), u64::from(descriptor.len()));
            let pushed = if descriptor.is_write_only() {
                writes = true;
                writable.push(at, len, Access::Write)
            } else if writes {
                return Err(RingFault::Order);
            } else {
                readable.push(at, len, Access::Read)
            };
            pushed.map_err(|_| RingFault::Buffer)?;
        }
        // The last one that could be read says whether it was meant to be the last.
        if goes_on {
            return Err(RingFault::Chain);
        }
        Ok(Some(Chain {
            head: Head { index, epoch },
            readable,
            writable,
        }))
    }

    fn wants_interrupt(&mut self) -> bool {
        if !std::mem::take(&mut self.pushed) {
            return false;
        }
        let wanted = self.queue.needs_notification(&*self.memory);
        // When in doubt, interrupt.
        wanted.unwrap_or(true) && (self.queue.event_idx_enabled() || !self.is_muted())
    }

    /// Whether the driver wants no interrupts, where it does not say when it wants the next.
    fn is_muted(&self) -> bool {
        let mut flags = [0; 2];
        let read = self.memory.read(Gpa(self.queue.avail_ring()), &mut flags);
        read.is_ok() && u16::from_le_bytes(flags) & ring::NO_INTERRUPT != 0
    }
}

impl fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueHandle")
            .field("index", &self.0.index)
            .field("live", &self.is_live())
            .finish_non_exhaustive()
    }
}
