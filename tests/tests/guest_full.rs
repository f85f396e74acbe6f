//! A machine with as many virtio devices as there may be: Linux finds each of them and uses it.

use armlet_tests::guest::{Setup, Transport};
use armlet_tests::or_skip;
use armlet_tests::program::Scratch;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::fs;
use std::path::PathBuf;

const KERNEL: Kernel = Kernel::V6_12Cloud;
const MODULES: [&str; 6] = [
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
];
/// All devices of a machine.
const DEVICES: usize = 31;
/// Those that are no disk: a console, a source of entropy and a balloon.
const OTHERS: usize = 3;
const DISKS: usize = DEVICES - OTHERS;
const SECTORS: usize = 16;
/// Where the guest writes, in bytes.
const WRITTEN_AT: usize = 4096;

/// Says what is there, reads every disk and writes on it, and uses the console and the source of
/// entropy.
const FULL: &str = r#"
await /dev/hvc0 && await /dev/hwrng || return 1
cd /sys/bus/virtio/devices
echo "ARMLET-VIRTIO $(ls | wc -l) devices, $(ls -d */driver | wc -l) with a driver"
cd /sys/block
for disk in vd*; do
    serial=$(cat $disk/serial)
    echo "ARMLET-DISK $serial $(cat $disk/size) $(head -n 1 /dev/$disk)"
    echo "to $serial" | dd of=/dev/$disk bs=4k seek=1 conv=sync,fsync 2> /dev/null || return 1
done
cd /
echo 3 > /proc/sys/vm/drop_caches
for disk in /sys/block/vd*; do
    dd if=/dev/${disk##*/} bs=4k skip=1 2> /dev/null | grep -q "^to $(cat $disk/serial)$" || return 1
done
echo "ARMLET-RANDOM $(head -c 64 /dev/hwrng | wc -c)"
echo ARMLET-TERMINAL > /dev/hvc0
"#;

fn setup() -> Result<Setup, String> {
    let extras = Extras::new().modules(&MODULES).action("full", FULL);
    let initrd = Store::of_checkout().initramfs_for(KERNEL, "full", &extras);
    Setup::with_initrd(KERNEL, initrd.map_err(|error| error.to_string())?, "full")
}

/// The disk of that number: its first line says which it is.
fn disk(scratch: &Scratch, number: usize) -> PathBuf {
    let mut bytes = format!("from disk-{number}\n").into_bytes();
    bytes.resize(SECTORS * 512, 0);
    scratch.file(&format!("disk{number}"), &bytes).into()
}

fn linux_uses_all(transport: Transport) {
    let setup = or_skip!("a full machine", setup());
    let scratch = Scratch::new("full");
    let terminal = scratch.path().join("terminal");
    let console = format!("port=hvc0,file={}", terminal.display());
    let disks: Vec<PathBuf> = (0..DISKS).map(|number| disk(&scratch, number)).collect();
    // With 4 CPUs, disks on PCI want 140 messages for interrupts, and there are 128.
    let mut setup = setup.cpus(4).transport(transport);
    for (number, path) in disks.iter().enumerate() {
        setup = setup.disk_with(path, &format!("serial=disk-{number}"));
    }
    let log = setup.options(&["--console", &console]).run();
    let said = |line: &str| log.iter().any(|said| said == line);
    let all = format!("ARMLET-VIRTIO {DEVICES} devices, {DEVICES} with a driver");
    assert!(said(&all) && said("ARMLET-RANDOM 64"), "{log:#?}");
    for (number, path) in disks.iter().enumerate() {
        let line = format!("ARMLET-DISK disk-{number} {SECTORS} from disk-{number}");
        assert!(said(&line), "no {line:?}: {log:#?}");
        let bytes = fs::read(path).expect("the image is there");
        let written = format!("to disk-{number}\n");
        assert_eq!(bytes.len(), SECTORS * 512, "disk {number}");
        assert!(
            bytes[WRITTEN_AT..].starts_with(written.as_bytes()),
            "nothing was written on disk {number}"
        );
    }
    let printed = fs::read_to_string(&terminal).expect("the console's file");
    assert_eq!(printed.trim_end(), "ARMLET-TERMINAL");
}

#[test]
fn linux_uses_as_many_devices_as_there_may_be_over_pci() {
    linux_uses_all(Transport::Pci);
}

#[test]
fn linux_uses_as_many_devices_as_there_may_be_over_mmio() {
    linux_uses_all(Transport::Mmio);
}
