//! What goes wrong on request.

use hv_backend::hvf::abi::{reason, reg};
use hvf_sim::{Fault, Profile};

use crate::support::{Mac, RAM};

/// The reasons of six runs of a guest that calls.
fn reasons(fault: Fault) -> Vec<u32> {
    let mut reasons = Vec::new();
    // hvc #0; b .-4
    Mac::run_guest(Profile::M1_13, &[0xd400_0002, 0x17ff_ffff], |_, vcpu, _| {
        hvf_sim::inject(fault);
        for _ in 0..6 {
            let pc = vcpu.pc();
            let exit = vcpu.run();
            if exit.reason != reason::EXCEPTION {
                assert_eq!(vcpu.pc(), pc, "nothing was done");
            }
            reasons.push(exit.reason);
        }
        hvf_sim::clear_faults();
        assert_eq!(vcpu.run().reason, reason::EXCEPTION);
        vcpu.set(reg::PC, RAM);
    });
    reasons
}

#[test]
fn every_third_run_ends_for_an_unknown_reason() {
    assert_eq!(reasons(Fault::Unknown(3)), [1, 1, 3, 1, 1, 3]);
}

#[test]
fn every_second_run_is_cancelled_for_nothing() {
    assert_eq!(reasons(Fault::SpuriousCancel(2)), [1, 0, 1, 0, 1, 0]);
}
