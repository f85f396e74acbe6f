//! Registers: which there are, what sticks, and the one that is passed by value in a vector.

use aarch64::{Saved, SysReg};
use hv_backend::hvf::abi::{reg, status};
use hvf_sim::Profile;

use crate::support::{Mac, RAM};

const MPIDR: SysReg = SysReg::new(3, 0, 0, 0, 5);
const ISAR1: SysReg = SysReg::new(3, 0, 0, 6, 1);

#[test]
fn general_registers_end_at_cpsr() {
    Mac::run_guest(Profile::M1_13, &[0], |_, vcpu, _| {
        for number in 0..=31 {
            vcpu.set(number, 0x1_0000_0000 + u64::from(number));
        }
        assert_eq!(vcpu.get(30), 0x1_0000_001e);
        assert_eq!(vcpu.pc(), 0x1_0000_001f, "register 31 is the PC");
        vcpu.set(reg::CPSR, 0xffff_ffff_6000_03c5);
        assert_eq!(vcpu.get(reg::CPSR), 0x6000_03c5);
        vcpu.set(reg::FPCR, 0xffff_ffff_0300_0000);
        assert_eq!(vcpu.get(reg::FPCR), 0x0300_0000);
        vcpu.set(reg::FPSR, 0x1f);
        assert_eq!(vcpu.get(reg::FPSR), 0x1f);
        assert_eq!(vcpu.try_get(35), Err(status::BAD_ARGUMENT));
        assert_eq!(vcpu.try_set(35, 0), status::BAD_ARGUMENT);
        vcpu.set(reg::PC, RAM);
    });
}

#[test]
fn vectors_are_passed_by_value() {
    // mov v1.16b, v0.16b; hvc #0
    let code = [0x4ea0_1c01, 0xd400_0002];
    Mac::run_guest(Profile::M1_13, &code, |_, vcpu, _| {
        let value = |n: u32| 0x0011_2233_4455_6677_8899_aabb_ccdd_ee00 + u128::from(n);
        for number in 0..32 {
            assert_eq!(vcpu.set_vector(number, value(number)), status::SUCCESS);
        }
        for number in 0..32 {
            assert_eq!(vcpu.vector(number), Ok(value(number)));
        }
        assert_eq!(vcpu.set_vector(32, 0), status::BAD_ARGUMENT);
        assert_eq!(vcpu.vector(32), Err(status::BAD_ARGUMENT));
        vcpu.set_saved(Saved::CpacrEl1, 3 << 20);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        assert_eq!(vcpu.vector(1), Ok(value(0)));
    });
}

#[test]
fn system_registers_depend_on_macos() {
    let actlr = Saved::ActlrEl1.sysreg();
    let scxtnum = SysReg::new(3, 3, 13, 0, 7);
    for (profile, has_actlr, has_scxtnum) in [
        (Profile::M1_13, false, false),
        (Profile::M2_15, true, false),
        (Profile::M4_26, true, true),
    ] {
        Mac::run_guest(profile, &[0], |_, vcpu, _| {
            assert_eq!(vcpu.sys(actlr).is_ok(), has_actlr);
            if has_actlr {
                assert_eq!(vcpu.set_sys(actlr, u64::MAX), status::SUCCESS);
                assert_eq!(vcpu.sys(actlr), Ok(2), "only EnTSO sticks");
            }
            let set = vcpu.set_sys(scxtnum, 5) == status::SUCCESS;
            assert_eq!(set, has_scxtnum);
            for never in [
                Saved::CntpCtlEl0.sysreg(),
                Saved::OslsrEl1.sysreg(),
                SysReg::new(3, 3, 14, 0, 0),
                SysReg::new(3, 4, 1, 1, 0),
            ] {
                assert_eq!(vcpu.sys(never), Err(status::BAD_ARGUMENT), "{never}");
                assert_eq!(vcpu.set_sys(never, 0), status::BAD_ARGUMENT);
            }
        });
    }
}

#[test]
fn identification_registers_are_what_they_are_set_to() {
    // mrs x1, mpidr_el1; mrs x2, id_aa64isar1_el1; mrs x3, id_pfr0_el1; mrs xzr, midr_el1; hvc #0
    let code = [
        0xd538_00a1,
        0xd538_0622,
        0xd538_0103,
        0xd538_001f,
        0xd400_0002,
    ];
    Mac::run_guest(Profile::M1_13, &code, |_, vcpu, _| {
        assert_ne!(vcpu.sys(ISAR1), Ok(0), "pointer authentication is there");
        vcpu.set(3, 99);
        assert_eq!(vcpu.set_sys(MPIDR, 0x102), status::SUCCESS);
        assert_eq!(vcpu.set_sys(ISAR1, 0x0010_0001), status::SUCCESS);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        assert_eq!(vcpu.get(1), 0x8000_0102);
        assert_eq!(vcpu.get(2), 0x0010_0001);
        assert_eq!(vcpu.get(3), 0, "AArch32 is not there");
        assert_eq!(vcpu.pc(), RAM + 20);
    });
}

#[test]
fn keys_of_pointer_authentication_can_be_kept() {
    Mac::run_guest(Profile::M1_13, &[0], |_, vcpu, _| {
        let key = SysReg::new(3, 0, 2, 3, 1);
        assert_eq!(vcpu.set_sys(key, 0x1234), status::SUCCESS);
        assert_eq!(vcpu.sys(key), Ok(0x1234));
    });
}
