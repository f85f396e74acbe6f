//! Starts the vCPU threads, and carries the machine through its life.
//!
//! | state     | event          | what happens                                        | next |
//! |-----------|----------------|-----------------------------------------------------|------|
//! | (start)   |                | threads bind their vCPUs; board reset, or the state set that vCPUs go on from; vCPUs go | `Running` or `Paused` |
//! | `Running` | `Pause`        | vCPUs stop at the gate; what they asked for is done  | `Paused` |
//! | `Paused`  | `Resume`       | vCPUs go                                            | `Running` |
//! | `Paused`  | `Visit`        | the visitor sees a machine that stands still        | same |
//! | any       | `Still`        | `Pause` if `Running`; as `Visit`; `Resume` if it was `Running` | same |
//! | `Paused`  | `Stop`         | vCPUs go, then as below                             | `Running` |
//! | `Running` | `Stop`         | the power key is pressed, again and again; then `End` when the time is up | same |
//! | any       | `Reset`        | vCPUs stop; board reset; vCPU 0 starts over, the others are off; they go if `Running` | same |
//! | any       | `End`          | vCPUs and threads end                               | (over) |
//!
//! Only the coordinator opens and closes the gate, so these steps never meet. A vCPU that asked
//! for the reset or the end holds still until it comes, which is before a pause is confirmed: a
//! machine at rest never has a request of its own pending.

mod control;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use aarch64::state::CounterState;

use crate::board::Board;
use crate::fleet::Fleet;
use crate::gate::Epoch;
use crate::host;
use crate::host::clock::now;
use crate::outcome::{Event, Outcome, Visit, WhilePaused};
use crate::stopping::{Step, StopRequest, Stopping};
use crate::vcpu::{self, Context, chain};
use control::lock;
pub use control::{Activity, Condition, Control, Inbox, controls};

/// What a reset asked for by the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReset {
    /// The guest starts again in place.
    Restart,
    /// The machine ends.
    End,
}

/// How a machine comes to life.
pub enum Start {
    /// From power-on: the board's reset says where vCPU 0 starts.
    PowerOn,
    /// From where another machine stood.
    Restored {
        /// What sets the vCPUs.
        set: Set,
        /// Its counter then.
        counter: CounterState,
    },
}

/// What the vCPUs do once they are ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// They go.
    Running,
    /// They stand still until [`Control::resume`].
    Paused,
}

/// Sets the vCPUs of a machine that has not run, or says in a line why they cannot be.
pub type Set = Box<dyn FnOnce(&Standing<'_>) -> Result<(), String> + Send>;

/// A machine that stands still, for a visitor.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Its vCPUs.
    pub fleet: &'a Fleet,
    /// The guest's counter.
    pub counter: CounterState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    /// With the counter that the guest goes on from, unless its time runs on meanwhile.
    Paused(Option<CounterState>),
}

/// Runs a machine from power-on to its end.
pub fn run(fleet: Arc<Fleet>, board: Arc<dyn Board>, on_reset: OnReset, inbox: Inbox) -> Outcome {
    run_from(
        (Start::PowerOn, Begin::Running),
        fleet,
        board,
        on_reset,
        inbox,
    )
}

/// Runs a machine from another beginning to its end.
pub fn run_from(
    (start, begin): (Start, Begin),
    fleet: Arc<Fleet>,
    board: Arc<dyn Board>,
    on_reset: OnReset,
    inbox: Inbox,
) -> Outcome {
    let Inbox {
        sender,
        inbox,
        condition,
    } = inbox;
    let context = Context {
        fleet,
        board,
        events: sender,
    };
    let mut coordinator = Coordinator {
        context,
        inbox,
        condition,
        later: VecDeque::new(),
        stopping: None,
        threads: Vec::new(),
        on_reset,
        life: Life::Paused(None),
        epoch: Epoch::default(),
    };
    let Err(outcome) = coordinator.live(start, begin);
    coordinator.show(Activity::Over);
    coordinator.context.fleet.dismiss();
    for thread in coordinator.threads.drain(..) {
        // A thread that panicked has said so already.
        let _ = thread.join();
    }
    outcome
}

