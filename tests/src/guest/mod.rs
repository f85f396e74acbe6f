//! A running guest: its console as lines, input to it, and what its end must look like.

mod vmm;

use crate::program;
use guests::{Kernel, Store};
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub use vmm::{Transport, Vmm};

/// How long a guest may take for anything. The slowest machines need a tenth of this.
const LIMIT: Duration = Duration::from_secs(400);

/// Parts of lines that no healthy guest prints. `ARMLET-TROUBLE` lines come from the guest's own
/// look at its kernel log.
const TROUBLE: [&str; 12] = [
    "ARMLET-TROUBLE",
    "ARMLET-FAIL",
    "WARNING: CPU",
    "BUG:",
    "Oops",
    "self-detected stall",
    "detected stalls",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "Unable to handle kernel",
    "Kernel panic",
];

/// The first line that no healthy guest prints.
#[must_use]
pub fn trouble_in(console: &str) -> Option<&str> {
    let is_trouble = |line: &&str| TROUBLE.iter().any(|part| line.contains(part));
    console.lines().find(is_trouble)
}

/// A disk of a guest.
#[derive(Clone, Debug)]
struct Disk {
    path: PathBuf,
    /// armlet's options beside path and format.
    options: String,
}

/// A guest to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    vmm: Vmm,
    kernel: PathBuf,
    initrd: PathBuf,
    action: String,
    words: String,
    cpus: usize,
    memory_mib: usize,
    reboots: bool,
    disks: Vec<Disk>,
    transport: Transport,
    monitor: Option<PathBuf>,
    options: Vec<String>,
}

impl Setup {
    /// The busybox guest on `kernel`, which runs `action` and powers off; or why there is none.
    pub fn new(kernel: Kernel, action: &str) -> Result<Self, String> {
        let store = Store::of_checkout();
        let initrd = store.initramfs().map_err(text)?;
        Self::with_initrd(kernel, initrd, action)
    }

    /// As [`Setup::new`], with another initramfs.
    pub fn with_initrd(kernel: Kernel, initrd: PathBuf, action: &str) -> Result<Self, String> {
        Self::on(Vmm::of_environment()?, kernel, initrd, action)
    }

    /// As [`Setup::with_initrd`], on this VMM whatever the environment says.
    pub fn on(vmm: Vmm, kernel: Kernel, initrd: PathBuf, action: &str) -> Result<Self, String> {
        let kernel = Store::of_checkout().kernel(kernel).map_err(text)?;
        let action = action.to_owned();
        Ok(Self {
            vmm,
            kernel,
            initrd,
            action,
            words: String::new(),
            cpus: 1,
            memory_mib: 256,
            reboots: false,
            disks: Vec::new(),
            transport: Transport::Pci,
            monitor: None,
            options: Vec::new(),
        })
    }

    /// With more words on the kernel's command line.
    #[must_use]
    pub fn words(mut self, words: &str) -> Self {
        self.words = format!("{} {words}", self.words);
        self
    }

    /// With a disk, raw or qcow2 as its file is, after those it has.
    #[must_use]
    pub fn disk(self, path: &Path) -> Self {
        self.disk_with(path, "")
    }

    /// As [`Setup::disk`], with more of armlet's options, such as `readonly,serial=1`.
    #[must_use]
    pub fn disk_with(mut self, path: &Path, options: &str) -> Self {
        let (path, options) = (path.to_owned(), options.to_owned());
        self.disks.push(Disk { path, options });
        self
    }

    /// With its virtio devices on `transport` instead of PCI.
    #[must_use]
    pub fn transport(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// With a power key: `socket` is a path that QEMU may use to be told of it.
    #[must_use]
    pub fn power_key(self, socket: PathBuf) -> Self {
        let monitor = Some(socket);
        Self { monitor, ..self }
    }

    /// With this many CPUs instead of one.
    #[must_use]
    pub fn cpus(self, cpus: usize) -> Self {
        Self { cpus, ..self }
    }

    /// With this much memory instead of 256 MiB.
    #[must_use]
    pub fn memory_mib(self, memory_mib: usize) -> Self {
        Self { memory_mib, ..self }
    }

    /// A reset starts the guest again; otherwise it ends it.
    #[must_use]
    pub fn reboots(self) -> Self {
        Self {
            reboots: true,
            ..self
        }
    }

    /// With these options of `armlet run` too.
    #[must_use]
    pub fn options(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(ToString::to_string));
        self
    }

