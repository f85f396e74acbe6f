//! Memory that a guest does not use goes back to the host: what it frees, and what it is asked for.

use armlet_tests::guest::{Guest, Setup, trouble_in};
use armlet_tests::or_skip;
use armlet_tests::program::Scratch;
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use vmm::control::client::Client;
use vmm::control::protocol::{Balloon, Inflate};
use vmm::machine::Reclaimed;

const MIB: u64 = 1 << 20;
/// What the guest uses and frees.
const USED: u64 = 512 * MIB;
/// How long memory may take to go back. The promise is ten seconds, on a host that has time.
const LIMIT: Duration = Duration::from_secs(60);

/// Fills memory, frees it when it is told to, and goes on when it is told to.
const USE: &str = r#"
    mkdir -p /fill && mount -t tmpfs -o size=90% fill /fill || return 1
    dd if=/dev/zero of=/fill/bytes bs=1M count=512 2>/dev/null || return 1
    echo "ARMLET-FULL"
    read -r line
    rm /fill/bytes
    echo "ARMLET-FREE"
    read -r line
"#;

/// Keeps a file, and goes on copying it through memory that was free a moment before: what it reads
/// back has to be what it wrote.
const KEEP: &str = r#"
    mkdir -p /fill && mount -t tmpfs -o size=90% fill /fill || return 1
    dd if=/dev/urandom of=/fill/kept bs=1M count=48 2>/dev/null || return 1
    sum=$(md5sum < /fill/kept)
    dd if=/dev/zero of=/fill/bytes bs=1M count=512 2>/dev/null || return 1
    rm /fill/bytes
    while [ ! -e /fill/enough ]; do
        cp /fill/kept /fill/copy
        cmp /fill/kept /fill/copy || echo "ARMLET-LOST"
        rm /fill/copy
    done &
    echo "ARMLET-FREE"
    read -r line
    touch /fill/enough
    wait
    [ "$(md5sum < /fill/kept)" = "$sum" ] && echo "ARMLET-KEPT"
    read -r line
"#;

fn setup(options: &[&str]) -> Result<Setup, String> {
    setup_for("use", USE, options)
}

fn setup_for(name: &str, action: &str, options: &[&str]) -> Result<Setup, String> {
    fs::read_to_string("/proc/self/status").map_err(|_| "this host has no /proc".to_owned())?;
    let extras = Extras::new()
        .modules(&["virtio_pci", "virtio_balloon"])
        .action(name, action);
    let initrd = format!("balloon-{name}");
    let initrd = Store::of_checkout().initramfs_for(Kernel::V6_12Cloud, &initrd, &extras);
    let initrd = initrd.map_err(|error| error.to_string())?;
    let setup = Setup::with_initrd(Kernel::V6_12Cloud, initrd, name)?;
    Ok(setup.memory_mib(1024).options(options))
}

/// Bytes of memory that the guest's process has.
fn resident(guest: &Guest) -> u64 {
    let path = format!("/proc/{}/status", guest.process());
    let status = fs::read_to_string(path).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        << 10
}

