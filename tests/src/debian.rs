//! A Debian guest that boots from a disk of its own, up to `multi-user.target`: see
//! [`guests::rootfs`].
//!
//! A test makes a [`Debian`], starts it as often as it likes (the disk stays), and looks at the disk
//! afterwards:
//! ```no_run
//! use armlet_tests::{debian::Debian, guest::Vmm};
//! let debian = Debian::new(Vmm::of_environment()?, guests::Kernel::V6_1Generic, "example")?;
//! let mut guest = debian.start();
//! assert_eq!(guest.ask("uname -m"), (0, vec!["aarch64".to_owned()]));
//! debian.setup().press_power(&guest);
//! let _log = guest.end_well();
//! debian.check();
//! # Ok::<(), String>(())
//! ```

use crate::guest::{Guest, Setup, Vmm};
use crate::image;
use crate::program::Scratch;
use guests::{Kernel, Store, rootfs};
use std::path::{Path, PathBuf};

/// A Debian guest and its disk, which is removed with it.
#[derive(Debug)]
pub struct Debian {
    setup: Setup,
    disk: PathBuf,
    _files: [Scratch; 2],
}

impl Debian {
    /// A guest on `kernel` with a fresh disk, for the test of this name; or why there is none. It
    /// runs what it is [asked](Guest::ask).
    pub fn new(vmm: Vmm, kernel: Kernel, test: &str) -> Result<Self, String> {
        Self::with_disk(vmm, kernel, test, |_template, _disk| Ok(()))
    }

    /// As [`Self::new`]; `prepare` may make another kind of image of the raw template. If it makes
    /// no file, the disk is a copy of the template.
    pub fn with_disk(
        vmm: Vmm,
        kernel: Kernel,
        test: &str,
        prepare: impl FnOnce(&Path, &Path) -> Result<(), String>,
    ) -> Result<Self, String> {
        let text = |error: guests::Error| error.to_string();
        let store = Store::of_checkout();
        let template = store.rootfs().map_err(text)?;
        let initrd = store.rootfs_initramfs(kernel).map_err(text)?;
        let (disks, sockets) = (Scratch::for_disks(test), Scratch::new(test));
        let disk = disks.path().join("root.img");
        prepare(&template, &disk)?;
        if !disk.exists() {
            rootfs::copy(&template, &disk).map_err(text)?;
        }
        let setup = Setup::on(vmm, kernel, initrd, "rootfs")?
            .words("quiet systemd.show_status=no armlet.run=ask")
            .memory_mib(512)
            .disk(&disk)
            .power_key(sockets.path().join("monitor"));
        Ok(Self {
            setup,
            disk,
            _files: [disks, sockets],
        })
    }

    /// The guest with changes, such as more CPUs.
    #[must_use]
    pub fn with(self, change: impl FnOnce(Setup) -> Setup) -> Self {
        let setup = change(self.setup);
        Self { setup, ..self }
    }

    /// How it is started.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The file that holds its disk.
    #[must_use]
    pub fn disk(&self) -> &Path {
        &self.disk
    }

    /// Starts it, and waits until `multi-user.target` is reached.
    #[must_use]
    pub fn start(&self) -> Guest {
        let mut guest = self.setup.start();
        guest.expect("ARMLET-ROOTFS");
        guest
    }

    /// Checks the disk of a guest that has ended, and the image that holds it.
    ///
    /// # Panics
    /// When one of them is not sound.
    pub fn check(&self) {
        image::check_file_system(&self.disk);
    }
}

/// What `armlet-durable check` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records {
    /// The first record.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// How many there are.
    pub count: u64,
    /// Places that hold something else.
    pub torn: u64,
}

impl Records {
    /// Has `guest` look at the records in `path`, written in the way `how`.
    ///
    /// # Panics
    /// When they are not as a power cut may leave them.
    pub fn look(guest: &mut Guest, how: &str, path: &str) -> Self {
        let (status, lines) = guest.ask(&format!("armlet-durable check {how} {path}"));
        let found = lines.iter().find_map(|line| Self::of_line(line));
        let found = found.unwrap_or_else(|| panic!("no records: {lines:?}"));
        assert_eq!(status, 0, "damaged records: {lines:?}");
        found
    }

    /// What a line of `armlet-durable check` says, if it is that line.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let numbers = line.split_once("ARMLET-RECORDS ")?.1.split(' ');
        let numbers: Vec<u64> = numbers.map_while(|word| word.parse().ok()).collect();
        let [first, last, count, torn] = numbers[..] else {
            return None;
        };
        Some(Self {
            first,
            last,
            count,
            torn,
        })
    }
}

/// The last record that a console saw acknowledged, or 0. `whose` stands before its number; it is
/// empty unless there are several to be told from each other.
#[must_use]
pub fn last_acknowledged(console: &[String], whose: &str) -> u64 {
    let numbers = console
        .iter()
        .filter_map(|line| line.strip_prefix("ARMLET-ACK ")?.strip_prefix(whose));
    numbers
        .filter_map(|number| number.parse().ok())
        .max()
        .unwrap_or(0)
}
