//! The host's clocks as devices see them: the wall clock, and alarms.
//!
//! One thread serves all alarms. It sleeps until the nearest, or without limit if none is armed.
//! While they are held, alarms that are due wait.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use devices::clock::{Alarm, Clock, Monotonic};

use super::thread;

/// The wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn wall(&self) -> Duration {
        // A host that believes to live before 1970 has no time to give.
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Uptime(Instant);

impl Uptime {
    /// No time has passed yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is no value but a moment")]
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Monotonic for Uptime {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// This moment, for time limits.
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

type Ring = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Entry {
    due: Option<Instant>,
    ring: Option<Ring>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    /// Nothing rings.
    held: bool,
    /// An alarm rings at this moment.
    ringing: bool,
    /// The thread is to end.
    over: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.lock();
        while !state.over {
            if state.held {
                state = self.wait(state, None);
                continue;
            }
            let now = Instant::now();
            let is_due = |entry: &&mut Entry| entry.due.is_some_and(|due| due <= now);
            if let Some(entry) = state.entries.iter_mut().find(is_due) {
                entry.due = None;
                let ring = entry.ring.clone();
                state.ringing = true;
                drop(state);
                if let Some(ring) = ring {
                    ring();
                }
                state = self.lock();
                state.ringing = false;
                self.changed.notify_all();
                continue;
            }
            let next = state.entries.iter().filter_map(|e| e.due).min();
            state = self.wait(state, next.map(|due| due.duration_since(now)));
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match limit {
            None => {
                let wait = self.changed.wait(state);
                wait.unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let wait = self.changed.wait_timeout(state, limit);
                wait.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

/// The alarms of a machine. Dropping it ends their thread.
pub struct Alarms(Arc<Shared>);

impl Alarms {
    /// No alarms yet.
    ///
    /// # Errors
    /// When the host cannot start a thread.
    pub fn new() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let served = shared.clone();
        thread::spawn("alarms", move || served.serve())?;
        Ok(Self(shared))
    }

    /// A new alarm, and its setting of what it rings.
    #[must_use]
    pub fn add(&self) -> Arc<HostAlarm> {
        let mut state = self.0.lock();
        state.entries.push(Entry::default());
        Arc::new(HostAlarm {
            shared: self.0.clone(),
            index: state.entries.len() - 1,
        })
    }

    /// What holds all of them.
    #[must_use]
    pub fn holder(&self) -> AlarmHolder {
        AlarmHolder(self.0.clone())
    }
}

/// Holds the alarms of a machine that is to stand still.
pub struct AlarmHolder(Arc<Shared>);

impl AlarmHolder {
    /// Lets no alarm ring any more, and waits for the one that does.
    pub fn hold(&self) {
        let mut state = self.0.lock();
        state.held = true;
        while state.ringing {
            state = self.0.wait(state, None);
        }
    }

    /// Lets alarms ring again; those that are due do so now.
    pub fn release(&self) {
        self.0.lock().held = false;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for AlarmHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlarmHolder").finish_non_exhaustive()
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        // Devices and their alarms hold each other; this lets them go.
        state.entries.iter_mut().for_each(|entry| entry.ring = None);
        state.over = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarms").finish_non_exhaustive()
    }
}

/// One alarm.
pub struct HostAlarm {
    shared: Arc<Shared>,
    index: usize,
}

impl HostAlarm {
    /// Sets what happens when it rings, on the alarms' thread.
    pub fn rings(&self, ring: impl Fn() + Send + Sync + 'static) {
        self.shared.lock().entries[self.index].ring = Some(Arc::new(ring));
    }
}

impl Alarm for HostAlarm {
    fn arm(&self, delay: Option<Duration>) {
        // A delay beyond what the clock can hold never ends.
        let due = delay.and_then(|delay| Instant::now().checked_add(delay));
        self.shared.lock().entries[self.index].due = due;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for HostAlarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostAlarm")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn alarms_ring_in_the_order_of_their_times_and_can_be_taken_back() {
        let alarms = Alarms::new().unwrap();
        let (tell, told) = channel();
        let set: Vec<_> = (0..3)
            .map(|n| {
                let (alarm, tell) = (alarms.add(), tell.clone());
                alarm.rings(move || tell.send(n).unwrap());
                alarm
            })
            .collect();
        set[0].arm(Some(Duration::from_millis(40)));
        set[1].arm(Some(Duration::from_millis(10)));
        set[2].arm(Some(Duration::from_millis(5)));
        set[2].arm(None);
        let wait = Duration::from_secs(10);
        assert_eq!(told.recv_timeout(wait), Ok(1));
        assert_eq!(told.recv_timeout(wait), Ok(0));
        set[2].arm(Some(Duration::MAX));
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn a_held_alarm_rings_when_it_is_released() {
        let alarms = Alarms::new().unwrap();
        let (tell, told) = channel();
        let alarm = alarms.add();
        alarm.rings(move || tell.send(()).unwrap());
        let holder = alarms.holder();
        holder.hold();
        alarm.arm(Some(Duration::from_millis(1)));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err());
        holder.release();
        assert!(told.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