struct Coordinator {
    context: Context,
    inbox: Receiver<Event>,
    /// What others see of this.
    condition: Arc<Mutex<Condition>>,
    /// Requests that arrived before what they have to wait for.
    later: VecDeque<Event>,
    stopping: Option<Stopping>,
    threads: Vec<JoinHandle<()>>,
    on_reset: OnReset,
    life: Life,
    epoch: Epoch,
}

/// Nothing: the machine lives until something ends it.
enum Never {}

/// Each step ends the machine with an `Err`, or lets it go on.
impl Coordinator {
    fn live(&mut self, start: Start, begin: Begin) -> Result<Never, Outcome> {
        self.start_threads()?;
        self.context.fleet.gate().wait_for_all();
        self.context.board.set_stopped(true);
        let counter = match start {
            Start::PowerOn => {
                self.start_over()?;
                self.context.fleet.vm().counter()
            }
            Start::Restored { set, counter } => {
                self.take_up(set, counter)?;
                counter
            }
        };
        self.life = Life::Paused(Some(counter));
        if begin == Begin::Running {
            self.resume()?;
        }
        loop {
            self.show_life();
            let event = match self.later.pop_front() {
                Some(event) => Some(event),
                None => self.next_event()?,
            };
            if let Some(event) = event {
                self.handle(event)?;
            }
        }
    }

    /// The next event, or `None` when it is time to look after a machine that is being stopped.
    fn next_event(&mut self) -> Result<Option<Event>, Outcome> {
        // Errors cannot be: this coordinator holds a sender itself.
        let Some(wait) = self.go_on_stopping()? else {
            let event = self.inbox.recv().map_err(|RecvError| Outcome::Left)?;
            return Ok(Some(event));
        };
        match self.inbox.recv_timeout(wait) {
            Ok(event) => Ok(Some(event)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Outcome::Left),
        }
    }

    /// Does what is due to stop the machine, and says how long nothing is.
    fn go_on_stopping(&mut self) -> Result<Option<Duration>, Outcome> {
        let Some(stopping) = &mut self.stopping else {
            return Ok(None);
        };
        loop {
            match stopping.step(now()) {
                Step::Wait(time) => return Ok(Some(time)),
                Step::Cut(outcome) => {
                    tracing::warn!("the guest did not shut down in time; its power is cut");
                    return Err(outcome);
                }
                // A machine that was paused since then stands still.
                Step::Press if self.life == Life::Running => self.context.board.press_power_key(),
                Step::Press => {}
            }
        }
    }

    fn stop(&mut self, request: StopRequest) -> Result<(), Outcome> {
        match &mut self.stopping {
            Some(stopping) => stopping.ask_again(request, now()),
            None => {
                tracing::info!("the guest is asked to shut down");
                self.stopping = Some(Stopping::new(request, now()));
            }
        }
        self.resume()
    }

    /// Lets others see whether the vCPUs run.
    fn show_life(&self) {
        self.show(match self.life {
            Life::Running => Activity::Running,
            Life::Paused(_) => Activity::Paused,
        });
    }

    /// Lets others see how the machine does.
    fn show(&self, activity: Activity) {
        *lock(&self.condition) = Condition {
            activity,
            stopping: self.stopping.is_some(),
        };
    }

    fn handle(&mut self, event: Event) -> Result<(), Outcome> {
        match event {
            Event::End(outcome) => Err(outcome),
            Event::Reset(asked_in) => self.reset(asked_in),
            Event::Pause(time, stopped) => {
                self.pause(time)?;
                // Who asked may look at once.
                self.show_life();
                // Who asked may have gone away meanwhile.
                let _ = stopped.send(());
                Ok(())
            }
            Event::Resume => self.resume(),
            Event::Stop(request) => self.stop(request),
            Event::Visit(visit) => {
                self.receive(visit);
                Ok(())
            }
            Event::Still(visit) => self.receive_still(visit),
        }
    }