/// Waits until the guest's process has `less` bytes less than `before`, and says how long it took.
fn wait_for_less(guest: &Guest, before: u64, less: u64) {
    let start = Instant::now();
    loop {
        let now = resident(guest);
        let (given, time) = (before.saturating_sub(now), start.elapsed());
        if given >= less {
            let (given, of, time) = (given / MIB, before / MIB, time.as_secs_f64());
            println!("{given} of {of} MiB went back in {time:.1} s");
            return;
        }
        assert!(time < LIMIT, "{given} of {before} bytes went back");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn connect(socket: &Path) -> Client {
    let address = socket.to_str().expect("a text").parse().expect("a path");
    Client::connect(&address).expect("the machine listens")
}

fn ask(socket: &Path, size: Option<u64>) -> Balloon {
    let reclaim = false;
    connect(socket)
        .balloon(Inflate { size, reclaim })
        .expect("it has one")
}

fn wait_for(socket: &Path, is_so: impl Fn(&Balloon) -> bool) {
    let start = Instant::now();
    loop {
        let balloon = ask(socket, None);
        if is_so(&balloon) {
            return;
        }
        assert!(start.elapsed() < LIMIT, "{balloon:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn end_well(mut guest: Guest) {
    guest.send("");
    let lines = guest.end_well();
    assert_eq!(trouble_in(&lines.join("\n")), None);
}

#[test]
fn what_a_guest_frees_goes_back_by_itself() {
    let mut guest = or_skip!("free page reporting", setup(&[])).start();
    guest.expect("ARMLET-FULL");
    let full = resident(&guest);
    assert!(full > USED, "{full}");
    guest.send("");
    guest.expect("ARMLET-FREE");
    wait_for_less(&guest, full, USED / 10 * 9);
    end_well(guest);
}

#[test]
fn a_balloon_takes_memory_and_gives_it_back() {
    let scratch = Scratch::new("balloon");
    let socket = scratch.path().join("control.sock");
    let control = socket.to_str().expect("a text");
    let options = [
        "--balloon",
        "free-page-reporting=false",
        "--control",
        control,
    ];
    let mut guest = or_skip!("balloon", setup(&options)).start();
    guest.expect("ARMLET-FULL");
    guest.send("");
    guest.expect("ARMLET-FREE");
    let before = resident(&guest);
    assert!(before > USED, "what is free stays: {before}");
    let wanted = 600 * MIB;
    assert_eq!(ask(&socket, Some(wanted)).target, wanted);
    wait_for(&socket, |balloon| balloon.actual == wanted);
    // Not all of what it gives had been touched.
    wait_for_less(&guest, before, USED / 2);
    wait_for(&socket, |balloon| {
        let free = balloon.guest.and_then(|guest| guest.free);
        free.is_some_and(|free| free < 500 * MIB)
    });
    ask(&socket, Some(0));
    wait_for(&socket, |balloon| balloon.actual == 0);
    end_well(guest);
}

/// The guest goes on using memory while all that is free is taken from it, again and again.
#[test]
fn free_memory_is_reclaimed_and_the_guest_keeps_its_data() {
    const ROUNDS: usize = 5;
    /// The guest hears a little later that it has its pages again.
    const NAP: Duration = Duration::from_millis(500);
    let scratch = Scratch::new("reclaim");
    let socket = scratch.path().join("control.sock");
    let control = socket.to_str().expect("a text");
    let options = [
        "--balloon",
        "free-page-reporting=false",
        "--control",
        control,
    ];
    let setup = setup_for("keep", KEEP, &options);
    let mut guest = or_skip!("reclaiming free memory", setup).start();
    guest.expect("ARMLET-FREE");
    let before = resident(&guest);
    assert!(before > USED, "what is free stays: {before}");
    let mut client = connect(&socket);
    for round in 0..ROUNDS {
        let (_, Reclaimed { named, returned }) = client.reclaim(None).expect("it goes back");
        println!("{} of {} MiB went back", returned / MIB, named / MIB);
        assert!(returned <= named && named <= 1024 * MIB);
        assert!(round > 0 || returned > USED / 2, "{returned} of {named}");
        let now = resident(&guest);
        assert!(round > 0 || now < before - USED / 2, "{now} of {before}");
        std::thread::sleep(NAP);
    }
    let two = [connect(&socket), connect(&socket)].map(|mut client| {
        let (size, reclaim) = (None, true);
        client.balloon(Inflate { size, reclaim })
    });
    assert!(two[0].is_ok() && two[1].is_err(), "one at a time: {two:?}");
    guest.send("");
    guest.expect("ARMLET-KEPT");
    guest.send("");
    let lines = guest.end_well();
    let text = lines.join("\n");
    assert!(!text.contains("ARMLET-LOST"), "{text}");
    assert_eq!(trouble_in(&text), None);
}
