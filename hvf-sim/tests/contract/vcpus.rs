//! The lives of vCPUs, and whose they are.

use aarch64::{Saved, SysReg};
use hv_backend::hvf::abi::{reason, reg, status};
use hvf_sim::{Profile, Violation};

use crate::support::{Mac, RAM};

const MPIDR: SysReg = SysReg::new(3, 0, 0, 0, 5);

#[test]
fn a_vcpu_needs_a_vm() {
    let mac = Mac::new(Profile::M1_13);
    assert_eq!(mac.create_vcpu().err(), Some(status::NO_DEVICE));
    let call = "hv_vcpu_create";
    assert_eq!(mac.violations(), [Violation::NoVm { call }]);
}

#[test]
fn a_thread_has_one_vcpu_and_numbers_are_the_lowest_free() {
    let mac = Mac::with_vm(Profile::M1_13);
    let first = mac.create_vcpu().unwrap();
    assert_eq!(first.id, 0);
    assert_eq!(mac.create_vcpu().err(), Some(status::BUSY));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let other = mac.create_vcpu().unwrap();
            let id = other.id;
            assert_eq!(other.destroy(), status::SUCCESS);
            id
        });
        assert_eq!(other.join().unwrap(), 1);
    });
    assert_eq!(first.destroy(), status::SUCCESS);
    let again = mac.create_vcpu().unwrap();
    assert_eq!(again.id, 0);
    assert_eq!(again.destroy(), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn there_is_no_65th_vcpu() {
    let mac = Mac::with_vm(Profile::M1_13);
    let all_there = std::sync::Barrier::new(65);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let vcpu = mac.create_vcpu();
                all_there.wait();
                all_there.wait();
                assert_eq!(vcpu.unwrap().destroy(), status::SUCCESS);
            });
        }
        all_there.wait();
        assert_eq!(mac.create_vcpu().err(), Some(status::NO_RESOURCES));
        all_there.wait();
    });
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn calls_from_other_threads_are_told_on() {
    let mac = Mac::with_vm(Profile::M1_13);
    let vcpu = mac.create_vcpu().unwrap();
    let (table, id) = (mac.table, vcpu.id);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mine = mac.create_vcpu().unwrap();
            let pretended = crate::support::pretend(table, id, &mine);
            assert_eq!(pretended.try_get(0), Err(status::BAD_ARGUMENT));
            assert_eq!(pretended.try_run(), status::BAD_ARGUMENT);
            assert_eq!(pretended.destroy(), status::BAD_ARGUMENT);
            assert_eq!(mine.destroy(), status::SUCCESS);
        });
    });
    let calls = ["hv_vcpu_get_reg", "hv_vcpu_run", "hv_vcpu_destroy"];
    let expected = calls.map(|call| Violation::WrongThread { call, vcpu: id });
    assert_eq!(mac.violations(), expected);
    assert_eq!(vcpu.destroy(), status::SUCCESS);
    assert_eq!(vcpu.try_run(), status::BAD_ARGUMENT, "it is gone");
    let call = "hv_vcpu_run";
    let stale = Violation::NoSuchVcpu { call, vcpu: id };
    assert_eq!(mac.violations(), [stale]);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn a_thread_that_ends_with_its_vcpu_is_told_on() {
    let mac = Mac::with_vm(Profile::M1_13);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| mac.create_vcpu().map(|vcpu| vcpu.id));
        assert_eq!(thread.join().unwrap(), Ok(0));
    });
    assert_eq!(mac.violations(), [Violation::VcpuAbandoned { vcpu: 0 }]);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn new_vcpus_are_poisoned_where_nothing_is_documented() {
    let mac = Mac::with_vm(Profile::M1_13);
    let vcpu = mac.create_vcpu().unwrap();
    assert!((0..31).all(|x| vcpu.get(x) == 0));
    assert_eq!(vcpu.sys(Saved::SctlrEl1.sysreg()), Ok(0));
    assert_eq!(vcpu.sys(MPIDR), Ok(0x8000_0000));
    assert!(!vcpu.timer_is_masked());
    assert_eq!(vcpu.offset(), 0);
    assert_ne!(vcpu.pc(), 0);
    assert_ne!(vcpu.get(reg::CPSR), 0x3c5);
    assert_ne!(vcpu.sys(Saved::VbarEl1.sysreg()), Ok(0));
    assert_ne!(vcpu.record().reason, reason::CANCELED);
    vcpu.set(reg::PC, RAM);
    assert_eq!(vcpu.try_run(), status::ILLEGAL_GUEST_STATE);
    let found = mac.violations();
    let [Violation::UndefinedState { registers, .. }] = &found[..] else {
        panic!("{found:?}")
    };
    assert!(registers.iter().any(|name| name == "CPSR"));
    assert!(registers.iter().any(|name| name == "VBAR_EL1"));
    assert!(!registers.iter().any(|name| name == "PC"));
    assert_eq!(vcpu.destroy(), status::SUCCESS);
    assert_eq!(mac.destroy_vm(), status::SUCCESS);
}

#[test]
fn illegal_states_show_when_they_are_run() {
    Mac::run_guest(Profile::M1_13, &[0xd400_0002], |_, vcpu, _| {
        // EL2h, AArch32, EL3t.
        for cpsr in [0x3c9, 0x1d3, 0x3cc] {
            vcpu.set(reg::CPSR, cpsr);
            assert_eq!(vcpu.get(reg::CPSR), cpsr);
            assert_eq!(vcpu.try_run(), status::ILLEGAL_GUEST_STATE);
        }
        vcpu.set(reg::CPSR, 0x3c5);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
    });
}

#[test]
fn two_vcpus_with_one_affinity_are_told_on() {
    Mac::run_guest(Profile::M1_13, &[0xd400_0002], |mac, vcpu, _| {
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let second = mac.create_vcpu().unwrap();
                second.define(RAM);
                second.syndrome();
                assert_eq!(mac.violations(), [Violation::SameAffinity { vcpu: 1 }]);
                assert_eq!(second.set_sys(MPIDR, 1), status::SUCCESS);
                second.set(reg::PC, RAM);
                second.syndrome();
                assert_eq!(second.destroy(), status::SUCCESS);
            });
        });
    });
}
