//! What the tests find in the emulated host: guests, and programs of Debian.

use crate::error::Error;
use crate::kvm_host::debian;
use guests::{Kernel, Store};
use std::fs;
use std::path::{Path, PathBuf};

/// Names there, and files here.
pub type Files = Vec<(String, PathBuf)>;

/// Drivers that guests of the tests load.
const DRIVERS: [&str; 9] = [
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

/// Debian's packages whose programs the tests run, and these. The script makes each of them a
/// command.
const PACKAGES: [&str; 3] = ["coreutils", "e2fsprogs", "qemu-utils"];
const PROGRAMS: [&str; 4] = ["cp", "mke2fs", "e2fsck", "qemu-img"];

/// What the tests of the machine need.
pub fn of_machine(_directory: &Path) -> Result<Files, Error> {
    let store = Store::of_checkout();
    let mut files = basic(&store)?;
    for kernel in [Kernel::V6_12Cloud, Kernel::V6_1Cloud] {
        files.push(image(&store, kernel)?);
    }
    Ok(files)
}

/// What the tests of devices need. Some of it is made in `directory`.
pub fn of_devices(directory: &Path) -> Result<Files, Error> {
    let store = Store::of_checkout();
    let mut files = basic(&store)?;
    for kernel in [Kernel::V6_12Cloud, Kernel::V6_1Generic] {
        files.push(image(&store, kernel)?);
        let mut drivers = DRIVERS.to_vec();
        if kernel.has_power_key() {
            drivers.push("gpio_keys");
        }
        for (name, data) in store.some_modules(kernel, &drivers)? {
            let path = directory.join("guests").join(&name);
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            fs::write(&path, data)?;
            files.push((place(&name), path));
        }
    }
    // Made by what the emulated host does not have, a compiler above all.
    store.durable()?;
    store.rootfs()?;
    for made in ["durable", "durable.c", "rootfs/root.img", "rootfs/stamp"] {
        files.push((place(made), store.root().join(made)));
    }
    files.extend(debian::programs(directory, "debian", &PACKAGES, &PROGRAMS)?);
    Ok(files)
}

/// Where the tests' store has a file.
fn place(name: &str) -> String {
    format!("target/guests/{name}")
}

fn basic(store: &Store) -> Result<Files, Error> {
    Ok(vec![
        (place("initramfs.cpio.gz"), store.initramfs()?),
        (place("busybox"), store.root().join("busybox")),
    ])
}

fn image(store: &Store, kernel: Kernel) -> Result<(String, PathBuf), Error> {
    let name = format!("kernels/{}/Image", kernel.name());
    Ok((place(&name), store.kernel(kernel)?))
}
