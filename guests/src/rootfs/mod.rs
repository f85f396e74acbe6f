//! A Debian guest on a disk: systemd up to `multi-user.target` from an ext4 image.
//!
//! [`Store::rootfs`] is the image, the same for every kernel; a guest gets a [`copy`] of it as its
//! first virtio disk. [`Store::rootfs_initramfs`] is what a kernel needs to enter it: drivers of
//! virtio, ext4 and the power key, and the action `rootfs`. So the kernel's command line is
//! ```text
//! console=ttyAMA0 armlet.do=rootfs armlet.run=ask
//! ```
//! and `files/rootfs/agent` says what `armlet.run` can be. `armlet.root=/dev/vdb` names another disk.
//! The agent prints `ARMLET-ROOTFS` when `multi-user.target` is reached. systemd-logind powers off on
//! the power key, on kernels that [see one](crate::Kernel::has_power_key).
//!
//! In it, beside Debian's essentials: systemd, udev, dbus, fio, e2fsprogs, util-linux, and
//! `armlet-durable`, which writes records and says which of them are on the disk for certain
//! (`files/durable.c`).
//!
//! Maintainer scripts do not run: [`config`] sets up what the guest needs of their work. Omitted:
//! network configuration, locales, documentation, dpkg's database, perl and python, the dynamic
//! linker's cache, users other than root, and ownership by anyone else.

mod config;
mod image;
mod tree;

use crate::initramfs::Extras;
use crate::store::write;
use crate::{Error, Kernel, Store, durable};
use std::fs;
use std::path::PathBuf;

pub use image::{check, copy};

/// Room for the tree three times over.
const SIZE: u64 = 512 << 20;

/// Counts changes of how the image is made that no constant shows.
const REVISION: u32 = 2;

/// The drivers: those of every virtio device there is by now, of the file system, and of input
/// devices. ext4 asks for its checksum by another name than the module's.
const MODULES: [&str; 9] = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_rng",
    "virtio_console",
    "virtio_balloon",
    "crc32c_generic",
    "ext4",
    "evdev",
];

/// The action `rootfs` of the initramfs.
const ENTER: &str = include_str!("../../files/rootfs/enter");

impl Store {
    /// The image of the Debian guest. It is to be copied, not changed: see [`copy`].
    pub fn rootfs(&self) -> Result<PathBuf, Error> {
        let _lock = self.lock()?;
        let directory = self.root().join("rootfs");
        let (image, stamp_path) = (directory.join("root.img"), directory.join("stamp"));
        let stamp = stamp();
        if image.exists() && fs::read_to_string(&stamp_path).is_ok_and(|text| text == stamp) {
            return Ok(image);
        }
        let debs = self.apt()?.download_closure(&config::PACKAGES)?;
        eprintln!("guests: building {}", image.display());
        let unpacked = directory.join("tree");
        tree::build(
            &unpacked,
            &debs,
            &[("usr/bin/armlet-durable", self.compile_durable()?)],
        )?;
        let partial = directory.join("root.partial");
        image::make(&unpacked, &partial, SIZE)?;
        tree::remove(&unpacked)?;
        fs::rename(&partial, &image).map_err(Error::file(&image))?;
        write(&stamp_path, stamp.as_bytes())?;
        Ok(image)
    }

    /// The initramfs with which `kernel` enters the Debian guest.
    pub fn rootfs_initramfs(&self, kernel: Kernel) -> Result<PathBuf, Error> {
        let mut extras = Extras::new().modules(&MODULES).action("rootfs", ENTER);
        if kernel.has_power_key() {
            extras = extras.modules(&["gpio_keys"]);
        }
        self.initramfs_for(kernel, "rootfs", &extras)
    }
}

/// What the image is made of: another text asks for another image.
fn stamp() -> String {
    let recipe = (
        config::PACKAGES,
        config::LEFT_OUT,
        config::UNREAD,
        config::LINKS,
    );
    let masked = (
        config::MASKED,
        config::MASKED_GENERATORS,
        config::MASKED_RULES,
    );
    let files = config::FILES.as_slice();
    let source = durable::SOURCE;
    format!("{REVISION} {SIZE} {recipe:?} {masked:?} {files:?} {source:?}")
}
