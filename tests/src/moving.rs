//! Machines in this process, so that a test can save one and go on in another.
//!
//! A [`Place`] is where machines are made: an accelerator, and what they start from. A [`Running`]
//! machine is paused, saved, and handed over to the next one with [`Running::move_to`], which checks
//! on the way that the state comes back as it went in.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hv_backend::api::Hypervisor;
use hv_backend::select::{Accel, open};
use vmm::config::{MachineConfig, RawConfig};
use vmm::coordinator::Control;
use vmm::machine::{Machine, Saver, StartError};
use vmm::outcome::Outcome;
use vmm::state::Saved;

use crate::bare::accelerator;
use crate::program::Scratch;
use crate::simulated;

/// How long a machine may take for what a test waits for.
const LIMIT: Duration = Duration::from_secs(300);

/// The accelerators that work here, a simulated Mac's too if the environment names one.
///
/// # Panics
/// When it names one that there is not, or the accelerator that `ARMLET_ACCEL` names does not work:
/// whoever names one wants it tested.
#[must_use]
pub fn accelerators() -> Vec<Accel> {
    let named = accelerator().name();
    let works = |accel: &Accel| open(*accel).is_ok();
    let found: Vec<Accel> = Accel::BY_PREFERENCE.into_iter().filter(works).collect();
    assert!(
        found.iter().any(|accel| accel.name() == named),
        "{named} does not open again"
    );
    found
}

/// What machines start from.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// How many vCPUs.
    pub cpus: u16,
    /// How much RAM.
    pub memory_mib: u64,
    /// `CNTFRQ_EL0`, where the accelerator's own will not do.
    pub counter_frequency: Option<u64>,
    /// Whether it has the virtio devices that guests have unasked, and so a PCIe bus.
    pub devices: bool,
}

/// Where machines of one test are made.
#[derive(Debug)]
pub struct Place {
    guest: Guest,
    scratch: Scratch,
    /// How many machines were made.
    made: AtomicUsize,
}

impl Place {
    /// A place for machines of `guest`.
    #[must_use]
    pub fn new(test: &str, guest: Guest) -> Self {
        Self {
            guest,
            scratch: Scratch::new(test),
            made: AtomicUsize::new(0),
        }
    }

    fn config(&self) -> (MachineConfig, PathBuf) {
        let Guest {
            kernel,
            initrd,
            cmdline,
            cpus,
            memory_mib,
            counter_frequency,
            devices,
        } = self.guest.clone();
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        let serial = self.scratch.path().join(format!("serial-{number}"));
        let raw = RawConfig {
            kernel: Some(kernel),
            initrd,
            cmdline: Some(cmdline),
            cpus: Some(cpus.to_string()),
            memory: Some(format!("{memory_mib}M")),
            counter_frequency: counter_frequency.map(|hz| hz.to_string()),
            serial: Some(format!("file:{}", serial.display())),
            no_reboot: Some(true),
            rng: (!devices).then(|| "off".to_owned()),
            balloon: (!devices).then(|| "off".to_owned()),
            ..RawConfig::default()
        };
        let config = MachineConfig::try_from(raw).expect("a possible machine");
        (config, serial)
    }

    /// Starts the guest.
    ///
    /// # Panics
    /// When the machine cannot be made.
    #[must_use]
    pub fn start(&self, accel: &dyn Hypervisor) -> Running {
        let (config, serial) = self.config();
        let machine = Machine::on(accel, config).unwrap_or_else(|error| panic!("{error}"));
        Running::new(machine, serial)
    }

    /// Makes a machine of what was saved; its vCPUs stand still.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn restore(&self, accel: &dyn Hypervisor, saved: Saved) -> Result<Running, StartError> {
        let (config, serial) = self.config();
        let machine = Machine::restore(accel, config, saved)?;
        Ok(Running::new(machine.paused(), serial))
    }
}

