//! The Debian guest and its helpers, on QEMU: what fails here is no fault of armlet's.

use armlet_tests::debian::{Debian, Records, last_acknowledged};
use armlet_tests::guest::{Transport, Vmm};
use armlet_tests::or_skip;
use guests::Kernel;

fn debian(kernel: Kernel, test: &str) -> Result<Debian, String> {
    Debian::new(Vmm::qemu()?, kernel, test)
}

#[test]
fn the_power_key_ends_it_and_leaves_a_sound_disk() {
    let debian = or_skip!("power key", debian(Kernel::V6_1Generic, "power-key"));
    let mut guest = debian.start();
    let (status, state) = guest.ask("systemctl is-system-running; systemctl --failed --no-legend");
    assert_eq!((status, state), (0, vec!["running".to_owned()]));
    let (_, root) = guest.ask("findmnt --noheadings --output SOURCE,FSTYPE / | tr -s ' '");
    assert_eq!(root, ["/dev/vda ext4"]);
    debian.setup().press_power(&guest);
    let _log = guest.end_well();
    debian.check();
}

#[test]
fn it_runs_fio_on_either_transport() {
    for transport in [Transport::Pci, Transport::Mmio] {
        let debian = or_skip!("fio", debian(Kernel::V6_12Cloud, "fio"));
        let debian = debian.with(|setup| setup.transport(transport));
        let mut guest = debian.start();
        let (status, said) = guest.ask(
            "fio --name=mixed --filename=/var/tmp/fio --size=4M --rw=randrw --bs=4k --direct=1 \
             --ioengine=libaio --iodepth=8 --verify=crc32c --output-format=terse",
        );
        assert_eq!(status, 0, "{said:?}");
        guest.expect("ARMLET-ASK");
        guest.send("systemctl poweroff");
        let _log = guest.end_well();
        debian.check();
    }
}

#[test]
fn a_power_cut_loses_no_acknowledged_record() {
    let debian = or_skip!("power cut", debian(Kernel::V6_12Cloud, "power-cut"));
    for how in ["fsync", "files"] {
        let path = format!("/var/tmp/{how}");
        let mut guest = debian.start();
        guest.expect("ARMLET-ASK");
        guest.send(&format!("armlet-durable write {how} {path}"));
        guest.expect("ARMLET-ACK 30");
        let acknowledged = last_acknowledged(&guest.cut_power(), "");
        let mut guest = debian.start();
        let found = Records::look(&mut guest, how, &path);
        assert!(found.last >= acknowledged, "{found:?} after {acknowledged}");
        guest.expect("ARMLET-ASK");
        guest.send("systemctl poweroff");
        let _log = guest.end_well();
        debian.check();
    }
}
