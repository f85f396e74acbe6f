//! The physical timer's alarm clock.
//!
//! Without the framework's GIC there is no physical timer (`CNTP_*`): the guest's accesses to it trap,
//! and what is left to do is to get a vCPU out of the guest when its compare value is reached. A
//! thread does that, from the first time that a guest uses the timer; most guests never do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aarch64::VcpuId;

/// What to do when the time has come.
pub type Ring = dyn Fn(VcpuId) + Send + Sync;

/// The alarms of a VM's vCPUs, in ticks of its host.
#[derive(Debug, Default)]
pub struct Alarms {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// When to ring, for whom.
    due: Vec<(u64, VcpuId)>,
    has_thread: bool,
    ended: bool,
}

/// How the alarms tell time.
pub trait Ticks: Send + Sync + 'static {
    /// Ticks now.
    fn now(&self) -> u64;
    /// How long so many ticks are.
    fn duration(&self, ticks: u64) -> Duration;
}

impl Alarms {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets or clears the alarm of a vCPU.
    ///
    /// # Errors
    /// When the host has no thread to spare.
    pub fn set(
        self: &Arc<Self>,
        id: VcpuId,
        at: Option<u64>,
        ticks: impl Ticks,
        ring: impl Fn(VcpuId) + Send + Sync + 'static,
    ) -> std::io::Result<()> {
        let mut state = self.state();
        state.due.retain(|(_, other)| *other != id);
        state.due.extend(at.map(|at| (at, id)));
        if at.is_some() && !state.has_thread {
            let alarms = Arc::clone(self);
            std::thread::Builder::new()
                .name("hvf alarms".into())
                .spawn(move || alarms.watch(&ticks, &ring))?;
            state.has_thread = true;
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Ends the thread, if there is one.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    fn watch(&self, ticks: &impl Ticks, ring: &Ring) {
        let mut state = self.state();
        while !state.ended {
            let now = ticks.now();
            let (ringing, waiting): (Vec<_>, Vec<_>) =
                state.due.drain(..).partition(|(at, _)| *at <= now);
            state.due = waiting;
            if !ringing.is_empty() {
                drop(state);
                for (_, id) in ringing {
                    ring(id);
                }
                state = self.state();
                continue;
            }
            let next = state.due.iter().map(|(at, _)| *at).min();
            state = match next {
                Some(at) => {
                    let wait = ticks.duration(at.saturating_sub(now));
                    let woken = self.changed.wait_timeout(state, wait);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let woken = self.changed.wait(state);
                    woken.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    #[derive(Clone, Copy)]
    struct Millis(Instant);

    impl Ticks for Millis {
        fn now(&self) -> u64 {
            self.0.elapsed().as_millis() as u64
        }
        fn duration(&self, ticks: u64) -> Duration {
            Duration::from_millis(ticks)
        }
    }

    #[test]
    fn alarms_ring_in_order_once_and_not_when_cleared() {
        let alarms = Arc::new(Alarms::default());
        let clock = Millis(Instant::now());
        let (sender, rung) = channel();
        let set = |id, at| {
            let sender = sender.clone();
            let ring = move |id| sender.send(id).unwrap();
            alarms.set(VcpuId(id), at, clock, ring).unwrap();
        };
        set(0, Some(60));
        set(1, Some(20));
        set(2, Some(30));
        set(2, None);
        assert_eq!(rung.recv(), Ok(VcpuId(1)));
        assert_eq!(rung.recv(), Ok(VcpuId(0)));
        assert!(clock.now() >= 60);
        alarms.end();
        let silence = rung.recv_timeout(Duration::from_millis(30));
        assert!(silence.is_err(), "each rings once");
    }
}
