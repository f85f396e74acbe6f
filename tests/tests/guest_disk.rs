//! Virtio disks as Linux uses them: what it finds, what lasts, and what a power cut leaves.
//!
//! `ARMLET_POWER_CUTS` asks for another number of power cuts than the few that time allows, and
//! `ARMLET_DEBIAN_BOOTS=all` for Debian on each of two kernels.

use armlet_tests::debian::{Debian, Records, last_acknowledged};
use armlet_tests::guest::{Guest, Setup, Transport, Vmm};
use armlet_tests::image;
use armlet_tests::program::Scratch;
use armlet_tests::{accelerator_name, or_skip};
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

/// Says which records are there on each disk, and writes more for ever, to all disks at once.
const CUT: &str = r#"
for disk in vda vdb; do
    await /dev/$disk && mkdir -p /mnt/$disk && mount -t ext4 /dev/$disk /mnt/$disk || return 1
    for how in fsync files; do
        echo "ARMLET-LOOK $disk $how"
        armlet-durable check $how /mnt/$disk/$how || return 1
    done
done
for disk in vda vdb; do
    how=$(setting $disk)
    if [ -z "$how" ]; then umount /mnt/$disk || return 1; continue; fi
    armlet-durable write $how /mnt/$disk/$how |
        while read -r said number; do echo "$said $disk $number"; done &
done
wait
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

/// The guest's disks while power cuts are tried.
const CUT_DISKS: [&str; 2] = ["vda", "vdb"];
/// How records are written: to a disk by turns, and to the other in the other way.
const HOW: [&str; 2] = ["fsync", "files"];

/// The last record of each disk, by the way it was written, that was acknowledged.
type Acknowledged = [[u64; HOW.len()]; CUT_DISKS.len()];

/// What the guest finds must be all that was acknowledged.
fn look(guest: &mut Guest, acknowledged: &Acknowledged) {
    for (disk, acknowledged) in CUT_DISKS.iter().zip(acknowledged) {
        for (how, acknowledged) in HOW.iter().zip(acknowledged) {
            guest.expect(&format!("ARMLET-LOOK {disk} {how}"));
            let line = guest.expect("ARMLET-RECORDS ");
            let found = Records::of_line(&line);
            let last = found.map(|found| found.last);
            assert!(
                last >= Some(*acknowledged),
                "{disk} {how}: {line} after {acknowledged}"
            );
        }
    }
}

fn power_cuts(setup: &Setup, images: [&Path; 2], cuts: usize) {
    let mut acknowledged = Acknowledged::default();
    for cut in 0..cuts {
        let turn = cut % 2;
        let words = format!("armlet.vda={} armlet.vdb={}", HOW[turn], HOW[1 - turn]);
        let mut guest = setup.clone().words(&words).start();
        look(&mut guest, &acknowledged);
        for disk in CUT_DISKS {
            guest.expect(&format!("ARMLET-ACK {disk} "));
        }
        // Anywhere between these records and some dozens later.
        thread::sleep(Duration::from_millis(cut as u64 * 389 % 1500));
        let console = guest.cut_power();
        for (number, disk) in CUT_DISKS.iter().enumerate() {
            let before = &mut acknowledged[number][turn ^ number];
            let last = last_acknowledged(&console, &format!("{disk} "));
            assert!(last > *before, "nothing was written to {disk}");
            *before = last;
            image::check(images[number]);
        }
    }
    println!("{cuts} power cuts: acknowledged {acknowledged:?}");
    let mut guest = setup.start();
    look(&mut guest, &acknowledged);
    guest.expect("ARMLET-DONE cut");
    let _log = guest.end_well();
    for image in images {
        image::check_file_system(image);
    }
}

/// How many power cuts. Elsewhere than on soft they take longer.
fn cuts() -> usize {
    let asked = std::env::var("ARMLET_POWER_CUTS").ok();
    let usual = if accelerator_name() == "soft" { 30 } else { 6 };
    asked.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn power_cuts_over(transport: Transport, cuts: usize) {
    let scratch = Scratch::for_disks("cuts");
    let [raw, base, overlay] = ["raw", "base", "overlay"].map(|name| scratch.path().join(name));
    for image in [&raw, &base] {
        or_skip!("power cuts", image::ext4(image, 128));
    }
    or_skip!("power cuts", image::overlay(&base, &overlay));
    let setup = or_skip!("power cuts", setup("cut"));
    let before = fs::read(&base).expect("the image is there");
    let setup = setup.words("quiet").transport(transport);
    power_cuts(&setup.disk(&raw).disk(&overlay), [&raw, &overlay], cuts);
    let after = fs::read(&base).expect("the image is there");
    assert!(before == after, "a backing file is not written");
}

/// Runs it for both transports at once: each guest has one CPU.
fn over_both(test: impl Fn(Transport) + Sync) {
    thread::scope(|scope| {
        let other = scope.spawn(|| test(Transport::Mmio));
        test(Transport::Pci);
        assert!(other.join().is_ok(), "MMIO: see above");
    });
}

/// Each cut is one of a raw disk and of a qcow2 disk.
#[test]
fn power_cuts_lose_no_acknowledged_record() {
    let half = |rounded_up| (cuts() + usize::from(rounded_up)) / 2;
    over_both(|transport| power_cuts_over(transport, half(transport == Transport::Pci)));
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

/// A Debian on a disk of this kind behind `transport`: on `kernel`, or on each when all that there is
/// was asked for.
fn debian_on(qcow2: bool, transport: Transport, kernel: Kernel) {
    let vmm = or_skip!("debian", Vmm::of_environment());
    let kernels = match std::env::var_os("ARMLET_DEBIAN_BOOTS") {
        Some(_) => vec![Kernel::V6_1Generic, Kernel::V6_12Cloud],
        None => vec![kernel],
    };
    let overlay = |template: &Path, disk: &Path| {
        if !qcow2 {
            return Ok(());
        }
        // Beside its image: another place it may not be read from.
        let base = disk.with_extension("base");
        fs::hard_link(template, &base).map_err(|error| error.to_string())?;
        image::overlay(&base, disk)
    };
    for kernel in kernels {
        let debian = Debian::with_disk(vmm.clone(), kernel, "debian", overlay);
        let debian = or_skip!("debian", debian).with(|setup| setup.transport(transport));
        assert_eq!(image::is_qcow2(debian.disk()), qcow2);
        debian_boots(&debian, kernel);
    }
}

#[test]
fn debian_boots_from_a_raw_disk() {
    over_both(|transport| debian_on(false, transport, Kernel::V6_1Generic));
}

/// The usual kernel has no power key.
#[test]
fn debian_boots_from_a_qcow2_disk() {
    over_both(|transport| match transport {
        Transport::Pci => debian_on(true, transport, Kernel::V6_1Generic),
        Transport::Mmio => debian_on(true, transport, KERNEL),
    });
}
