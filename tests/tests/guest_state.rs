//! Linux, paused, saved and taken up by other machines while it works, and none the wiser.

use std::thread::sleep;
use std::time::Duration;

use armlet_tests::bare::{accelerator, random_seed};
use armlet_tests::guest::trouble_in;
use armlet_tests::moving::{Guest, Place};
use armlet_tests::or_skip;
use guests::{Kernel, Store};
use hv_backend::select::{Accel, open};

const ROUNDS: u64 = 60_000;
/// How often a guest moves while it boots and while it works.
const MOVES: usize = 12;

/// What `do_count` of the guest's `/init` computes.
fn sum() -> u64 {
    (1..=ROUNDS).fold(0, |sum, i| (sum * 31 + i) % 1_000_003)
}

/// A time of 0 to 255 milliseconds.
fn nap(seed: &mut u64) {
    // Knuth's MMIX.
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    sleep(Duration::from_millis(*seed >> 56));
}

fn linux(cpus: u16) -> Result<Guest, guests::Error> {
    let store = Store::of_checkout();
    Ok(Guest {
        kernel: store.kernel(Kernel::V6_12Cloud)?,
        initrd: Some(store.initramfs()?),
        cmdline: format!("console=ttyAMA0 panic=-1 armlet.do=count armlet.rounds={ROUNDS}"),
        cpus,
        memory_mib: 160,
    })
}

#[test]
fn a_guest_that_moves_at_random_moments_works_on() {
    let mut seed = random_seed("moves");
    let place = Place::new("moves", or_skip!("moves", linux(2)));
    let accel = accelerator();
    // A process has one VM of Hypervisor.framework: from there it is to the software CPU and back.
    let others = match accel.name() {
        "hvf" => open(Accel::Soft).expect("always there"),
        _ => accelerator(),
    };
    let mut machine = place.start(&*accel);
    for moved in 0..MOVES {
        if moved == MOVES / 3 {
            machine.expect("ARMLET-COUNT-BEGIN");
        }
        nap(&mut seed);
        let to = if moved % 2 == 0 { &others } else { &accel };
        machine = machine.move_to(&place, &**to);
    }
    let printed = machine.finish();
    let wanted = format!("ARMLET-COUNT sum={} hashes=1", sum());
    assert!(printed.contains(&wanted), "no {wanted:?} in:\n{printed}");
    if let Some(line) = trouble_in(&printed) {
        panic!("trouble in the guest: {line}, in:\n{printed}");
    }
}
