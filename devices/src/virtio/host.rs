//! What the machine gives a virtio device: guest memory, threads, bells and interrupts.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aarch64::{Gpa, Size};
use memory::Layout;

/// Guest RAM as it is at the moment. The machine replaces it when it starts over; before that it
/// resets the devices. A device in use holds the layout that was there when it was activated.
#[derive(Debug, Default)]
pub struct GuestRam(RwLock<Arc<Layout>>);

impl GuestRam {
    /// What is there now.
    #[must_use]
    pub fn get(&self) -> Arc<Layout> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it.
    pub fn set(&self, layout: Arc<Layout>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = layout;
    }
}

/// What a worker sleeps by. Any thread rings it.
pub trait Bell: Send + Sync {
    /// Wakes the worker, now or when it next waits. Rings that meet an awake worker are one.
    fn ring(&self);
    /// Sleeps until somebody has rung since the last return by a ring, or for as long as given.
    fn wait(&self, most: Option<Duration>);
    /// The event that rings it when it is signalled, if the host has such (`eventfd`): for its kernel
    /// to ring.
    fn event(&self) -> Option<BorrowedFd<'_>>;
}

/// Waits for a thread's end.
pub type Join = Box<dyn FnOnce() + Send>;

/// Where workers come from.
pub trait Workers: Send + Sync {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// When the host has no more.
    fn bell(&self) -> io::Result<Arc<dyn Bell>>;
    /// Starts a thread.
    ///
    /// # Errors
    /// When the host has no room for one.
    fn spawn(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<Join>;
}

/// How a device gets the guest's attention. Transports implement it. Any thread calls it, also
/// with a device's locks held, so it must not call back.
pub trait Interrupt: Send + Sync {
    /// Buffers of this queue were used.
    fn used(&self, queue: u16);
    /// The configuration changed, or the device needs a reset.
    fn config_changed(&self);
}

/// A guest's store that is bound to a bell; dropping it unbinds it.
pub trait Binding: Send + Sync {}

/// The accelerator's way to ring a bell by a store of the guest without an exit, if it has one.
/// A store that is not bound is an exit, and rings the same bell.
pub trait Doorbells: Send + Sync {
    /// Makes stores to `at` ring `bell`: of that size, and of that value if one is given.
    ///
    /// # Errors
    /// When the host refuses, or the bell has no event.
    fn bind(
        &self,
        at: Gpa,
        size: Size,
        value: Option<u64>,
        bell: &dyn Bell,
    ) -> io::Result<Box<dyn Binding>>;
}

/// Random numbers for guests.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// When the host has none.
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()>;
}

impl fmt::Debug for dyn Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bell")
    }
}
