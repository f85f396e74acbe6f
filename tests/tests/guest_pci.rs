//! PCI as a real kernel finds it: the bridge, a virtio function, its BARs and its interrupts.

use armlet_tests::guest::{Setup, trouble_in};
use armlet_tests::or_skip;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::path::PathBuf;

/// Says what is on the bus, reads random numbers by it, and says which interrupts came.
const LOOK: &str = r#"
    for device in /sys/bus/pci/devices/*; do
        driver=$(readlink "$device/driver")
        echo "ARMLET-PCI ${device##*/} $(cat "$device/vendor"):$(cat "$device/device") $(cat "$device/class") ${driver##*/}"
    done
    await /dev/hwrng && echo "ARMLET-HWRNG $(head -c 64 /dev/hwrng | wc -c) $(cat /sys/class/misc/hw_random/rng_current)"
    grep virtio0 /proc/interrupts | sed 's/^/ARMLET-IRQ /'
"#;

/// Takes the function away, and has it found and set up again, as a guest may at any time.
const AGAIN: &str = r"
    echo 1 > /sys/bus/pci/devices/0000:00:01.0/remove
    [ ! -e /sys/bus/pci/devices/0000:00:01.0 ] || return 1
    echo 1 > /sys/bus/pci/rescan
    do_look
";

/// Says how many bridges the device tree has, and how many functions they and their buses have.
const COUNT: &str = r#"
    bridges=$(find /proc/device-tree/ -maxdepth 1 -name 'pcie@*' | wc -l)
    echo "ARMLET-BUS $bridges $(find /sys/bus/pci/devices/ -mindepth 1 | wc -l)"
"#;

fn initrd(kernel: Kernel) -> Result<PathBuf, String> {
    let extras = Extras::new()
        .modules(&["virtio_pci", "virtio_rng"])
        .action("look", LOOK)
        .action("again", AGAIN)
        .action("count", COUNT);
    let made = Store::of_checkout().initramfs_for(kernel, "pci", &extras);
    made.map_err(|error| error.to_string())
}

fn setup(kernel: Kernel) -> Result<Setup, String> {
    Setup::with_initrd(kernel, initrd(kernel)?, "ask")
}

/// The lines that `action` makes the guest print, up to the next question.
fn answers(guest: &mut armlet_tests::guest::Guest, action: &str) -> Vec<String> {
    guest.send(action);
    let mut lines = Vec::new();
    loop {
        let line = guest.expect("ARMLET-");
        if line.contains("ARMLET-ASK") {
            return lines;
        }
        assert_eq!(trouble_in(&line), None);
        lines.push(line);
    }
}

fn expect_devices(lines: &[String]) {
    let devices: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("ARMLET-PCI "))
        .collect();
    let expected = [
        "0000:00:00.0 0x1b36:0x0008 0x060000",
        // The generator of random numbers.
        "0000:00:01.0 0x1af4:0x1044 0xff0000 virtio-pci",
        // The balloon, whose driver is not among the modules.
        "0000:00:02.0 0x1af4:0x1045 0xff0000 virtio-pci",
    ];
    let trimmed: Vec<&str> = devices.iter().map(|line| line.trim_end()).collect();
    assert_eq!(trimmed, expected, "{lines:?}");
    let numbers = lines.iter().find(|line| line.contains("ARMLET-HWRNG"));
    assert_eq!(
        numbers.map(String::as_str),
        Some("ARMLET-HWRNG 64 virtio_rng.0")
    );
}

/// Names of the interrupts and how often each came.
fn interrupts(lines: &[String]) -> Vec<(String, u64)> {
    let lines = lines.iter().filter(|line| line.contains("ARMLET-IRQ"));
    let read = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let count = words.get(2).and_then(|count| count.parse().ok());
        let name = words.last().copied().unwrap_or_default();
        (name.to_owned(), count.unwrap_or(0))
    };
    lines.map(read).collect()
}

#[test]
fn a_kernel_finds_the_device_and_its_own_interrupts_also_after_a_reboot() {
    for kernel in [Kernel::V6_12Cloud, Kernel::V6_1Generic] {
        let setup = or_skip!("PCI", setup(kernel)).reboots();
        let mut guest = setup.start();
        guest.expect("ARMLET-ASK");
        for boot in 0..2 {
            let lines = answers(&mut guest, "look");
            expect_devices(&lines);
            let irqs = interrupts(&lines);
            let names: Vec<&str> = irqs.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["virtio0-config", "virtio0-input"], "{lines:?}");
            assert!(irqs[1].1 > 0, "{lines:?}");
            let msi = |line: &String| !line.contains("ARMLET-IRQ") || line.contains("MSI");
            assert!(lines.iter().all(msi), "{lines:?}");
            assert_eq!(answers(&mut guest, "count"), ["ARMLET-BUS 1 3"]);
            if boot == 0 {
                guest.send("reboot");
                guest.expect("reboot: Restarting system");
                guest.expect("ARMLET-ASK");
            }
        }
        let lines = answers(&mut guest, "again");
        expect_devices(&lines);
        guest.send("poweroff");
        let _ = guest.end_well();
    }
}

#[test]
fn without_messages_the_pin_interrupts() {
    let setup = or_skip!("INTx", setup(Kernel::V6_12Cloud)).words("pci=nomsi");
    let mut guest = setup.start();
    guest.expect("ARMLET-ASK");
    let lines = answers(&mut guest, "look");
    expect_devices(&lines);
    let irqs = interrupts(&lines);
    assert_eq!(irqs.len(), 1, "{lines:?}");
    assert!(irqs[0].0 == "virtio0" && irqs[0].1 > 0, "{lines:?}");
    guest.send("poweroff");
    let _ = guest.end_well();
}

#[test]
fn a_machine_without_devices_has_no_bus_also_after_a_reboot() {
    let setup = or_skip!("no PCI", setup(Kernel::V6_12Cloud)).reboots();
    let setup = setup.options(&["--rng", "off", "--balloon", "off"]);
    let mut guest = setup.start();
    guest.expect("ARMLET-ASK");
    assert_eq!(answers(&mut guest, "count"), ["ARMLET-BUS 0 0"]);
    guest.send("reboot");
    guest.expect("reboot: Restarting system");
    guest.expect("ARMLET-ASK");
    assert_eq!(answers(&mut guest, "count"), ["ARMLET-BUS 0 0"]);
    guest.send("poweroff");
    let _ = guest.end_well();
}
