//! One virtio device behind a transport: everything that is the same on all transports.
//!
//! A transport maps its registers onto a [`Core`] and implements [`Interrupt`] for it; it has no
//! rules of its own for features, queues or resets. The rules for threads:
//!
//! - Registers are written by any vCPU. The negotiation's lock is held meanwhile, also while a reset
//!   waits for the workers' turns to end; so nothing a worker calls takes that lock.
//! - The device's `activate`, `reset`, `hold`, `save` and `restore` are called while no worker
//!   serves. A reset returns when the device has forgotten all it was doing: a guest may free its
//!   buffers then.
//! - Guest memory is what [`GuestRam`] held when the driver said that it is ready.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::host::{Bell, GuestRam, Interrupt, Join, Workers};
use super::negotiation::{Negotiation, QueueConfig, Step};
use super::queue::{Position, QueueHandle, Shared};
use super::spec::{DeviceKind, Status, feature, ring};
use super::state::{self, BadVirtioState, QueueState, VirtioState};
use super::worker::{Next, Station};
use super::{Activation, ConfigSignal, VirtioDevice};

/// What a device is connected to.
#[derive(Clone)]
pub struct Parts<'a> {
    /// Guest memory.
    pub ram: Arc<GuestRam>,
    /// The transport's way to the guest.
    pub interrupt: Arc<dyn Interrupt>,
    /// Where its threads come from.
    pub workers: &'a dyn Workers,
}

impl fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("ram", &self.ram)
            .finish_non_exhaustive()
    }
}

/// A device behind a transport.
pub struct Core {
    // Wiring.
    device: Arc<dyn VirtioDevice>,
    ram: Arc<GuestRam>,
    shared: Arc<Shared>,
    stations: Vec<Arc<Station>>,
    queues: Vec<QueueHandle>,
    threads: Mutex<Vec<Join>>,
    // State.
    negotiation: Mutex<Negotiation>,
}

impl Core {
    /// A device that was just reset, and is held: its workers sleep until [`Core::release`].
    ///
    /// # Errors
    /// When the host has no more threads or bells.
    pub fn new(device: Arc<dyn VirtioDevice>, parts: Parts<'_>) -> io::Result<Self> {
        let Parts {
            ram,
            interrupt,
            workers,
        } = parts;
        let kind = device.kind();
        let shared = Arc::new(Shared::new(kind.name(), interrupt));
        device.connect(ConfigSignal(Arc::clone(&shared)));
        let specs = device.queues().to_vec();
        let count = specs.iter().map(|spec| spec.worker + 1).max().unwrap_or(0);
        let bells: io::Result<Vec<_>> = (0..count).map(|_| workers.bell()).collect();
        let bells = bells?;
        let handle = |(index, spec): (u16, &super::QueueSpec)| {
            QueueHandle::new(index, shared.clone(), bells[spec.worker].clone())
        };
        let queues: Vec<QueueHandle> = (0..).zip(&specs).map(handle).collect();
        let sizes = specs.iter().map(|spec| spec.max_size.min(ring::MAX_SIZE));
        let negotiation = Negotiation::new(device.features() | feature::ALL, sizes.collect());
        let station = |(worker, bell): (usize, &Arc<dyn Bell>)| {
            let mine = |queue: &&QueueHandle| specs[usize::from(queue.index())].worker == worker;
            Arc::new(Station {
                device: device.clone(),
                shared: shared.clone(),
                bell: bell.clone(),
                queues: queues.iter().filter(mine).cloned().collect(),
                turn: Mutex::new(()),
            })
        };
        let core = Self {
            stations: bells.iter().enumerate().map(station).collect(),
            device,
            ram,
            shared,
            queues,
            threads: Mutex::default(),
            negotiation: Mutex::new(negotiation),
        };
        core.start_workers(workers)?;
        Ok(core)
    }

    fn start_workers(&self, workers: &dyn Workers) -> io::Result<()> {
        for (number, station) in self.stations.iter().enumerate() {
            let name = format!("{}-{number}", self.kind().short_name());
            let station = Arc::clone(station);
            let join = workers.spawn(name, Box::new(move || station.work()))?;
            self.lock_threads().push(join);
        }
        Ok(())
    }

    /// What the device is.
    #[must_use]
    pub fn kind(&self) -> DeviceKind {
        self.device.kind()
    }

    /// How many queues it has.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// Half `word` of the features it offers.
    #[must_use]
    pub fn offered(&self, word: u32) -> u32 {
        half(self.lock().offered, word)
    }

    /// Half `word` of the features the driver accepts.
    #[must_use]
    pub fn accepted(&self, word: u32) -> u32 {
        half(self.lock().accepted, word)
    }

