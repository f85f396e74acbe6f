//! The guest: a kernel, and an initramfs with fio from Debian's archive.

use super::cells;
use crate::bench::program::FIO;
use crate::error::Error;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::fs;
use std::path::{Path, PathBuf};

/// The kernel that is booted.
pub const KERNEL: Kernel = Kernel::V6_12Cloud;
/// What a line begins with behind which the host's counters are wanted.
pub const COUNT: &str = "ARMLET-COUNT";
/// What a line of fio's results begins with.
pub const CELL: &str = "ARMLET-CELL";
/// The guest's disk.
const DISK: &str = "/dev/vda";
/// Drivers, of the devices too that are there only when memory is measured.
const MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_balloon",
    "virtio_console",
    "virtio_rng",
];
/// Where the job file is.
const JOBS: &str = "block.fio";

/// Says where a job is, with the disk's interrupts since the boot: of all CPUs, and of all vectors.
const COUNTER: &str = r#"#!/bin/busybox sh
interrupts=$(awk '/virtio0/ { for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i } END { print n + 0 }' /proc/interrupts)
echo "ARMLET-COUNT $1 $2 $interrupts" > /dev/console
"#;

/// The kernel's command line, for so many seconds in each cell.
pub fn command_line(seconds: u64) -> String {
    format!("console=ttyAMA0 quiet armlet.do=block armlet.seconds={seconds}")
}

/// Makes the initramfs; what is downloaded for it is kept in `directory`.
pub fn initramfs(directory: &Path) -> Result<PathBuf, Error> {
    let mut extras = Extras::new()
        .modules(&MODULES)
        .action("block", &action())
        .program("bin/count", COUNTER.as_bytes().to_vec())
        .program(JOBS, cells::job_file(DISK).into_bytes());
    for (name, path) in FIO.files(directory)? {
        extras = extras.program(&name, fs::read(path)?);
    }
    Ok(Store::of_checkout().initramfs_for(KERNEL, "fio", &extras)?)
}

/// Goes through all cells and prints what fio says of each.
fn action() -> String {
    let fio = FIO.command("/");
    format!(
        "await {DISK} || return 1\n\
         cd /tmp\n\
         CELL_SECONDS=$(setting seconds 1) {fio} --eta=never --output-format=terse --terse-version=3 \
         --output=/tmp/result /{JOBS} || {{ cat /tmp/result; return 1; }}\n\
         sed -n 's/^3;/{CELL} 3;/p' /tmp/result"
    )
}