/// At the end of a test, a simulated Mac must have nothing to complain of.
impl Drop for Place {
    fn drop(&mut self) {
        let verdict = simulated::verdict();
        if !thread::panicking() {
            assert_eq!(verdict, Ok(()), "the Mac complains");
        }
    }
}

/// A machine on a thread of its own.
#[derive(Debug)]
pub struct Running {
    control: Control,
    saver: Saver,
    thread: JoinHandle<Result<Outcome, StartError>>,
    serial: PathBuf,
    /// What machines before it printed.
    before: String,
}

impl Running {
    fn new(machine: Machine, serial: PathBuf) -> Self {
        let (control, saver) = (machine.control(), machine.saver());
        let thread = thread::spawn(|| {
            let outcome = machine.run();
            // The reason, should a test find that its machine is over.
            eprintln!("a machine ended: {outcome:?}");
            outcome
        });
        Self {
            control,
            saver,
            thread,
            serial,
            before: String::new(),
        }
    }

    /// The machine's controls.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Everything that the guest has printed so far, before it came here too.
    #[must_use]
    pub fn printed(&self) -> String {
        self.before.clone() + &read(&self.serial)
    }

    /// Waits until the guest has printed `wanted`.
    ///
    /// # Panics
    /// When it ends before, or takes too long.
    pub fn expect(&self, wanted: &str) {
        let start = Instant::now();
        while !self.printed().contains(wanted) {
            let late = start.elapsed() > LIMIT || self.thread.is_finished();
            assert!(!late, "no {wanted:?} in:\n{}", self.printed());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Pauses the machine and saves it.
    ///
    /// # Panics
    /// When that fails, or a second look finds another state.
    #[must_use]
    pub fn save(&self) -> Saved {
        assert!(self.control.pause(), "over already:\n{}", self.printed());
        let save = || self.saver.save().unwrap_or_else(|error| panic!("{error}"));
        let saved = save();
        assert_eq!(
            saved.state,
            save().state,
            "the state of a paused machine moves"
        );
        saved
    }

    /// Goes on in a new machine on `accel`, which takes over the memory.
    ///
    /// # Panics
    /// When the new machine's state is not the old one's.
    #[must_use]
    pub fn move_to(self, place: &Place, accel: &dyn Hypervisor) -> Self {
        let saved = self.save();
        let state = saved.state.clone();
        let mut next = place
            .restore(accel, saved)
            .unwrap_or_else(|error| panic!("to {}: {error}", accel.name()));
        let again = next.saver.save().unwrap_or_else(|error| {
            panic!("to {}: {error}", accel.name());
        });
        assert_eq!(state, again.state, "to {}", accel.name());
        next.before = self.leave();
        next.control.resume();
        next
    }

    /// Ends the machine; what the guest has printed.
    ///
    /// # Panics
    /// When it had ended by itself.
    #[must_use]
    pub fn leave(self) -> String {
        assert!(self.control.end(Outcome::Left), "over already");
        let outcome = self.thread.join().expect("no panic");
        assert_eq!(outcome, Ok(Outcome::Left));
        self.before + &read(&self.serial)
    }

    /// Waits for the end of a machine that could not take up its state; the reason.
    ///
    /// # Panics
    /// When it could.
    #[must_use]
    pub fn refused(self) -> String {
        match self.thread.join().expect("no panic") {
            Ok(Outcome::NotRestored(line)) => line,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// Waits for the guest's end, which has to be a power-off; what it has printed.
    ///
    /// # Panics
    /// When it ends otherwise, or takes too long.
    #[must_use]
    pub fn finish(self) -> String {
        let start = Instant::now();
        while !self.thread.is_finished() {
            assert!(start.elapsed() < LIMIT, "no end:\n{}", self.printed());
            thread::sleep(Duration::from_millis(5));
        }
        let printed = self.printed();
        let outcome = self.thread.join().expect("no panic");
        assert_eq!(outcome, Ok(Outcome::PoweredOff), "{printed}");
        printed
    }
}

fn read(path: &Path) -> String {
    // It may not have been made yet.
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
