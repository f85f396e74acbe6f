//! What the CPUs of one VM share: how they reach each other.
//!
//! A CPU asks the others to forget translations or decoded code by mail, and learns at its next
//! `DSB` that they have. The waiting is the other half of the protocol: a CPU that runs guest code
//! reads its mail between blocks, one that does not will read it before it runs any, and one that
//! runs another address space will read it before it returns to the one concerned. So only those
//! that run guest code, in the address space concerned if there is one, are waited for. Both sides
//! write first (mail or [`Seat::announce_asid`]) and then look at what the other wrote, with
//! sequentially consistent fences between; whoever comes second sees the first.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aarch64::Gpa;

/// Where guest time comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// `CNTVCT_EL0` now.
    fn counter(&self) -> u64;
    /// `CNTFRQ_EL0`, in Hz.
    fn frequency(&self) -> u64;
    /// `CNTVCT_EL0` for a CPU that has retired so many instructions: clocks made of instructions
    /// count them.
    fn counter_at(&self, retired: u64) -> u64 {
        let _ = retired;
        self.counter()
    }
}

/// Something a CPU has to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// All translations.
    Everything,
    /// The translations of an address space.
    Asid(u16),
    /// The translation of a page (virtual page number), in one address space or all.
    Page { page: u64, asid: Option<u16> },
    /// Decoded code of the page that holds this address.
    Code(Gpa),
    /// All decoded code.
    AllCode,
}

/// The most requests that wait in one mailbox; more become [`Mail::overflow`].
const MOST_MAIL: usize = 64;

/// The CPUs of one VM.
#[derive(Debug)]
pub struct Cluster {
    seats: Box<[Arc<Seat>]>,
    /// The seats from here on have never had a CPU.
    used: AtomicUsize,
}

/// What others see of one CPU.
#[derive(Debug, Default)]
pub struct Seat {
    /// Something waits for the CPU; it looks between blocks.
    attention: AtomicBool,
    kicked: AtomicBool,
    /// The event register of WFE.
    event: AtomicBool,
    mail: Mutex<Mail>,
    /// Mails posted and mails acted on.
    posted: AtomicU64,
    handled: AtomicU64,
    /// [`RUNNING`] and the ASID in use, or 0 outside of guest code.
    place: AtomicU32,
    /// The CPU may hold translations of low addresses for every ASID.
    global_low: AtomicBool,
}

const RUNNING: u32 = 1 << 16;

/// Requests that wait for a CPU.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    pub requests: Vec<Request>,
    /// There were more than fit: everything is to be forgotten.
    pub overflow: bool,
    ticket: u64,
}

impl Cluster {
    /// A cluster of `count` CPUs.
    #[must_use]
    pub fn new(count: u16) -> Self {
        let cluster = Self::with_room(count);
        cluster.used.store(count.into(), Ordering::SeqCst);
        cluster
    }

    /// A cluster that CPUs join one by one, up to `most`.
    #[must_use]
    pub fn with_room(most: u16) -> Self {
        Self {
            seats: (0..most).map(|_| Arc::default()).collect(),
            used: AtomicUsize::new(0),
        }
    }

    /// How many CPUs there are, counting those that have left.
    #[must_use]
    pub fn count(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A CPU takes a seat. It knows nothing yet, so it need not hear what was posted before.
    pub(crate) fn seat_taken(&self, index: usize) {
        let used = (index + 1).min(self.seats.len());
        self.used.fetch_max(used, Ordering::SeqCst);
    }

    /// The seat of CPU `index`.
    #[must_use]
    pub fn seat(&self, index: usize) -> Option<&Arc<Seat>> {
        self.seats.get(index)
    }

    /// Makes every CPU forget its translations. When it returns, none of them uses one from before.
    pub fn forget_translations(&self) {
        self.broadcast(self.count(), &[Request::Everything], || {});
    }

    /// Sets every CPU's event register (`SEV`).
    pub(crate) fn send_events(&self) {
        for seat in &self.seats {
            seat.send_event();
        }
    }

    /// Posts requests to all CPUs but `from`, and waits until none of them acts on what it is to
    /// forget any more. `meanwhile` is called while waiting: the others may wait for `from`.
    pub(crate) fn broadcast(&self, from: usize, requests: &[Request], mut meanwhile: impl FnMut()) {
        let private = private_asid(requests);
        let used = &self.seats[..self.used.load(Ordering::SeqCst)];
        let others = || used.iter().enumerate().filter(|(i, _)| *i != from);
        let tickets: Vec<u64> = others().map(|(_, seat)| seat.post(requests)).collect();
        fence(Ordering::SeqCst);
        for ((_, seat), ticket) in others().zip(tickets) {
            let mut spins = 0;
            while seat.may_use(ticket, private) {
                meanwhile();
                spins += 1;
                if spins < 100 {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
            }
        }
    }
}

/// The one address space that all requests concern, if they concern no more.
fn private_asid(requests: &[Request]) -> Option<u16> {
    let asid_of = |request: &Request| match *request {
        Request::Asid(asid) => Some(asid),
        // High addresses are often global, whatever ASID the guest names.
        Request::Page { page, asid } if page >> 43 & 1 == 0 => asid,
        Request::Page { .. } | Request::Everything | Request::Code(_) | Request::AllCode => None,
    };
    let first = asid_of(requests.first()?)?;
    requests
        .iter()
        .all(|r| asid_of(r) == Some(first))
        .then_some(first)
}

impl Seat {
    /// Makes the CPU's current or next run return [`crate::Event::Kicked`].
    pub fn kick(&self) {
        self.kicked.store(true, Ordering::SeqCst);
        self.attention.store(true, Ordering::SeqCst);
    }

    /// Whether the CPU should look up from its work.
    #[inline(always)]
    pub(crate) fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed)
    }

