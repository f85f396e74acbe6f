//! Traditional memory balloon (Virtio 1.2, section 5.5): memory that the guest can do without goes
//! back to the host.
//!
//! | part | where |
//! |---|---|
//! | pages that the guest puts into the balloon, takes out, reports or hints | `worker` |
//! | which of the host's pages that makes free | `granules` |
//! | the hints of a round | `hints` |
//! | what the guest says of its memory | [`Stats`] |
//!
//! The host sets a target ([`Balloon::set_target`]); the guest moves towards it as fast as it likes.
//! A page that is given back reads as zeros when the guest touches it again, whatever it was used
//! for: a guest that lies about its pages harms itself only.
//!
//! With free page reporting the guest tells of itself what it does not use, and leaves it alone until
//! it is answered. Where a driver only knows hints, or the host wants memory now,
//! [`Balloon::ask_for_hints`] has it name all that is free. It may take such pages back at any time, so
//! the device only collects them ([`Balloon::hints`]): the machine, which can stop the guest and knows
//! what it has written, gives back what it may and ends the round ([`Balloon::end_hints`]).
//!
//! Drivers are asked to tell before they use pages of the balloon again (`MUST_TELL_HOST`), as Linux
//! does anyway. It matters where the host's pages are larger: one of them goes back once all its parts
//! are in the balloon, and a part that was in use by then would be lost. Of a driver that does not
//! promise it, only what it gives in one piece counts. The bit is offered on every host, so that a saved
//! guest finds the same device on another.
//!
//! Queues follow one another without gaps for the features that the driver accepted, as Linux counts
//! them; a driver that counts as the specification's list does is understood too.
//!
//! Omitted: page poisoning. A driver that poisons free pages does not report them then.

mod granules;
mod hints;
pub mod spec;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod worker;

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aarch64::Gpa;
use aarch64::machine::Span;

pub use hints::{HintsEnd, NoHints, Round};
pub use state::BalloonState;
pub use stats::Stats;

use self::granules::Granules;
use self::hints::Rounds;
use self::spec::{PAGE, config, feature};
use super::{
    Activation, BadVirtioState, Chain, ConfigSignal, DeviceKind, DeviceState, QueueHandle,
    QueueSpec, Served, VirtioDevice,
};
use crate::clock::Monotonic;

/// One worker for all queues: there is no hurry.
const QUEUES: [QueueSpec; 5] = [QueueSpec {
    max_size: 128,
    worker: 0,
}; 5];

/// Takes memory of the guest back for the host.
pub trait Reclaim: Send + Sync {
    /// Gives memory back, in whole pages of the host. vCPUs run.
    ///
    /// # Errors
    /// When the range is not RAM, or the host refuses.
    fn reclaim(&self, gpa: Gpa, bytes: u64) -> io::Result<()>;
}

/// What a balloon offers beyond inflating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BalloonConfig {
    /// Bytes that it is to have from the start on, at most all of RAM.
    pub target: u64,
    /// The guest takes pages back when it runs out of memory.
    pub deflate_on_oom: bool,
    /// The guest reports free pages of itself.
    pub reporting: bool,
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Inflate,
    Deflate,
    Stats,
    Hints,
    Reports,
}

/// The device.
pub struct Balloon {
    // Configuration.
    features: u64,
    ram: Span,
    // Wiring.
    reclaim: Box<dyn Reclaim>,
    clock: Arc<dyn Monotonic>,
    signal: OnceLock<ConfigSignal>,
    // State.
    inner: Mutex<Inner>,
}

struct Inner {
    target: u32,
    actual: u32,
    rounds: Rounds,
    /// What the driver accepted, while there is one.
    accepted: Option<u64>,
    /// The driver tells before it uses pages of the balloon again.
    tells: bool,
    /// The device was restored: what it has to say may have changed while it was saved.
    restored: bool,
    roles: [Option<Role>; QUEUES.len()],
    granules: Granules,
    /// With the time when they came.
    stats: Option<(Stats, Duration)>,
    /// The buffer that the driver gets back when new statistics are wanted.
    stats_buffer: Option<Chain>,
    /// New statistics are wanted.
    stats_wanted: bool,
    stats_queue: Option<QueueHandle>,
    /// A failure of the host was told of.
    warned: bool,
}

