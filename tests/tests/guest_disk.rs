//! Virtio disks as Linux uses them: what it finds, what lasts, and what a power cut leaves.
//!
//! `ARMLET_POWER_CUTS` asks for another number of power cuts than the few that time allows.

use armlet_tests::debian::{Debian, Records, last_acknowledged};
use armlet_tests::guest::{Guest, Setup, Transport, Vmm};
use armlet_tests::image;
use armlet_tests::or_skip;
use armlet_tests::program::Scratch;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const KERNEL: Kernel = Kernel::V6_12Cloud;
/// ext4 asks for its checksum by another name than the module's.
const MODULES: [&str; 5] = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "crc32c_generic",
    "ext4",
];

/// Says what the disks are like, copies the second to the first, zeroes a part, discards another,
/// and finds that the second cannot be written.
const DISKS: &str = r#"
await /dev/vdb || return 1
for disk in vda vdb; do
    cd /sys/block/$disk
    echo "ARMLET-DISK $disk $(cat size) ro=$(cat ro) serial=$(cat serial) queues=$(ls mq | wc -l)" \
        "physical=$(cat queue/physical_block_size) cache=$(tr -d ' ' < queue/write_cache)"
done
cd /
dd if=/dev/vdb of=/dev/vda bs=64k count=32 conv=fsync 2> /dev/null || return 1
dd if=/dev/zero of=/dev/vda bs=4k count=3 seek=5 conv=fsync 2> /dev/null || return 1
blkdiscard -o 1048576 -l 1048576 /dev/vda || return 1
if dd if=/dev/zero of=/dev/vdb bs=4k count=1 conv=fsync 2> /dev/null; then return 1; fi
cmp /dev/vdb /dev/vdb || return 1
"#;

/// Says which records are there, and writes more for ever.
const CUT: &str = r#"
await /dev/vda && mkdir -p /mnt && mount -t ext4 /dev/vda /mnt || return 1
for how in fsync files; do
    echo "ARMLET-LOOK $how"
    armlet-durable check $how /mnt/$how || return 1
done
case $(setting write) in
    no) umount /mnt ;;
    *) armlet-durable write "$(setting write)" "/mnt/$(setting write)" ;;
esac
"#;

fn setup(action: &str) -> Result<Setup, String> {
    let store = Store::of_checkout();
    let text = |error: guests::Error| error.to_string();
    let extras = Extras::new()
        .modules(&MODULES)
        .program("bin/armlet-durable", store.durable().map_err(text)?)
        .action("disks", DISKS)
        .action("cut", CUT);
    let initrd = store.initramfs_for(KERNEL, "disk", &extras);
    Setup::with_initrd(KERNEL, initrd.map_err(text)?, action)
}