    /// Starts the guest.
    #[must_use]
    pub fn start(&self) -> Guest {
        Guest::start(&mut vmm::command(self))
    }

    /// Presses the power key of `guest`, which was started by this.
    pub fn press_power(&self, guest: &Guest) {
        vmm::press_power(self, guest.process());
    }

    /// Starts the guest, waits for its end, and checks that all went well.
    #[must_use]
    pub fn run(&self) -> Vec<String> {
        let mut guest = self.start();
        guest.expect(&format!("ARMLET-DONE {}", self.action));
        guest.end_well()
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// A running guest. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    input: ChildStdin,
    console: Receiver<String>,
    log: Vec<String>,
    started: Instant,
}

impl Guest {
    /// Starts `command`, whose standard input and output are the console.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let input = child.stdin.take().expect("piped");
        let output = child.stdout.take().expect("piped");
        let (sender, console) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            console,
            log: Vec::new(),
            started: Instant::now(),
        }
    }

    /// The process that runs the guest.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains `wanted`, and returns it.
    ///
    /// # Panics
    /// When the guest ends or the time is up before.
    pub fn expect(&mut self, wanted: &str) -> String {
        loop {
            match self.next_line() {
                Ok(line) if line.contains(wanted) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("no line with {wanted:?}")),
                Err(RecvTimeoutError::Disconnected) => {
                    self.fail(&format!("the console ended before a line with {wanted:?}"))
                }
            }
        }
    }

    /// Types `line` and Enter.
    pub fn send(&mut self, line: &str) {
        let sent = self.input.write_all(format!("{line}\n").as_bytes());
        assert!(
            sent.and_then(|()| self.input.flush()).is_ok(),
            "the console takes no input"
        );
    }

    /// Waits until the guest asks, has it run `command`, and returns the exit status and the lines
    /// that came before it. Only the Debian guest tells these.
    ///
    /// # Panics
    /// When the guest ends or the time is up before.
    pub fn ask(&mut self, command: &str) -> (i32, Vec<String>) {
        self.expect("ARMLET-ASK");
        self.send(command);
        let from = self.log.len();
        let line = self.expect("ARMLET-STATUS ");
        let status = line.rsplit(' ').next().and_then(|word| word.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {line}"));
        (status, self.log[from..self.log.len() - 1].to_vec())
    }

    /// Ends the VMM at once, as a power cut ends a machine, and returns the console's lines until
    /// then.
    #[must_use]
    pub fn cut_power(mut self) -> Vec<String> {
        self.child.kill().expect("the guest runs");
        while self.next_line().is_ok() {}
        let status = self.child.wait().expect("a child can be waited for");
        if status.success() {
            self.fail("the guest ended before its power was cut");
        }
        std::mem::take(&mut self.log)
    }

    /// Waits for the end; checks that it is a power-off and that nothing went wrong on the way, and
    /// returns the console's lines.
    ///
    /// # Panics
    /// When something went wrong.
    #[must_use]
    pub fn end_well(mut self) -> Vec<String> {
        loop {
            match self.next_line() {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => self.fail("the guest does not end"),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = program::wait(&mut self.child, Duration::from_secs(20));
        if !status.is_some_and(|status| status.success()) {
            self.fail(&format!("ended with {status:?}"));
        }
        if !self
            .log
            .iter()
            .any(|line| line.contains("reboot: Power down"))
        {
            self.fail("the guest did not power off");
        }
        if let Some(line) = self.log.iter().find_map(|line| trouble_in(line)) {
            self.fail(&format!("trouble in the guest: {line}"));
        }
        std::mem::take(&mut self.log)
    }

    /// Waits up to `limit` for the program to end, however it does.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        program::wait(&mut self.child, limit).is_some()
    }

    fn next_line(&mut self) -> Result<String, RecvTimeoutError> {
        let left = LIMIT.saturating_sub(self.started.elapsed());
        let line = self.console.recv_timeout(left)?;
        self.log.push(line.clone());
        Ok(line)
    }

    fn fail(&self, reason: &str) -> ! {
        let tail = &self.log[self.log.len().saturating_sub(40)..];
        panic!(
            "{reason}, after {:.1} s; the console's last lines:\n{}",
            self.started.elapsed().as_secs_f64(),
            tail.join("\n")
        )
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