impl Balloon {
    /// An empty balloon for a guest with this RAM, on a host that gives memory back in units of
    /// `granule` bytes.
    #[must_use]
    pub fn new(
        (reclaim, clock): (Box<dyn Reclaim>, Arc<dyn Monotonic>),
        ram: Span,
        granule: u64,
        config: BalloonConfig,
    ) -> Self {
        let BalloonConfig {
            target,
            deflate_on_oom,
            reporting,
        } = config;
        let optional = |wanted, bit| if wanted { bit } else { 0 };
        let inner = Inner {
            target: pages_of(target.min(ram.size)),
            actual: 0,
            rounds: Rounds::default(),
            accepted: None,
            tells: false,
            restored: false,
            roles: [None; QUEUES.len()],
            granules: Granules::new(ram, granule),
            stats: None,
            stats_buffer: None,
            stats_wanted: false,
            stats_queue: None,
            warned: false,
        };
        Self {
            features: feature::MUST_TELL_HOST
                | feature::STATS_VQ
                | feature::FREE_PAGE_HINT
                | optional(deflate_on_oom, feature::DEFLATE_ON_OOM)
                | optional(reporting, feature::REPORTING),
            ram,
            reclaim,
            clock,
            signal: OnceLock::new(),
            inner: Mutex::new(inner),
        }
    }

    /// Asks the guest to have so many bytes in the balloon, in whole pages of 4 KiB.
    ///
    /// # Errors
    /// The bytes of the guest's RAM, when that is less.
    pub fn set_target(&self, bytes: u64) -> Result<(), u64> {
        if bytes > self.ram.size {
            return Err(self.ram.size);
        }
        self.lock().target = pages_of(bytes);
        self.announce();
        Ok(())
    }

    /// Bytes that the host wants the balloon to have.
    #[must_use]
    pub fn target(&self) -> u64 {
        u64::from(self.lock().target) * PAGE
    }

    /// Bytes that the guest says are in the balloon.
    #[must_use]
    pub fn actual(&self) -> u64 {
        u64::from(self.lock().actual) * PAGE
    }

    /// Whether the guest has a driver for it that is ready.
    #[must_use]
    pub fn has_driver(&self) -> bool {
        self.lock().accepted.is_some()
    }

    /// Whether the guest can be asked for hints.
    ///
    /// # Errors
    /// Why not.
    pub fn can_hint(&self) -> Result<(), NoHints> {
        self.lock().can_hint()
    }

    /// Asks the guest for all pages that are free at the moment. How that ends comes through `told`,
    /// which is dropped where the host ends the round ([`Balloon::end_hints`]).
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn ask_for_hints(&self, told: Sender<HintsEnd>) -> Result<Round, NoHints> {
        let mut inner = self.lock();
        inner.can_hint()?;
        let round = inner.rounds.ask(told);
        drop(inner);
        self.announce();
        Ok(round)
    }

    /// The pages that the guest named in a round, as runs of pages of 4 KiB counted from the start of
    /// RAM, lowest first; no two touch. `None` when it is not through, or the round is over. It may
    /// have written to them since, or do so until it stands still.
    #[must_use]
    pub fn hints(&self, round: Round) -> Option<Vec<Range<u64>>> {
        self.lock().rounds.complete(round)
    }

    /// Ends a round: the guest uses its pages again, and nothing may be given back any more for what
    /// it named. Nothing happens when the round is over already.
    pub fn end_hints(&self, round: Round) {
        if self.lock().rounds.end(round) {
            self.announce();
        }
    }

    /// What the guest said last of its memory, and how long ago. It is asked to say it anew, for the
    /// next call.
    #[must_use]
    pub fn stats(&self) -> Option<(Stats, Duration)> {
        let mut inner = self.lock();
        inner.stats_wanted = true;
        if let Some(queue) = &inner.stats_queue {
            queue.wake();
        }
        let (stats, came) = inner.stats?;
        Some((stats, self.clock.now().saturating_sub(came)))
    }

