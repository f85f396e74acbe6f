//! A machine's controls: what other threads ask of its coordinator.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Standing;
use crate::outcome::{Event, Outcome, Visit, WhilePaused};
use crate::stopping::StopRequest;

/// How a machine does, for those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Condition {
    /// What its vCPUs do.
    pub activity: Activity,
    /// Whether it was asked to shut down.
    pub stopping: bool,
}

/// What the vCPUs of a machine do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activity {
    /// They are being made ready.
    #[default]
    Starting,
    /// They run.
    Running,
    /// They stand still.
    Paused,
    /// They are no more.
    Over,
}

/// A machine's controls, for any thread.
#[derive(Clone, Debug)]
pub struct Control {
    events: Sender<Event>,
    condition: Arc<Mutex<Condition>>,
}

impl Control {
    /// Ends the machine. False when it has ended already.
    pub fn end(&self, outcome: Outcome) -> bool {
        self.events.send(Event::End(outcome)).is_ok()
    }

    /// Asks the guest to shut down, as its power key does. One that is paused goes on for that.
    /// When the time is up, the machine ends nevertheless, with `or_else`. False when it has ended
    /// already.
    pub fn stop(&self, within: Duration, or_else: Outcome) -> bool {
        let request = StopRequest { within, or_else };
        self.events.send(Event::Stop(request)).is_ok()
    }

    /// How the machine does. What was asked for just now may not show yet.
    #[must_use]
    pub fn condition(&self) -> Condition {
        *lock(&self.condition)
    }

    /// Stops every vCPU, and guest time with them; returns when they stand. False when the machine
    /// is over.
    #[must_use]
    pub fn pause(&self) -> bool {
        self.pause_with(WhilePaused::default())
    }

    /// As [`Control::pause`], with a choice of what becomes of guest time.
    #[must_use]
    pub fn pause_with(&self, time: WhilePaused) -> bool {
        let (stopped, wait) = channel();
        self.events.send(Event::Pause(time, stopped)).is_ok() && wait.recv().is_ok()
    }

    /// Lets the vCPUs of a paused machine go on.
    pub fn resume(&self) {
        let _ = self.events.send(Event::Resume);
    }

    /// Calls `visitor` while the machine stands still, on the coordinator's thread, and returns
    /// what it does. `None` when the machine is not paused, or over.
    pub fn visit<R: Send + 'static>(
        &self,
        visitor: impl FnOnce(&Standing<'_>) -> R + Send + 'static,
    ) -> Option<R> {
        self.send_visitor(Event::Visit, visitor)
    }

    /// As [`Control::visit`], but a machine that runs is stopped for the visit, and goes on after it;
    /// its guest's time runs on meanwhile. `None` when the machine is over.
    pub fn while_still<R: Send + 'static>(
        &self,
        visitor: impl FnOnce(&Standing<'_>) -> R + Send + 'static,
    ) -> Option<R> {
        self.send_visitor(Event::Still, visitor)
    }

    fn send_visitor<R: Send + 'static>(
        &self,
        event: impl FnOnce(Visit) -> Event,
        visitor: impl FnOnce(&Standing<'_>) -> R + Send + 'static,
    ) -> Option<R> {
        let (result, wait) = channel();
        // Who waits for it is this very call.
        let visit = Visit::new(move |standing| drop(result.send(visitor(standing))));
        self.events.send(event(visit)).ok()?;
        wait.recv().ok()
    }
}

/// The controls of a machine that is yet to be made, and where their requests arrive.
#[must_use]
pub fn controls() -> (Control, Inbox) {
    let (sender, inbox) = channel();
    let condition = Arc::default();
    let control = Control {
        events: sender.clone(),
        condition: Arc::clone(&condition),
    };
    let inbox = Inbox {
        sender,
        inbox,
        condition,
    };
    (control, inbox)
}

pub(super) fn lock(mutex: &Mutex<Condition>) -> MutexGuard<'_, Condition> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests to a machine's coordinator.
#[derive(Debug)]
pub struct Inbox {
    pub(super) sender: Sender<Event>,
    pub(super) inbox: Receiver<Event>,
    pub(super) condition: Arc<Mutex<Condition>>,
}
