//! What the process has of the framework: one Mac, one VM at most, the objects and the vCPUs.
//!
//! The world is locked for everything but running vCPUs and their registers, which belong to their
//! threads ([`crate::engine`]). Threads reach the vCPUs of others through [`Seat`]s.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory::Layout;
use softcpu::cluster::Cluster;

use crate::objects::Objects;
use crate::profile::Profile;
use crate::stage2::Stage2;

/// vCPUs of a VM: the framework keeps them in the bits of one word.
pub(crate) const MOST_VCPUS: usize = 64;

/// The whole.
#[derive(Debug)]
pub(crate) struct World {
    pub profile: Profile,
    pub vm: Option<Vm>,
    pub objects: Objects,
}

/// The VM.
#[derive(Debug)]
pub(crate) struct Vm {
    pub address_bits: u32,
    pub stage2: Stage2,
    pub vcpus: [Option<Arc<Seat>>; MOST_VCPUS],
    pub shared: Arc<Shared>,
}

/// What a VM's vCPUs look at while they run.
#[derive(Debug)]
pub(crate) struct Shared {
    pub cluster: Arc<Cluster>,
    /// Guest memory.
    memory: Mutex<Memory>,
    /// Counts changes that vCPUs have to take notice of.
    version: AtomicU64,
}

/// Guest memory, and which of its changes concern decoded code.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub layout: Arc<Layout>,
    /// Counts changes of what may be executed.
    pub code: u64,
    pub version: u64,
}

/// What other threads see of a vCPU.
#[derive(Debug)]
pub(crate) struct Seat {
    pub id: u64,
    /// Somebody asked it to leave the guest.
    pub cancelled: AtomicBool,
    /// It may be using guest memory.
    in_guest: AtomicBool,
    /// The version of memory that it knows.
    seen: AtomicU64,
    /// Affinity in `MPIDR_EL1` as of its last run.
    pub affinity: AtomicU64,
    softcpu: Option<Arc<softcpu::cluster::Seat>>,
}

/// No vCPU has this affinity.
pub(crate) const NO_AFFINITY: u64 = u64::MAX;

impl Vm {
    pub fn new(address_bits: u32) -> Self {
        let memory = Memory {
            layout: Arc::default(),
            code: 0,
            version: 0,
        };
        let shared = Shared {
            cluster: Arc::new(Cluster::with_room(MOST_VCPUS as u16)),
            memory: Mutex::new(memory),
            version: AtomicU64::new(0),
        };
        Self {
            address_bits,
            stage2: Stage2::default(),
            vcpus: [const { None }; MOST_VCPUS],
            shared: Arc::new(shared),
        }
    }

    /// A vCPU's seat.
    pub fn seat(&self, vcpu: u64) -> Option<&Arc<Seat>> {
        self.vcpus.get(usize::try_from(vcpu).ok()?)?.as_ref()
    }

    pub fn seats(&self) -> impl Iterator<Item = &Arc<Seat>> {
        self.vcpus.iter().flatten()
    }

    /// Tells the vCPUs that the map changed, and waits until none uses what was there before.
    pub fn publish_layout(&self) {
        let layout = self.stage2.layout();
        self.publish(|memory| {
            memory.layout = layout;
            memory.code += 1;
        });
    }

    /// As [`Self::publish_layout`], for rights that were taken away.
    pub fn publish_rights(&self, of_code: bool) {
        self.publish(|memory| memory.code += u64::from(of_code));
    }

    fn publish(&self, change: impl FnOnce(&mut Memory)) {
        let version = {
            let mut memory = self.shared.lock();
            change(&mut memory);
            memory.version += 1;
            self.shared.version.store(memory.version, Ordering::SeqCst);
            memory.version
        };
        fence(Ordering::SeqCst);
        for seat in self.seats() {
            while seat.may_use(version) {
                seat.nudge();
                std::thread::yield_now();
            }
        }
    }
}

impl Shared {
    /// Guest memory, if it is not what `seat` knows.
    pub fn news(&self, seat: &Seat) -> Option<Memory> {
        let version = self.version.load(Ordering::SeqCst);
        (version != seat.seen.load(Ordering::Relaxed)).then(|| self.memory())
    }

    /// Guest memory.
    pub fn memory(&self) -> Memory {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub fn new(id: u64, shared: &Shared) -> Self {
        Self {
            id,
            cancelled: AtomicBool::new(false),
            in_guest: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            affinity: AtomicU64::new(NO_AFFINITY),
            softcpu: shared.cluster.seat(id as usize).cloned(),
        }
    }

    /// `hv_vcpus_exit`: sticks until a run reports it.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.nudge();
    }

    /// Makes a vCPU that runs the guest look up.
    fn nudge(&self) {
        if let Some(seat) = &self.softcpu {
            seat.kick();
        }
    }

    /// The vCPU is about to use guest memory, and will ask [`Shared::news`] first.
    pub fn enter(&self) {
        self.in_guest.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The vCPU does not use guest memory any more.
    pub fn leave(&self) {
        self.in_guest.store(false, Ordering::SeqCst);
    }

    /// The vCPU took notice.
    pub fn saw(&self, version: u64) {
        self.seen.store(version, Ordering::SeqCst);
    }

    fn may_use(&self, version: u64) -> bool {
        self.in_guest.load(Ordering::SeqCst) && self.seen.load(Ordering::SeqCst) < version
    }
}

static WORLD: Mutex<World> = Mutex::new(World {
    profile: Profile::M1_13,
    vm: None,
    objects: Objects::NONE,
});

/// The world, for as long as the guard lives.
pub(crate) fn world() -> MutexGuard<'static, World> {
    WORLD.lock().unwrap_or_else(PoisonError::into_inner)
}