    fn announce(&self) {
        if let Some(signal) = self.signal.get() {
            signal.changed();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn can_hint(&self) -> Result<(), NoHints> {
        match self.accepted {
            None => Err(NoHints::NoDriver),
            Some(features) if features & feature::FREE_PAGE_HINT == 0 => Err(NoHints::NotKnown),
            Some(_) if self.rounds.is_under_way() => Err(NoHints::UnderWay),
            Some(_) => Ok(()),
        }
    }
}

/// Whole pages of so many bytes: of RAM, which has fewer than 2^32.
fn pages_of(bytes: u64) -> u32 {
    u32::try_from(bytes / PAGE).unwrap_or(u32::MAX)
}

/// What each queue is for, given the accepted features and which queues the driver uses.
fn roles(features: u64, is_live: impl Fn(usize) -> bool) -> [Option<Role>; QUEUES.len()] {
    let optional = [
        (feature::STATS_VQ, Role::Stats),
        (feature::FREE_PAGE_HINT, Role::Hints),
        (feature::REPORTING, Role::Reports),
    ];
    let mut listed = [Some(Role::Inflate), Some(Role::Deflate), None, None, None];
    let mut packed = listed;
    let mut next = 2;
    for (place, (bit, role)) in (2..).zip(optional) {
        if features & bit != 0 {
            listed[place] = Some(role);
            packed[next] = Some(role);
            next += 1;
        }
    }
    let fits = |roles: &[Option<Role>]| {
        let mut both = (0..).zip(roles);
        both.all(|(queue, role)| role.is_some() == is_live(queue))
    };
    if !fits(&packed) && fits(&listed) {
        listed
    } else {
        packed
    }
}

impl VirtioDevice for Balloon {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Balloon
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queues(&self) -> &[QueueSpec] {
        &QUEUES
    }

    fn connect(&self, config: ConfigSignal) {
        // Called once.
        let _ = self.signal.set(config);
    }

    fn read_config(&self, offset: u64, into: &mut [u8]) {
        let inner = self.lock();
        let words = [inner.target, inner.actual, inner.rounds.shown(), 0];
        drop(inner);
        let bytes = words.into_iter().flat_map(u32::to_le_bytes);
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        into.iter_mut()
            .zip(bytes.skip(skip))
            .for_each(|(to, from)| *to = from);
    }

    fn write_config(&self, offset: u64, from: &[u8]) {
        if offset == config::ACTUAL
            && let Ok(bytes) = from.try_into()
        {
            self.lock().actual = u32::from_le_bytes(bytes);
        }
    }

    fn activate(&self, activation: &Activation<'_>) {
        let Activation { features, queues } = *activation;
        let is_live = |n: usize| queues.get(n).is_some_and(QueueHandle::is_live);
        let mut inner = self.lock();
        inner.accepted = Some(features);
        inner.tells = features & feature::MUST_TELL_HOST != 0;
        inner.roles = roles(features, is_live);
        let place = inner
            .roles
            .iter()
            .position(|role| *role == Some(Role::Stats));
        inner.stats_queue = place.and_then(|place| queues.get(place)).cloned();
    }

    fn serve(&self, queue: &QueueHandle) -> Served {
        self.serve_queue(queue)
    }

    fn reset(&self) {
        let mut inner = self.lock();
        inner.actual = 0;
        inner.rounds.reset();
        inner.accepted = None;
        inner.restored = false;
        inner.roles = [None; QUEUES.len()];
        inner.granules.clear();
        inner.stats = None;
        inner.stats_buffer = None;
        inner.stats_queue = None;
    }

    fn hold(&self) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        if let (Some(chain), Some(queue)) = (inner.stats_buffer.take(), &inner.stats_queue) {
            queue.put_back(chain);
        }
    }

    fn save(&self) -> DeviceState {
        let inner = self.lock();
        DeviceState::Balloon(BalloonState {
            target: inner.target,
            actual: inner.actual,
            hint_id: inner.rounds.last(),
        })
    }

    fn restore(&self, state: &DeviceState) -> Result<(), BadVirtioState> {
        let DeviceState::Balloon(saved) = state else {
            return Err(BadVirtioState::Kind {
                found: state.kind(),
                expected: self.kind(),
            });
        };
        if let Some(reason) = saved.fault(self.ram.size) {
            let device = self.kind();
            return Err(BadVirtioState::Device { device, reason });
        }
        let BalloonState {
            target,
            actual,
            hint_id,
        } = *saved;
        let mut inner = self.lock();
        inner.target = target;
        inner.actual = actual;
        inner.rounds = Rounds::after(hint_id);
        // A target that was set while the rest of the machine was saved is in the state, but the
        // interrupt that tells of it may not be; and a round that was under way is over now.
        inner.restored = true;
        Ok(())
    }
}

impl fmt::Debug for Balloon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balloon")
            .field("target", &self.target())
            .field("actual", &self.actual())
            .finish_non_exhaustive()
    }
}
