//! Bells and threads for devices' workers.

#[cfg_attr(target_os = "linux", path = "event.rs")]
#[cfg_attr(not(target_os = "linux"), path = "condvar.rs")]
mod host_bell;

use std::io;
use std::sync::Arc;

use devices::virtio::host::{Bell, Join, Workers};

use super::thread;
use host_bell::HostBell;

/// The host's threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostWorkers;

impl Workers for HostWorkers {
    fn bell(&self) -> io::Result<Arc<dyn Bell>> {
        Ok(Arc::new(HostBell::new()?))
    }

    fn spawn(&self, name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<Join> {
        let thread = thread::spawn(name, work)?;
        Ok(Box::new(move || {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_ring_is_heard_once_whenever_it_came() {
        let bell = HostWorkers.bell().unwrap();
        bell.ring();
        bell.ring();
        bell.wait(None);
        let before = Instant::now();
        bell.wait(Some(Duration::from_millis(30)));
        assert!(
            before.elapsed() >= Duration::from_millis(30),
            "it is silent"
        );
        let rung = bell.clone();
        let ring = Box::new(move || rung.ring());
        let join = HostWorkers.spawn("ringer".into(), ring).unwrap();
        bell.wait(Some(Duration::from_secs(60)));
        assert!(before.elapsed() < Duration::from_secs(50));
        join();
    }
}