/// Two images: zeros, and bytes that say where they are.
fn images(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let (blank, numbered) = (
        scratch.path().join("blank"),
        scratch.path().join("numbered"),
    );
    let text: Vec<u8> = (0..2_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(&blank, vec![0; 4 << 20]).expect("there is room for an image");
    fs::write(&numbered, text).expect("there is room for an image");
    (blank, numbered)
}

fn linux_finds_its_disks(transport: Transport) {
    let setup = or_skip!("disks", setup("disks"));
    let scratch = Scratch::for_disks("finds");
    let (blank, numbered) = images(&scratch);
    let log = setup
        .cpus(2)
        .transport(transport)
        .disk_with(&blank, "serial=first 1,iops=100000")
        .disk_with(&numbered, "readonly,queues=1,cache=relaxed")
        .run();
    for said in [
        "ARMLET-DISK vda 8192 ro=0 serial=first 1 queues=2 physical=4096 cache=writeback",
        "ARMLET-DISK vdb 4096 ro=1 serial= queues=1 physical=4096 cache=writeback",
    ] {
        assert!(log.iter().any(|line| line.contains(said)), "{log:#?}");
    }
    let mut wanted = fs::read(&numbered).expect("the image is there");
    wanted[5 * 4096..8 * 4096].fill(0);
    wanted[1 << 20..].fill(0);
    wanted.resize(4 << 20, 0);
    let found = fs::read(&blank).expect("the image is there");
    let difference = found.iter().zip(&wanted).position(|(a, b)| a != b);
    assert_eq!((found.len(), difference), (wanted.len(), None));
}

#[test]
fn linux_finds_its_disks_over_pci() {
    linux_finds_its_disks(Transport::Pci);
}

#[test]
fn linux_finds_its_disks_over_mmio() {
    linux_finds_its_disks(Transport::Mmio);
}

/// How records are written, by turns.
const HOW: [&str; 2] = ["fsync", "files"];

/// What the guest finds must be all that was acknowledged, by the way it was written.
fn look(guest: &mut Guest, acknowledged: [u64; 2]) {
    for (how, acknowledged) in HOW.iter().zip(acknowledged) {
        guest.expect(&format!("ARMLET-LOOK {how}"));
        let line = guest.expect("ARMLET-RECORDS ");
        let found = Records::of_line(&line);
        let last = found.map(|found| found.last);
        assert!(last >= Some(acknowledged), "{line} after {acknowledged}");
    }
}

fn power_cuts(disk: &Path, cuts: u64) {
    let setup = or_skip!("power cuts", setup("cut")).disk(disk);
    let mut acknowledged = [0, 0];
    for cut in 0..cuts {
        let turn = usize::try_from(cut % 2).unwrap_or(0);
        let transport = [Transport::Pci, Transport::Mmio][turn];
        let words = format!("armlet.write={}", HOW[turn]);
        let mut guest = setup.clone().transport(transport).words(&words).start();
        look(&mut guest, acknowledged);
        guest.expect("ARMLET-ACK ");
        // Anywhere between this record and some hundreds later.
        thread::sleep(Duration::from_millis(cut * 389 % 1500));
        let last = last_acknowledged(&guest.cut_power());
        assert!(last > acknowledged[turn], "nothing was written");
        acknowledged[turn] = last;
        image::check(disk);
    }
    let mut guest = setup.words("armlet.write=no").start();
    look(&mut guest, acknowledged);
    guest.expect("ARMLET-DONE cut");
    let _log = guest.end_well();
    image::check_file_system(disk);
}

/// How many power cuts, of which this part is wanted.
fn cuts(part: u64, of: u64) -> u64 {
    let asked = std::env::var("ARMLET_POWER_CUTS").ok();
    let all: u64 = asked.and_then(|text| text.parse().ok()).unwrap_or(6);
    (all * part).div_ceil(of)
}

#[test]
fn power_cuts_lose_no_acknowledged_record_of_a_raw_disk() {
    let scratch = Scratch::for_disks("cuts-raw");
    let disk = scratch.path().join("disk.img");
    or_skip!("power cuts", image::ext4(&disk, 64));
    power_cuts(&disk, cuts(1, 3));
}

#[test]
fn power_cuts_lose_no_acknowledged_record_of_a_qcow2_disk() {
    let scratch = Scratch::for_disks("cuts-qcow2");
    let (base, disk) = (
        scratch.path().join("base.img"),
        scratch.path().join("disk.img"),
    );
    or_skip!("power cuts", image::ext4(&base, 64));
    or_skip!("power cuts", image::overlay(&base, &disk));
    let before = fs::read(&base).expect("the image is there");
    power_cuts(&disk, cuts(2, 3));
    let after = fs::read(&base).expect("the image is there");
    assert!(before == after, "a backing file is not written");
}

/// Boots, looks around, and shuts down by the power key where the kernel has one.
fn debian_boots(debian: &Debian, kernel: Kernel) {
    let mut guest = debian.start();
    let (status, state) = guest.ask("systemctl is-system-running");
    assert_eq!((status, state), (0, vec!["running".to_owned()]));
    let (_, root) = guest.ask("findmnt --noheadings --output SOURCE,FSTYPE / | tr -s ' '");
    assert_eq!(root, ["/dev/vda ext4"]);
    match kernel.has_power_key() {
        true => debian.setup().press_power(&guest),
        false => {
            guest.expect("ARMLET-ASK");
            guest.send("systemctl poweroff");
        }
    }
    let _log = guest.end_well();
    debian.check();
}

#[test]
fn debian_boots_from_a_raw_disk_over_pci() {
    let kernel = Kernel::V6_1Generic;
    let vmm = or_skip!("debian", Vmm::of_environment());
    let debian = or_skip!("debian", Debian::new(vmm, kernel, "debian-raw"));
    debian_boots(&debian, kernel);
}

#[test]
fn debian_boots_from_a_qcow2_disk_over_mmio() {
    let overlay = |template: &Path, disk: &Path| {
        // Beside its image: another place it may not be read from.
        let base = disk.with_extension("base");
        fs::hard_link(template, &base).map_err(|error| error.to_string())?;
        image::overlay(&base, disk)
    };
    let vmm = or_skip!("debian", Vmm::of_environment());
    let debian = Debian::with_disk(vmm, KERNEL, "debian-qcow2", overlay);
    let debian = or_skip!("debian", debian);
    let debian = debian.with(|setup| setup.transport(Transport::Mmio));
    debian_boots(&debian, KERNEL);
}
