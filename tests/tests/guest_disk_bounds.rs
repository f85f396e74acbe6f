//! Where a guest's disk ends: a host's file system that is full, and the limits that a user set.

use armlet_tests::guest::Setup;
use armlet_tests::or_skip;
use armlet_tests::program::{self, Scratch};
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const KERNEL: Kernel = Kernel::V6_12Cloud;
const MIB: u64 = 1 << 20;

/// Writes more than there is room for, says so, writes again what is there already, and, when it is
/// told to go on, writes all of it and reads it back.
const FILL: &str = r#"
await /dev/vda || return 1
yes armlet | head -c 6291456 > /tmp/text
fill() { dd if=/tmp/text of=/dev/vda bs=64k oflag=direct "$@" 2> /tmp/said; }
if fill; then return 1; fi
grep -q 'Input/output error' /tmp/said || { cat /tmp/said; return 1; }
fill count=8 || return 1
echo ARMLET-FULL
read -r line
fill || { cat /tmp/said; return 1; }
echo 3 > /proc/sys/vm/drop_caches
head -c 6291456 /dev/vda | cmp - /tmp/text
"#;

/// Reads for ever, one request after another, and says how many requests and sectors that were in
/// how many hundredths of a second, once the burst is over.
const READ: &str = r#"
await /dev/vda || return 1
while dd if=/dev/vda of=/dev/null bs="$(setting bytes 4096)" count=256 iflag=direct 2> /dev/null; do :; done &
sleep 2
look() { echo "$(cut -d' ' -f1 /proc/uptime | tr -d .) $(awk '{ print $1, $3 }' /sys/block/vda/stat)"; }
before=$(look)
sleep 6
after=$(look)
kill $!
echo "ARMLET-READ $before $after"
"#;

fn setup(action: &str) -> Result<Setup, String> {
    let extras = Extras::new()
        .modules(&["virtio_pci", "virtio_blk"])
        .action("fill", FILL)
        .action("read", READ);
    let initrd = Store::of_checkout().initramfs_for(KERNEL, "disk-bounds", &extras);
    Setup::with_initrd(KERNEL, initrd.map_err(|error| error.to_string())?, action)
}

/// A file system of 8 MiB.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(at);
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("no small file system: {}", said.trim()));
        }
        Ok(Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What is left of it goes with the host.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn a_full_host(format: &str) {
    let setup = or_skip!("a full host", setup("fill"));
    let scratch = Scratch::for_disks(&format!("full-{format}"));
    let small = or_skip!("a full host", Small::mount(&scratch.path().join("small")));
    let (disk, other) = (small.0.join("disk.img"), small.0.join("other"));
    let armlet = or_skip!("a full host", program::armlet());
    let path = disk.to_str().expect("temporary paths are text");
    let create = ["disk", "create", path, "16M", "--format", format];
    let made = program::run(&armlet, &create, Duration::from_secs(30));
    assert_eq!(made.status, Some(0), "{made:?}");
    let filler = vec![1; 4 * MIB as usize];
    fs::write(&other, filler).expect("there is room for that");
    let mut guest = setup.disk(&disk).start();
    guest.expect("ARMLET-FULL");
    fs::remove_file(&other).expect("it is there");
    guest.send("");
    guest.expect("ARMLET-DONE fill");
    let _log = guest.end_well();
    let checked = program::run(&armlet, &["disk", "check", path], Duration::from_secs(30));
    assert_eq!(checked.status, Some(0), "{checked:?}");
}

#[test]
fn a_full_host_is_an_io_error_of_a_raw_disk_until_there_is_room() {
    a_full_host("raw");
}

#[test]
fn a_full_host_is_an_io_error_of_a_qcow2_disk_until_there_is_room() {
    a_full_host("qcow2");
}

/// How many requests and sectors a guest reads in a second.
fn rates(options: &str, bytes: u64) -> Option<(f64, f64)> {
    let setup = match setup("read") {
        Ok(setup) => setup,
        Err(reason) => {
            armlet_tests::skip::skip("limits", &reason);
            return None;
        }
    };
    let scratch = Scratch::for_disks(&format!("limits-{bytes}"));
    let disk = scratch.path().join("disk.img");
    let file = fs::File::create(&disk).expect("a file can be made");
    file.set_len(64 * MIB).expect("it has no bytes of its own");
    let words = format!("armlet.bytes={bytes}");
    let setup = setup.disk_with(&disk, options).words(&words);
    let log = setup.run();
    let line = log.iter().find_map(|line| line.split_once("ARMLET-READ "));
    let (_, line) = line.expect("it says what it read");
    let words = line.split_whitespace();
    let numbers: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers.len(), 6, "{line}");
    let (seconds, requests, sectors) = (
        (numbers[3] - numbers[0]) / 100.0,
        numbers[4] - numbers[1],
        numbers[5] - numbers[2],
    );
    Some((requests / seconds, sectors / seconds))
}

fn is_near(found: f64, wanted: f64) -> bool {
    (found / wanted - 1.0).abs() <= 0.2
}

#[test]
fn a_guest_makes_as_many_requests_a_second_as_it_may() {
    if let Some((requests, _)) = rates("iops=40,iops-burst=1", 4096) {
        assert!(is_near(requests, 40.0), "{requests} requests a second");
    }
}

#[test]
fn a_guest_reads_as_many_bytes_a_second_as_it_may() {
    if let Some((_, sectors)) = rates("bw=1M,bw-burst=64K", 65536) {
        assert!(is_near(sectors, 2048.0), "{sectors} sectors a second");
    }
}