    fn pause(&mut self, time: WhilePaused) -> Result<(), Outcome> {
        if self.life != Life::Running {
            return Ok(());
        }
        let Context {
            fleet,
            board,
            events: _,
        } = &self.context;
        fleet.stop();
        board.set_stopped(true);
        self.life = Life::Paused(match time {
            WhilePaused::TimeStands => Some(fleet.vm().counter()),
            WhilePaused::TimeRuns => None,
        });
        // What vCPUs asked for before they stopped is here by now.
        let arrived: Vec<Event> = self.inbox.try_iter().collect();
        for event in arrived {
            match event {
                Event::End(_) | Event::Reset(_) => self.handle(event)?,
                Event::Pause(..)
                | Event::Resume
                | Event::Stop(_)
                | Event::Visit(_)
                | Event::Still(_) => self.later.push_back(event),
            }
        }
        Ok(())
    }

    fn resume(&mut self) -> Result<(), Outcome> {
        let Life::Paused(counter) = self.life else {
            return Ok(());
        };
        let Context {
            fleet,
            board,
            events: _,
        } = &self.context;
        if let Some(counter) = counter {
            let set = fleet.vm().set_counter(&counter);
            set.map_err(|error| Outcome::HostFailed(chain(&error)))?;
        }
        board.set_stopped(false);
        self.life = Life::Running;
        fleet.go();
        Ok(())
    }

    /// Lets a visitor in, if the machine stands still. One that is sent away is dropped.
    fn receive(&self, visit: Visit) {
        let Life::Paused(counter) = self.life else {
            return;
        };
        let fleet = &*self.context.fleet;
        let counter = counter.unwrap_or_else(|| fleet.vm().counter());
        visit.run(&Standing { fleet, counter });
    }

    /// Lets a visitor in, whether or not the machine stands still.
    fn receive_still(&mut self, visit: Visit) -> Result<(), Outcome> {
        let runs = self.life == Life::Running;
        self.pause(WhilePaused::TimeRuns)?;
        self.receive(visit);
        if runs { self.resume() } else { Ok(()) }
    }

    fn reset(&mut self, asked_in: Epoch) -> Result<(), Outcome> {
        if asked_in != self.epoch {
            return Ok(());
        }
        if self.on_reset == OnReset::End {
            return Err(Outcome::ResetRefused);
        }
        tracing::info!("the guest restarts");
        self.context.fleet.stop();
        self.start_over()?;
        if self.life == Life::Running {
            self.context.fleet.go();
        }
        Ok(())
    }

    /// Takes up where another machine stood.
    fn take_up(&self, set: Set, counter: CounterState) -> Result<(), Outcome> {
        let fleet = &*self.context.fleet;
        set(&Standing { fleet, counter }).map_err(Outcome::NotRestored)?;
        fleet.vm().forget_code();
        Ok(())
    }

    fn start_threads(&mut self) -> Result<(), Outcome> {
        for id in self.context.fleet.ids() {
            let context = self.context.clone();
            let thread = host::thread::spawn(id.to_string(), move || {
                vcpu::run_thread(&context, id);
            });
            match thread {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    return Err(Outcome::HostFailed(format!(
                        "cannot start a thread: {error}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn start_over(&mut self) -> Result<(), Outcome> {
        let Context {
            fleet,
            board,
            events: _,
        } = &self.context;
        let entry = board.reset().map_err(Outcome::HostFailed)?;
        fleet.vm().forget_code();
        self.epoch = fleet.reset(entry);
        Ok(())
    }
}

impl std::fmt::Debug for Start {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PowerOn => "PowerOn",
            Self::Restored { .. } => "Restored",
        })
    }
}
