//! Time as devices see it: given to them, so that a deterministic run and a test can make it.

use std::fmt;
use std::time::Duration;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Time since 1970-01-01 00:00:00 UTC. It follows the host's wall clock and so may step.
    fn wall(&self) -> Duration;
}

/// Time that passes evenly and never goes back, from some moment on.
pub trait Monotonic: Send + Sync {
    /// Time since that moment.
    fn now(&self) -> Duration;
}

/// A one-shot wake-up from the event loop, one for each device that asks for one.
///
/// The device's owner wires it up: when the delay is over it calls the device's `on_alarm`, which
/// must cope with being called early, late or for nothing. `arm` is called with the device's lock
/// held, so it must not call `on_alarm` itself.
pub trait Alarm: Send + Sync {
    /// Asks for a wake-up after `delay`, in place of any asked for before; `None` for none.
    fn arm(&self, delay: Option<Duration>);
}

/// An alarm that never rings, for a machine without an event loop.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAlarm;

impl Alarm for NoAlarm {
    fn arm(&self, _: Option<Duration>) {}
}

impl fmt::Debug for dyn Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.wall())
    }
}

impl fmt::Debug for dyn Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}
#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A clock that stands still until set, and the alarm last armed.
    #[derive(Default)]
    pub(crate) struct Still(Mutex<(Duration, Option<Duration>)>);

    impl Still {
        pub(crate) fn at(secs: u64) -> Arc<Self> {
            Arc::new(Self(Mutex::new((Duration::from_secs(secs), None))))
        }
        pub(crate) fn set(&self, now: Duration) {
            self.0.lock().unwrap().0 = now;
        }
        pub(crate) fn armed(&self) -> Option<Duration> {
            self.0.lock().unwrap().1
        }
    }

    impl Clock for Still {
        fn wall(&self) -> Duration {
            self.0.lock().unwrap().0
        }
    }

    impl Alarm for Still {
        fn arm(&self, delay: Option<Duration>) {
            self.0.lock().unwrap().1 = delay;
        }
    }
}