    /// Takes the request for attention.
    pub(crate) fn attend(&self) -> bool {
        self.attention.swap(false, Ordering::SeqCst)
    }

    /// Takes the kick.
    pub(crate) fn take_kick(&self) -> bool {
        self.kicked.swap(false, Ordering::SeqCst)
    }

    /// Sets the event register.
    pub(crate) fn send_event(&self) {
        self.event.store(true, Ordering::Relaxed);
    }

    /// Takes the event register.
    pub(crate) fn take_event(&self) -> bool {
        self.event.swap(false, Ordering::Relaxed)
    }

    /// Publishes that the CPU runs guest code with this ASID. Whether there is mail to read first.
    pub(crate) fn announce_asid(&self, asid: u16) -> bool {
        self.place
            .store(RUNNING | u32::from(asid), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.has_mail()
    }

    /// Whether the CPU has published that it runs guest code.
    pub(crate) fn is_running(&self) -> bool {
        self.place.load(Ordering::Relaxed) != 0
    }

    /// Publishes that the CPU runs no guest code.
    pub(crate) fn announce_absence(&self) {
        self.place.store(0, Ordering::SeqCst);
    }

    /// Publishes whether the CPU may hold global translations of low addresses.
    pub(crate) fn set_global_low(&self, holds: bool) {
        self.global_low.store(holds, Ordering::SeqCst);
    }

    /// Whether requests wait.
    pub(crate) fn has_mail(&self) -> bool {
        self.posted.load(Ordering::SeqCst) != self.handled.load(Ordering::SeqCst)
    }

    /// Takes the requests that wait; `emptied` becomes the next mailbox.
    pub(crate) fn take_mail(&self, emptied: Mail) -> Mail {
        let mut mail = self.lock();
        let taken = std::mem::replace(&mut *mail, emptied);
        mail.ticket = taken.ticket;
        mail.requests.clear();
        mail.overflow = false;
        taken
    }

    /// Publishes that the requests of `mail` are done.
    pub(crate) fn finish(&self, mail: &Mail) {
        self.handled.store(mail.ticket, Ordering::SeqCst);
    }

    fn post(&self, requests: &[Request]) -> u64 {
        let mut mail = self.lock();
        for request in requests {
            if mail.requests.last() == Some(request) {
                continue;
            }
            if mail.requests.len() < MOST_MAIL {
                mail.requests.push(*request);
            } else {
                mail.overflow = true;
            }
        }
        mail.ticket += 1;
        let ticket = mail.ticket;
        self.posted.store(ticket, Ordering::SeqCst);
        drop(mail);
        self.attention.store(true, Ordering::SeqCst);
        ticket
    }

    /// Whether the CPU may still act on what mail `ticket` tells it to forget.
    fn may_use(&self, ticket: u64, private: Option<u16>) -> bool {
        let place = self.place.load(Ordering::SeqCst);
        let concerned = match private {
            Some(asid) => {
                place == RUNNING | u32::from(asid) || self.global_low.load(Ordering::SeqCst)
            }
            None => true,
        };
        place != 0 && concerned && self.handled.load(Ordering::SeqCst) < ticket
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_users_of_an_address_space_are_waited_for() {
        let cluster = Cluster::new(2);
        let other = cluster.seat(1).unwrap();
        let requests = [Request::Asid(7)];
        cluster.broadcast(0, &requests, || {});
        assert!(other.announce_asid(8), "mail waits for the entering CPU");
        cluster.broadcast(0, &requests, || {});
        other.announce_asid(7);
        let mut waited = 0;
        cluster.broadcast(0, &requests, || {
            waited += 1;
            if waited == 3 {
                let mail = other.take_mail(Mail::default());
                assert_eq!(mail.requests, [Request::Asid(7)]);
                other.finish(&mail);
            }
        });
        assert_eq!(waited, 3);
        other.announce_asid(8);
        other.set_global_low(true);
        let mut asked = false;
        cluster.broadcast(0, &requests, || {
            asked = true;
            other.announce_absence();
        });
        assert!(asked, "a global translation holds in every address space");
    }

    #[test]
    fn full_mailboxes_say_so() {
        let seat = Seat::default();
        for page in 0..100 {
            seat.post(&[Request::Page { page, asid: None }; 2]);
        }
        let mail = seat.take_mail(Mail::default());
        assert!(mail.overflow);
        assert_eq!(mail.requests.len(), MOST_MAIL);
        seat.finish(&mail);
        assert!(!seat.has_mail());
        assert!(!seat.take_mail(mail).overflow);
    }
}
