//! Kicks: they stick, they are one, and some Macs lose one in a race.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hv_backend::hvf::abi::{reason, reg, status};
use hvf_sim::{Fault, Profile, Violation};

use crate::support::{Mac, RAM, kick};

const LOOP: u32 = 0x1400_0000;
const HVC: u32 = 0xd400_0002;

#[test]
fn kicks_stick_and_several_are_one() {
    Mac::run_guest(Profile::M1_13, &[HVC, HVC], |mac, vcpu, _| {
        for _ in 0..3 {
            assert_eq!(mac.kick(&[vcpu.id]), status::SUCCESS);
        }
        assert_eq!(vcpu.run().reason, reason::CANCELED);
        assert_eq!(vcpu.pc(), RAM, "no guest code ran");
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
    });
}

#[test]
fn a_running_vcpu_leaves_soon() {
    Mac::run_guest(Profile::M1_13, &[LOOP], |mac, vcpu, _| {
        let (table, id) = (mac.table, vcpu.id);
        for _ in 0..20 {
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(2));
                    assert_eq!(kick(table, &[id]), status::SUCCESS);
                });
                assert_eq!(vcpu.run().reason, reason::CANCELED);
            });
        }
    });
}

#[test]
fn kicking_nobody_does_nothing() {
    Mac::run_guest(Profile::M1_13, &[HVC], |mac, vcpu, _| {
        assert_eq!(mac.kick(&[]), status::SUCCESS);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        assert_eq!(mac.kick(&[63]), status::SUCCESS);
        assert_eq!(mac.kick(&[64]), status::BAD_ARGUMENT);
        let call = "hv_vcpus_exit";
        let stale = [63, 64].map(|vcpu| Violation::NoSuchVcpu { call, vcpu });
        assert_eq!(mac.violations(), stale);
    });
}

/// How many of the kicks that were made while the guest made calls were reported.
fn kicks_among_calls(fault: Option<Fault>) -> (u32, u32) {
    let (mut made, mut reported) = (0, 0);
    // hvc #0; b .-4
    Mac::run_guest(Profile::M1_13, &[HVC, 0x17ff_ffff], |mac, vcpu, _| {
        if let Some(fault) = fault {
            hvf_sim::inject(fault);
        }
        let (table, id) = (mac.table, vcpu.id);
        let (waiting, done) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let kicker = scope.spawn(|| {
                let mut kicks = 0;
                let start = Instant::now();
                while start.elapsed() < Duration::from_millis(500) {
                    waiting.store(true, Ordering::SeqCst);
                    kick(table, &[id]);
                    kicks += 1;
                    // The next one only after this one was reported, or is lost for good.
                    let since = Instant::now();
                    while waiting.load(Ordering::SeqCst)
                        && since.elapsed() < Duration::from_millis(100)
                    {
                        std::thread::yield_now();
                    }
                }
                done.store(true, Ordering::SeqCst);
                kicks
            });
            while !done.load(Ordering::SeqCst) {
                if vcpu.run().reason == reason::CANCELED {
                    reported += 1;
                    waiting.store(false, Ordering::SeqCst);
                }
            }
            made = kicker.join().unwrap_or(0);
        });
        vcpu.set(reg::PC, RAM);
    });
    (made, reported)
}

#[test]
fn kicks_that_meet_another_exit_stick_or_are_lost_on_request() {
    let (made, reported) = kicks_among_calls(None);
    assert!(made > 10 && reported >= made - 1, "{reported} of {made}");
    // The race is for the scheduler to make; it is not made in every half second.
    let lost = (0..20).any(|_| {
        let (made, reported) = kicks_among_calls(Some(Fault::DropKicks));
        reported + 1 < made
    });
    assert!(lost, "no kick was ever lost");
}
