//! The virtual timer: it takes a vCPU out of the guest once, and not again until it is unmasked.

use aarch64::Saved;
use hv_backend::hvf::abi::{reason, reg, status};
use hvf_sim::{Fault, Profile};

use crate::support::{Mac, RAM, Vcpu, clocks};

const LOOP: u32 = 0x1400_0000;
const HVC: u32 = 0xd400_0002;
const MILLISECOND: u64 = 24_000;

/// Arms the timer so many ticks from now; the counter starts at 0.
fn arm(mac: &Mac, vcpu: &Vcpu<'_>, ticks: u64) {
    vcpu.set_offset(clocks(mac).0);
    vcpu.set_saved(Saved::CntvCvalEl0, ticks);
    vcpu.set_saved(Saved::CntvCtlEl0, 1);
}

#[test]
fn the_timer_leaves_once_and_is_masked_then() {
    Mac::run_guest(Profile::M1_13, &[LOOP], |mac, vcpu, ram| {
        arm(mac, vcpu, 5 * MILLISECOND);
        assert_eq!(vcpu.sys(Saved::CntvCtlEl0.sysreg()), Ok(1));
        assert_eq!(vcpu.run().reason, reason::VTIMER_ACTIVATED);
        assert!(clocks(mac).0 - vcpu.offset() >= 5 * MILLISECOND);
        assert!(vcpu.timer_is_masked());
        let control = vcpu.sys(Saved::CntvCtlEl0.sysreg());
        assert_eq!(control, Ok(5), "ISTATUS is as of now");
        ram.write(0, &[HVC]);
        ram.write(8, &[HVC]);
        vcpu.set(reg::PC, RAM + 8);
        assert_eq!(vcpu.syndrome() >> 26, 0x16, "masked, it does not leave");
        vcpu.mask_timer(false);
        vcpu.set(reg::PC, RAM + 8);
        assert_eq!(vcpu.run().reason, reason::VTIMER_ACTIVATED);
        assert_eq!(vcpu.pc(), RAM + 8);
        vcpu.mask_timer(false);
        vcpu.set_saved(Saved::CntvCtlEl0, 3);
        assert_eq!(vcpu.syndrome() >> 26, 0x16, "the guest's own mask holds");
    });
}

#[test]
fn the_guest_arms_the_timer_itself() {
    // msr cntv_tval_el0, x1; mov x2, #1; msr cntv_ctl_el0, x2; b .
    let code = [0xd51b_e301, 0xd280_0022, 0xd51b_e322, LOOP];
    Mac::run_guest(Profile::M1_13, &code, |_, vcpu, _| {
        vcpu.set(1, 2 * MILLISECOND);
        assert_eq!(vcpu.run().reason, reason::VTIMER_ACTIVATED);
        assert_eq!(vcpu.pc(), RAM + 12);
    });
}

#[test]
fn a_late_timer_is_late() {
    Mac::run_guest(Profile::M1_13, &[LOOP], |mac, vcpu, _| {
        hvf_sim::inject(Fault::LateTimer(40 * MILLISECOND));
        arm(mac, vcpu, 5 * MILLISECOND);
        assert_eq!(vcpu.run().reason, reason::VTIMER_ACTIVATED);
        assert!(clocks(mac).0 - vcpu.offset() >= 45 * MILLISECOND);
    });
}

#[test]
fn the_mask_and_the_offset_are_kept() {
    Mac::run_guest(Profile::M1_13, &[HVC], |_, vcpu, _| {
        vcpu.mask_timer(true);
        assert!(vcpu.timer_is_masked());
        vcpu.set_offset(0x1234);
        assert_eq!(vcpu.offset(), 0x1234);
        assert_eq!(vcpu.try_run(), status::SUCCESS);
    });
}
