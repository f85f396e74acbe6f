//! Starts the vCPU threads, and carries the machine through its life.
//!
//! | state     | event          | what happens                                        | next |
//! |-----------|----------------|-----------------------------------------------------|------|
//! | (start)   |                | threads bind their vCPUs; board reset; vCPUs go     | `Running` |
//! | `Running` | `Pause`        | vCPUs stop at the gate                              | `Paused` |
//! | `Paused`  | `Resume`       | vCPUs go                                            | `Running` |
//! | any       | `Reset`        | vCPUs stop; board reset; vCPU 0 starts over, the others are off; they go if `Running` | same |
//! | any       | `End`          | vCPUs and threads end                               | (over) |
//!
//! Only the coordinator opens and closes the gate, so these steps never meet. A vCPU that asked
//! for the reset or the end holds still until it comes.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, channel};
use std::thread::JoinHandle;

use crate::board::Board;
use crate::fleet::Fleet;
use crate::gate::Epoch;
use crate::host;
use crate::outcome::{Event, Outcome};
use crate::vcpu::{self, Context};

/// What a reset asked for by the guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReset {
    /// The guest starts again in place.
    Restart,
    /// The machine ends.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Paused,
}

/// A machine's controls, for any thread.
#[derive(Clone, Debug)]
pub struct Control(Sender<Event>);

impl Control {
    /// Ends the machine. False when it has ended already.
    pub fn end(&self, outcome: Outcome) -> bool {
        self.0.send(Event::End(outcome)).is_ok()
    }

    /// Stops every vCPU; returns when they stand. False when the machine is over.
    #[must_use]
    pub fn pause(&self) -> bool {
        let (stopped, wait) = channel();
        self.0.send(Event::Pause(stopped)).is_ok() && wait.recv().is_ok()
    }

    /// Lets the vCPUs of a paused machine go on.
    pub fn resume(&self) {
        let _ = self.0.send(Event::Resume);
    }
}

/// The controls of a machine that is yet to be made, and where their requests arrive.
#[must_use]
pub fn controls() -> (Control, Inbox) {
    let (sender, inbox) = channel();
    (Control(sender.clone()), Inbox { sender, inbox })
}

/// Requests to a machine's coordinator.
#[derive(Debug)]
pub struct Inbox {
    sender: Sender<Event>,
    inbox: Receiver<Event>,
}

/// Runs a machine from power-on to its end.
pub fn run(fleet: Arc<Fleet>, board: Arc<dyn Board>, on_reset: OnReset, inbox: Inbox) -> Outcome {
    let Inbox { sender, inbox } = inbox;
    let context = Context {
        fleet,
        board,
        events: sender,
    };
    let mut coordinator = Coordinator {
        context,
        inbox,
        threads: Vec::new(),
        on_reset,
    };
    let outcome = coordinator.live().unwrap_or_else(|outcome| outcome);
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
    threads: Vec<JoinHandle<()>>,
    on_reset: OnReset,
}

impl Coordinator {
    /// `Err` and `Ok` both hold how it ended; `Err` is for what went wrong between two events.
    fn live(&mut self) -> Result<Outcome, Outcome> {
        self.start_threads()?;
        let fleet = self.context.fleet.clone();
        fleet.gate().wait_for_all();
        let mut epoch = Epoch::default();
        let mut life = Life::Running;
        self.start_over(&mut epoch)?;
        fleet.go();
        loop {
            let event = self.inbox.recv();
            match event {
                Ok(Event::End(outcome)) => return Ok(outcome),
                // Cannot be: this coordinator holds a sender itself.
                Err(RecvError) => return Err(Outcome::Left),
                Ok(Event::Pause(stopped)) => {
                    fleet.stop();
                    life = Life::Paused;
                    // Who asked may have gone away meanwhile.
                    let _ = stopped.send(());
                }
                Ok(Event::Resume) => {
                    life = Life::Running;
                    fleet.go();
                }
                Ok(Event::Reset(asked_in)) if asked_in != epoch => {}
                Ok(Event::Reset(_)) if self.on_reset == OnReset::End => {
                    return Ok(Outcome::ResetRefused);
                }
                Ok(Event::Reset(_)) => {
                    tracing::info!("the guest restarts");
                    fleet.stop();
                    self.start_over(&mut epoch)?;
                    if life == Life::Running {
                        fleet.go();
                    }
                }
            }
        }
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

    fn start_over(&self, epoch: &mut Epoch) -> Result<(), Outcome> {
        let Context {
            fleet,
            board,
            events: _,
        } = &self.context;
        let entry = board.reset().map_err(Outcome::HostFailed)?;
        fleet.vm().forget_code();
        *epoch = fleet.reset(entry);
        Ok(())
    }
}
