//! Timers, the counter, and the host's sleep.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aarch64::machine::RAM_BASE;
use aarch64::state::{CoreRegs, CounterState};
use aarch64::timer::CTL_ENABLE;
use aarch64::{Saved, Size, SysReg, VcpuId};
use armlet_tests::bare::asm::{Asm, X};
use hv_backend::api::{Exit, Resume};
use hv_backend::hvf::abi::reason;
use hvf_sim::{Fault, Profile, Scripted, inject, script};
use memory::{Prot, Region};

use crate::mac::{DEV, Guest, mac};

const CNTPCT: SysReg = SysReg::new(3, 3, 14, 0, 1);
const CNTVCT: SysReg = SysReg::new(3, 3, 14, 0, 2);
const IAR: SysReg = SysReg::new(3, 0, 12, 12, 0);

fn set(guest: &mut Guest, reg: Saved, value: u64) {
    guest.vcpu.set_sysreg(reg.sysreg(), value).unwrap();
}

#[test]
fn the_vmm_hears_of_the_timer_going_high_once_and_of_it_going_low_in_time() {
    let mac = mac(Profile::M1_13);
    let ctl = Saved::CntvCtlEl0.sysreg();
    let mut guest = mac.guest(|asm| {
        asm.mov(X(9), 1).msr(ctl, X(9)).stay();
        asm.msr(ctl, X(31)).mrs(X(0), IAR).msr(ctl, X(9)).stay();
    });
    assert_eq!(guest.go(), Exit::Timer);
    // While the output stays high the guest is not stopped for it again.
    let vm = &*guest.vm;
    let vcpu = &mut guest.vcpu;
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(20));
            vm.kick(VcpuId(0));
        });
        assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Kicked);
    });
    // The guest makes it low without an exit: the VMM hears of that before it is asked which
    // interrupt is pending.
    let mut core = guest.vcpu.core().unwrap();
    core.pc += 4;
    guest.vcpu.set_core(&core).unwrap();
    assert_eq!(guest.go(), Exit::Timer);
    assert_eq!(guest.go(), Exit::SysRegRead { reg: IAR });
    // And it goes high again.
    assert_eq!(guest.run(Resume::Data(1023)), Exit::Timer);
}

#[test]
fn a_timer_that_was_met_while_the_guest_waited_is_told_before_the_guest_runs() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.wfi().hvc(0);
    });
    // The framework would notice too late to matter.
    inject(Fault::LateTimer(24_000_000 * 1000));
    assert_eq!(guest.go(), Exit::Wfi);
    set(&mut guest, Saved::CntvCvalEl0, 0);
    set(&mut guest, Saved::CntvCtlEl0, CTL_ENABLE);
    assert_eq!(guest.go(), Exit::Timer);
    assert!(matches!(guest.go(), Exit::Call { .. }));
}

#[test]
fn an_exit_for_no_known_reason_may_have_been_the_timer() {
    let mac = mac(Profile::M1_13);
    let ctl = Saved::CntvCtlEl0.sysreg();
    let mut guest = mac.guest(|asm| {
        asm.mov(X(9), 1).msr(ctl, X(9));
        asm.store(Size::B, X(9), DEV, 0).stay();
    });
    inject(Fault::LateTimer(24_000_000 * 1000));
    assert!(matches!(guest.go(), Exit::MmioWrite { .. }));
    script(0, [Scripted::bare(reason::UNKNOWN)]);
    assert_eq!(guest.go(), Exit::Timer);
}

#[test]
fn a_timer_that_the_framework_notices_late_is_late_and_not_lost() {
    const DELAY: u64 = 24_000_000 / 20;
    let mac = mac(Profile::M2_15);
    let ctl = Saved::CntvCtlEl0.sysreg();
    let mut guest = mac.guest(|asm| {
        asm.mov(X(9), 1).msr(ctl, X(9)).stay();
    });
    inject(Fault::LateTimer(DELAY));
    let cval = guest.vm.counter().value + 24_000_000 / 100;
    set(&mut guest, Saved::CntvCvalEl0, cval);
    assert_eq!(guest.go(), Exit::Timer);
    let late = guest.vm.counter().value - cval;
    assert!(late >= DELAY, "{late} ticks");
}

#[test]
fn the_physical_timer_works_without_the_frameworks_gic() {
    let mac = mac(Profile::M2_15);
    let (ctl, cval) = (Saved::CntpCtlEl0.sysreg(), Saved::CntpCvalEl0.sysreg());
    let tval = SysReg::new(3, 3, 14, 2, 0);
    let mut guest = mac.guest(|asm| {
        asm.mov(X(2), 24_000_000 / 50)
            .msr(tval, X(2))
            .mrs(X(3), cval)
            .mrs(X(4), CNTPCT);
        asm.mov(X(2), 1).msr(ctl, X(2)).stay();
    });
    assert_eq!(guest.go(), Exit::Timer, "it was written");
    assert_eq!(guest.go(), Exit::Timer, "it was written again");
    assert!(guest.x(3).wrapping_sub(guest.x(4)) <= 24_000_000 / 50);
    let begin = guest.vm.counter().value;
    assert!(begin < guest.x(3), "it is not met yet");
    assert_eq!(guest.go(), Exit::Timer);
    assert!(guest.vm.counter().value >= guest.x(3));
}

