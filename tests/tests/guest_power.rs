//! The power key and the clock's alarm, as a real guest finds them.
//!
//! The guest is Debian's generic kernel: its kernels for clouds have no driver for keys on a GPIO.

use armlet_tests::guest::{Guest, Setup};
use armlet_tests::or_skip;
use armlet_tests::program::{self, Scratch};
use guests::initramfs::Extras;
use guests::{Kernel, Store};
use std::process::Command;
use std::time::Duration;

const KERNEL: Kernel = Kernel::V6_1Generic;

/// Waits until the power key goes down, and ends: a `struct input_event` is 16 bytes of time, type
/// 1 for keys, code 116 for this one, and value 1 for down.
const POWER_KEY: &str = r#"
    exec 3< /dev/input/event0
    echo ARMLET-KEY-READY
    while :; do
        set -- $(dd bs=24 count=1 <&3 2> /dev/null | hexdump -v -e '12/2 "%u "')
        [ "$9" = 1 ] && [ "${10}" = 116 ] && [ "${11}" = 1 ] && break
    done
    echo ARMLET-KEY-DOWN
"#;

/// Sleeps until the clock's alarm wakes the whole machine up, and tells how often the clock had
/// interrupted before and after.
const ALARM: &str = r#"
    count() { grep rtc-pl031 /proc/interrupts | tr -s ' ' | cut -d' ' -f3; }
    before=$(count)
    echo +3 > /sys/class/rtc/rtc0/wakealarm || return 1
    echo freeze > /sys/power/state || return 1
    echo "ARMLET-ALARM $before $(count)"
"#;

fn setup(action: &str) -> Result<Setup, String> {
    let extras = Extras::new()
        .modules(&["gpio_keys", "evdev"])
        .action("powerkey", POWER_KEY)
        .action("alarm", ALARM);
    let initrd = Store::of_checkout().initramfs_for(KERNEL, "power", &extras);
    let initrd = initrd.map_err(|error| error.to_string())?;
    Setup::with_initrd(KERNEL, initrd, action)
}

/// A guest that listens to the power key, which another VMM presses in another way.
fn listening() -> Result<Setup, String> {
    if std::env::var_os("ARMLET_TEST_VMM").is_some() {
        return Err("only armlet is stopped like this".to_owned());
    }
    setup("powerkey")
}

/// Checks that the guest noticed the key and powered off by itself.
fn powers_off(mut guest: Guest) {
    guest.expect("ARMLET-KEY-DOWN");
    guest.expect("ARMLET-DONE powerkey");
    assert!(!guest.end_well().is_empty());
}

#[test]
fn a_signal_presses_the_power_key() {
    for signal in ["TERM", "INT"] {
        let mut guest = or_skip!("power key", listening()).start();
        guest.expect("ARMLET-KEY-READY");
        let process = guest.process().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status();
        assert!(sent.expect("kill runs").success());
        powers_off(guest);
    }
}

#[test]
fn a_stop_presses_the_power_key() {
    const TEST: &str = "armlet stop";
    let armlet = or_skip!(TEST, program::armlet());
    let scratch = Scratch::new("guest-stop");
    let socket = scratch.path().join("control");
    let socket = socket.to_str().expect("temporary paths are text");
    let setup = or_skip!(TEST, listening()).options(&["--control", socket]);
    let mut guest = setup.start();
    guest.expect("ARMLET-KEY-READY");
    let stop = std::thread::spawn({
        let socket = socket.to_owned();
        move || program::run(&armlet, &["stop", &socket], Duration::from_secs(60))
    });
    powers_off(guest);
    let stopped = stop.join().expect("a run of armlet");
    assert_eq!(stopped.status, Some(0), "{stopped:?}");
    assert!(stopped.stderr.is_empty(), "{stopped:?}");
}

#[test]
fn the_clocks_alarm_wakes_the_guest() {
    let mut guest = or_skip!("alarm", setup("alarm")).start();
    let line = guest.expect("ARMLET-ALARM");
    let counts: Vec<u32> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!(
        matches!(counts[..], [before, after] if after == before + 1),
        "{line}"
    );
    guest.expect("ARMLET-DONE alarm");
    assert!(!guest.end_well().is_empty());
}