    /// The driver accepts features.
    pub fn accept(&self, word: u32, bits: u32) {
        self.lock().accept(word, bits);
    }

    /// The status register.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status_of(&self.lock())
    }

    fn status_of(&self, negotiation: &Negotiation) -> u8 {
        let mut status = negotiation.status;
        status.set(
            Status::NEEDS_RESET,
            self.shared.broken.load(Ordering::SeqCst),
        );
        status.bits()
    }

    /// Writes the status register. Zero resets the device, and returns when that is done.
    pub fn set_status(&self, value: u8) {
        let mut negotiation = self.lock();
        match negotiation.write_status(value) {
            Step::Nothing => {}
            Step::Reset => self.reset_with(&mut negotiation),
            Step::Activate => self.activate(&negotiation),
        }
    }

    /// Resets the device, as the machine does when it starts over.
    pub fn reset(&self) {
        self.reset_with(&mut self.lock());
    }

    fn reset_with(&self, negotiation: &mut Negotiation) {
        self.shared.driven.store(false, Ordering::SeqCst);
        let turns: Vec<_> = self.stations.iter().map(|s| s.wait_for_turn()).collect();
        self.queues.iter().for_each(QueueHandle::stop);
        self.device.reset();
        self.shared.broken.store(false, Ordering::SeqCst);
        negotiation.reset();
        drop(turns);
    }

    fn activate(&self, negotiation: &Negotiation) {
        let fresh = vec![Position::default(); self.queues.len()];
        match self.start_queues(negotiation, &fresh) {
            Ok(()) => {
                self.activate_device(negotiation);
                self.shared.driven.store(true, Ordering::SeqCst);
            }
            Err((_, fault)) => {
                self.queues.iter().for_each(QueueHandle::stop);
                // The driver believes that it drives the device, so it is told.
                self.shared.driven.store(true, Ordering::SeqCst);
                self.shared.fail(fault);
            }
        }
        self.ring_all();
    }

    fn activate_device(&self, negotiation: &Negotiation) {
        let turns: Vec<_> = self.stations.iter().map(|s| s.wait_for_turn()).collect();
        self.device.activate(&Activation {
            features: negotiation.accepted,
            queues: &self.queues,
        });
        drop(turns);
    }

    fn start_queues(
        &self,
        negotiation: &Negotiation,
        positions: &[Position],
    ) -> Result<(), (usize, super::RingFault)> {
        let Negotiation {
            offered: _,
            accepted,
            status: _,
            max_sizes,
            queues,
        } = negotiation;
        let memory = self.ram.get();
        let event_idx = accepted & feature::EVENT_IDX != 0;
        let configs = queues.iter().zip(max_sizes).zip(positions);
        for (handle, ((config, max_size), position)) in self.queues.iter().zip(configs) {
            if config.ready {
                let how = (event_idx, *position);
                let started = handle.start(config, *max_size, &memory, how);
                started.map_err(|fault| (usize::from(handle.index()), fault))?;
            }
        }
        Ok(())
    }

    /// The setup of a queue.
    #[must_use]
    pub fn queue_config(&self, queue: u16) -> Option<QueueConfig> {
        self.lock().queues.get(usize::from(queue)).copied()
    }

    /// The most descriptors a queue can have; 0 if there is no such queue.
    #[must_use]
    pub fn max_size(&self, queue: u16) -> u16 {
        let negotiation = self.lock();
        let size = negotiation.max_sizes.get(usize::from(queue));
        size.copied().unwrap_or(0)
    }

    /// The driver sets a queue up. Nothing changes once the queue is ready, or the device driven.
    pub fn configure(&self, queue: u16, change: impl FnOnce(&mut QueueConfig)) {
        self.lock().configure(queue, change);
    }

    /// The driver takes a queue back, outside of a reset: no more buffers are taken from it. What was
    /// taken before may still be used.
    pub fn disable(&self, queue: u16) {
        let mut negotiation = self.lock();
        let index = usize::from(queue);
        let parts = (negotiation.queues.get_mut(index), self.queues.get(index));
        if let (Some(config), Some(handle)) = parts {
            let turns: Vec<_> = self.stations.iter().map(|s| s.wait_for_turn()).collect();
            config.ready = false;
            handle.stop();
            drop(turns);
        }
    }

    /// The driver has made buffers available in a queue.
    pub fn kick(&self, queue: u16) {
        if let Some(queue) = self.queues.get(usize::from(queue)) {
            queue.wake();
        }
    }

    /// What a kick of a queue rings.
    #[must_use]
    pub fn bell(&self, queue: u16) -> Option<&Arc<dyn Bell>> {
        self.queues.get(usize::from(queue)).map(QueueHandle::bell)
    }

    /// Reads the device's configuration. What is not there reads as zero.
    pub fn read_config(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        self.device.read_config(offset, into);
    }

    /// Writes the device's configuration.
    pub fn write_config(&self, offset: u64, from: &[u8]) {
        self.device.write_config(offset, from);
    }

    /// Counts changes of the configuration.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.shared.generation.load(Ordering::SeqCst)
    }

    /// Stops all work; it is finished or put back on return, and the state can be saved. No vCPU
    /// runs from before the call until [`Core::release`].
    pub fn hold(&self) {
        self.shared.held.store(true, Ordering::SeqCst);
        self.finish();
    }

    /// Has work that is under way end. A flag says that no other begins.
    fn finish(&self) {
        let turns: Vec<_> = self.stations.iter().map(|s| s.wait_for_turn()).collect();
        self.device.hold();
        self.queues.iter().for_each(QueueHandle::notify);
        drop(turns);
    }

    /// Goes on after [`Core::hold`].
    pub fn release(&self) {
        self.shared.held.store(false, Ordering::SeqCst);
        self.ring_all();
    }

    /// Whether the transport lets the device use guest memory, as it does at first. While it does
    /// not, no work is done; what was under way is finished or put back on return.
    pub fn set_allowed(&self, allowed: bool) {
        if self.shared.barred.swap(!allowed, Ordering::SeqCst) != allowed {
            return;
        }
        if allowed {
            self.ring_all();
        } else {
            self.finish();
        }
    }

    /// Serves the queues of a worker once, on the caller's thread: for those who have no threads.
    #[must_use]
    pub fn turn(&self, worker: usize) -> Next {
        self.stations.get(worker).map_or(Next::End, |s| s.turn())
    }

    /// The state to save. The device is held.
    #[must_use]
    pub fn save(&self) -> VirtioState {
        let negotiation = self.lock();
        let broken = self.shared.broken.load(Ordering::SeqCst);
        let state = |(config, queue): (&QueueConfig, &QueueHandle)| QueueState {
            config: *config,
            // Nobody goes on with a queue before the reset that is needed.
            position: if broken {
                Position::default()
            } else {
                queue.position()
            },
        };
        VirtioState {
            status: self.status_of(&negotiation),
            features: negotiation.accepted,
            generation: self.generation(),
            queues: negotiation
                .queues
                .iter()
                .zip(&self.queues)
                .map(state)
                .collect(),
            device: self.device.save(),
        }
    }

    /// Takes up a saved state. The device is held, and guest memory is there.
    ///
    /// # Errors
    /// When no such device can have it; the device is reset then.
    pub fn restore(&self, saved: &VirtioState) -> Result<(), BadVirtioState> {
        let mut negotiation = self.lock();
        self.reset_with(&mut negotiation);
        let restored = self.take_up(&mut negotiation, saved);
        if restored.is_err() {
            self.reset_with(&mut negotiation);
        }
        restored
    }

    fn take_up(
        &self,
        negotiation: &mut Negotiation,
        saved: &VirtioState,
    ) -> Result<(), BadVirtioState> {
        *negotiation = state::check(saved, negotiation, self.kind())?;
        self.device.restore(&saved.device)?;
        let broken = saved.status & Status::NEEDS_RESET.bits() != 0;
        if negotiation.is_driven() && !broken {
            let positions: Vec<_> = saved.queues.iter().map(|queue| queue.position).collect();
            let started = self.start_queues(negotiation, &positions);
            started.map_err(|(queue, fault)| BadVirtioState::Queue { queue, fault })?;
            self.activate_device(negotiation);
        }
        let shared = &*self.shared;
        shared.generation.store(saved.generation, Ordering::SeqCst);
        shared.broken.store(broken, Ordering::SeqCst);
        let driven = negotiation.is_driven();
        shared.driven.store(driven, Ordering::SeqCst);
        Ok(())
    }

    fn ring_all(&self) {
        self.stations.iter().for_each(|station| station.bell.ring());
    }

    fn lock(&self) -> MutexGuard<'_, Negotiation> {
        self.negotiation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_threads(&self) -> MutexGuard<'_, Vec<Join>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn half(features: u64, word: u32) -> u32 {
    match word {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.ring_all();
        for join in self.lock_threads().drain(..) {
            join();
        }
        // What is under way on other threads ends before the device does.
        self.reset();
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("kind", &self.kind())
            .field("negotiation", &*self.lock())
            .finish_non_exhaustive()
    }
}