#[test]
fn the_alarm_rings_by_the_hosts_ticks_and_not_by_the_guests() {
    let mac = mac(Profile::M4_26_1GHZ);
    let mut guest = mac.guest(|asm| {
        asm.stay();
    });
    let cval = guest.vm.counter().value + 1_000_000_000 / 5;
    set(&mut guest, Saved::CntpCvalEl0, cval);
    set(&mut guest, Saved::CntpCtlEl0, CTL_ENABLE);
    let begin = Instant::now();
    assert_eq!(guest.go(), Exit::Timer);
    assert!(guest.vm.counter().value >= cval);
    // As many ticks as the guest counts in that time are eight seconds.
    assert!(begin.elapsed() < Duration::from_secs(6));
}

#[test]
fn every_vcpu_has_the_same_counter() {
    let mac = mac(Profile::M1_13);
    let vm = mac.vm(2);
    let mut code = Asm::new();
    code.mrs(X(0), CNTVCT).hvc(0);
    let ram = Arc::new(Region::new(0x4000).unwrap());
    ram.write(0, &code.bytes()).unwrap();
    vm.map(RAM_BASE, ram, Prot::ReadWrite).unwrap();
    for id in [0, 1].map(VcpuId) {
        let mut vcpu = vm.bind_vcpu(id).unwrap();
        let core = CoreRegs {
            pc: RAM_BASE.0,
            ..CoreRegs::default()
        };
        vcpu.set_core(&core).unwrap();
        let before = vm.counter().value;
        while !matches!(vcpu.run(Resume::Done).unwrap(), Exit::Call { .. }) {}
        let seen = vcpu.core().unwrap().x[0];
        let after = vm.counter().value;
        assert!((before..=after).contains(&seen), "{id}: {seen:#x}");
    }
}

fn counter_of_guest(guest: &mut Guest) -> u64 {
    while !matches!(guest.go(), Exit::Call { .. }) {}
    let value = guest.x(0);
    guest.vcpu.settle(Resume::Call([0; 4])).unwrap();
    value
}

#[test]
fn the_guests_time_goes_on_while_the_host_sleeps() {
    let mac = mac(Profile::M2_15);
    let mut guest = mac.guest(|asm| {
        let again = asm.here();
        asm.mrs(X(0), CNTVCT).hvc(0).b(again);
    });
    let before = counter_of_guest(&mut guest);
    hvf_sim::sleep_host(Duration::from_secs(3600));
    let after = counter_of_guest(&mut guest);
    let seconds = (after - before) / 24_000_000;
    assert!((3600..3660).contains(&seconds), "{seconds}");
    let vmm = guest.vm.counter().value;
    assert!(
        vmm >= after && vmm - after < 60 * 24_000_000,
        "the VMM has the same counter"
    );
}

#[test]
fn the_counter_is_what_it_is_set_to_however_the_processor_counts() {
    for (profile, frequency) in [
        (Profile::M1_13, 24_000_000),
        (Profile::M4_26_1GHZ, 1_000_000_000),
    ] {
        let mac = mac(profile);
        assert_eq!(mac.open().unwrap().caps().counter_frequency, frequency);
        let mut guest = mac.guest(|asm| {
            let again = asm.here();
            asm.mrs(X(0), CNTVCT).hvc(0).b(again);
        });
        let value = 1 << 45;
        guest
            .vm
            .set_counter(&CounterState { value, frequency })
            .unwrap();
        let seen = counter_of_guest(&mut guest);
        assert!(
            (value..value + 60 * frequency).contains(&seen),
            "{} {seen:#x}",
            profile.name
        );
        let wrong = CounterState {
            value,
            frequency: 7,
        };
        assert!(guest.vm.set_counter(&wrong).is_err());
    }
}

#[test]
fn the_alarm_follows_the_counter_when_it_is_set_back() {
    let mac = mac(Profile::M2_15);
    let mut guest = mac.guest(|asm| {
        asm.stay();
    });
    let frequency = 24_000_000;
    let now = guest.vm.counter().value;
    let cval = now + frequency / 5;
    set(&mut guest, Saved::CntpCvalEl0, cval);
    set(&mut guest, Saved::CntpCtlEl0, CTL_ENABLE);
    // As a pause of 300 ms does: the guest's time stood still.
    std::thread::sleep(Duration::from_millis(300));
    guest
        .vm
        .set_counter(&CounterState {
            value: now,
            frequency,
        })
        .unwrap();
    let vm = &*guest.vm;
    let vcpu = &mut guest.vcpu;
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_secs(3));
            vm.kick(VcpuId(0));
        });
        // It may be told too early, but not never.
        while vm.counter().value < cval {
            assert_eq!(vcpu.run(Resume::Done).unwrap(), Exit::Timer);
        }
    });
}
