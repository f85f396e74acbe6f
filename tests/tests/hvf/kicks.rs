//! Kicks are not lost, whatever the framework does with them.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use aarch64::{Size, VcpuId};
use armlet_diff::rng::Rng;
use armlet_tests::bare::asm::X;
use armlet_tests::bare::random_seed;
use hv_backend::api::{Exit, Resume};
use hvf_sim::{Fault, Profile, dropped_kicks, inject};

use crate::mac::{DEV, mac};

/// Kicks, at random moments. `conformance` has as many, of guests that leave less often.
const KICKS: u32 = 100_000;
/// How long one may take on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn kicks_that_race_with_other_exits_are_not_lost() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        let again = asm.here();
        asm.store(Size::B, X(0), DEV, 0).b(again);
    });
    inject(Fault::DropKicks);
    let dropped = dropped_kicks();
    let mut rng = Rng::new(random_seed("kicks that race"), 0);
    let taken = AtomicU32::new(0);
    let vm = &*guest.vm;
    std::thread::scope(|s| {
        s.spawn(|| {
            for kick in 0..KICKS {
                for _ in 0..rng.bits() % 200 {
                    std::hint::spin_loop();
                }
                vm.kick(VcpuId(0));
                let start = Instant::now();
                while taken.load(SeqCst) == kick {
                    assert!(start.elapsed() < PATIENCE, "kick {kick} is lost");
                    std::hint::spin_loop();
                    std::thread::yield_now();
                }
            }
        });
        let start = Instant::now();
        while taken.load(SeqCst) < KICKS {
            let exit = guest.vcpu.run(Resume::Done).unwrap();
            if exit == Exit::Kicked {
                taken.fetch_add(1, SeqCst);
            }
            assert!(start.elapsed() < 20 * PATIENCE);
        }
    });
    let dropped = dropped_kicks() - dropped;
    eprintln!("of {KICKS} kicks the framework dropped {dropped}");
    assert!(dropped > 0, "the race was never met");
}

#[test]
fn a_kick_ends_a_run_that_leaves_for_nothing_else() {
    let mac = mac(Profile::M4_26);
    let mut guest = mac.guest(|asm| {
        asm.stay();
    });
    let vm = &*guest.vm;
    vm.kick(VcpuId(0));
    assert_eq!(guest.vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            vm.kick(VcpuId(0));
        });
        assert_eq!(guest.vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    });
}

#[test]
fn what_the_framework_cancels_for_nothing_is_no_kick() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.store(Size::B, X(0), DEV, 0).hvc(0);
    });
    inject(Fault::SpuriousCancel(2));
    assert!(matches!(guest.go(), Exit::MmioWrite { .. }));
    assert!(matches!(guest.go(), Exit::Call { .. }));
}

#[test]
fn kicks_of_vcpus_that_are_not_there_reach_nobody() {
    let mac = mac(Profile::M1_13);
    let vm = mac.vm(2);
    vm.kick(VcpuId(0));
    drop(vm.bind_vcpu(VcpuId(0)).unwrap());
    vm.kick(VcpuId(0));
    vm.kick(VcpuId(7));
    let mut other = vm.bind_vcpu(VcpuId(1)).unwrap();
    vm.kick(VcpuId(1));
    assert_eq!(other.run(Resume::Done).unwrap(), Exit::Kicked);
}
