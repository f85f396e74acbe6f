//! Exits that a guest makes: reason, syndrome, addresses and where the PC stands.

use aarch64::Saved;
use hv_backend::hvf::abi::{PAGE_SIZE, interrupt, reason, reg, status};
use hvf_sim::{Profile, Scripted, Violation, script};

use crate::support::{Mac, RAM};

const HVC: u32 = 0xd400_0002;
const NOWHERE: u64 = 0x0900_0000;

/// Where the PC stands after each of these instructions left, and the syndrome.
fn exits(profile: Profile, code: &[u32], expected: &[(u64, u64)]) {
    Mac::run_guest(profile, code, |_, vcpu, _| {
        vcpu.set(0, NOWHERE);
        for (syndrome, pc) in expected {
            let found = vcpu.syndrome();
            assert_eq!(found, *syndrome, "{found:#x} at {:#x}", vcpu.pc());
            assert_eq!(vcpu.pc(), RAM + pc);
            let next = vcpu.pc().next_multiple_of(8);
            // Every instruction is followed by one that must not run.
            vcpu.set(reg::PC, if next == vcpu.pc() { next + 8 } else { next });
        }
    });
}

#[test]
fn calls_waits_and_registers_leave_the_pc_where_they_should() {
    const UDF: u32 = 0;
    let code = [
        0xd400_00a2,
        UDF, // hvc #5
        0xd400_0063,
        UDF, // smc #3
        0xd503_207f,
        UDF, // wfi
        0xd503_205f,
        UDF, // wfe
        0xd53b_9c05,
        UDF, // mrs x5, pmcr_el0
        0xd518_cca7,
        UDF, // msr icc_sre_el1, x7
    ];
    let expected = [
        (0x5a00_0005, 4),
        (0x5e00_0003, 8),
        (0x07e0_0000, 16),
        (0x07e0_0001, 24),
        (
            0x6200_0000 | 3 << 20 | 3 << 14 | 9 << 10 | 5 << 5 | 12 << 1 | 1,
            32,
        ),
        (
            0x6200_0000 | 3 << 20 | 5 << 17 | 12 << 10 | 7 << 5 | 12 << 1,
            40,
        ),
    ];
    exits(Profile::M1_13, &code, &expected);
}

#[test]
fn accesses_to_nowhere_describe_themselves_if_they_can() {
    let data = |iss: u64| 0x9200_0000 | iss | 7;
    const ISV: u64 = 1 << 24;
    let code = [
        0xb900_001f,
        0, // str wzr, [x0]
        0x3980_0403,
        0, // ldrsb x3, [x0, #1]
        0xa940_0c02,
        0, // ldp x2, x3, [x0]
        0x3dc0_0001,
        0, // ldr q1, [x0]
        0xb840_4401,
        0, // ldr w1, [x0], #4
        0x885f_7c01,
        0, // ldxr w1, [x0]
        0xb821_0002,
        0, // ldadd w1, w2, [x0]
        0xd50b_7e20,
        0, // dc civac, x0
    ];
    let expected = [
        (data(ISV | 2 << 22 | 31 << 16 | 1 << 6), 0),
        (data(ISV | 1 << 21 | 3 << 16 | 1 << 15), 8),
        (data(0), 16),
        (data(0), 24),
        (data(0), 32),
        (data(0), 40),
        (data(0), 48),
        (data(1 << 8 | 1 << 6), 56),
    ];
    Mac::run_guest(Profile::M1_13, &code, |_, vcpu, _| {
        vcpu.set_saved(Saved::CpacrEl1, 3 << 20);
        vcpu.set(0, NOWHERE);
        for (syndrome, pc) in &expected {
            let exit = vcpu.run();
            assert_eq!(exit.syndrome, *syndrome, "{exit:x?}");
            let at = if *pc == 8 { NOWHERE + 1 } else { NOWHERE };
            assert_eq!((exit.physical_address, exit.virtual_address), (at, at));
            assert_eq!(vcpu.pc(), RAM + pc);
            vcpu.set(reg::PC, RAM + pc + 8);
        }
        assert_eq!(vcpu.get(0), NOWHERE, "no writeback was made");
    });
}

#[test]
fn fetches_and_walks_of_nowhere_leave_too() {
    // br x0
    Mac::run_guest(Profile::M1_13, &[0xd61f_0000], |_, vcpu, _| {
        vcpu.set(0, NOWHERE);
        let exit = vcpu.run();
        assert_eq!(exit.syndrome, 0x8200_0007);
        assert_eq!(exit.physical_address, NOWHERE);
        assert_eq!(vcpu.pc(), NOWHERE);
        vcpu.set_saved(Saved::TcrEl1, 25 | 1 << 23);
        vcpu.set_saved(Saved::Ttbr0El1, NOWHERE);
        vcpu.set_saved(Saved::SctlrEl1, 0x30d0_0801);
        vcpu.set(reg::PC, RAM);
        let exit = vcpu.run();
        assert_eq!(exit.syndrome, 0x8200_0087, "S1PTW");
        assert_eq!(exit.virtual_address, RAM);
        assert_eq!(exit.physical_address, NOWHERE + 8);
    });
}

#[test]
fn code_needs_the_right_to_be_run() {
    Mac::run_guest(Profile::M1_13, &[HVC], |mac, vcpu, _| {
        assert_eq!(mac.protect(RAM, PAGE_SIZE, 3), status::SUCCESS);
        assert_eq!(vcpu.syndrome(), 0x8200_000f);
        assert_eq!(mac.protect(RAM, PAGE_SIZE, 7), status::SUCCESS);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
    });
}

#[test]
fn the_frameworks_own_services_never_leave() {
    Mac::run_guest(Profile::M1_13, &[HVC, HVC], |_, vcpu, _| {
        vcpu.set(0, 0xc100_0005);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        assert_eq!(vcpu.pc(), RAM + 8, "the first was swallowed");
        assert_eq!(vcpu.get(0), 0xffff_ffff);
    });
}

#[test]
fn breakpoints_are_the_guests_unless_they_are_trapped() {
    // brk #9
    Mac::run_guest(Profile::M1_13, &[0xd420_0120], |_, vcpu, _| {
        vcpu.set_saved(Saved::VbarEl1, NOWHERE);
        let exit = vcpu.run();
        assert_eq!(exit.physical_address, NOWHERE + 0x200, "EL1 took it");
        vcpu.set(reg::PC, RAM);
        vcpu.trap_debug(true, false);
        assert_eq!(vcpu.debug_traps(), (true, false));
        assert_eq!(vcpu.syndrome(), 0xf200_0009);
        assert_eq!(vcpu.pc(), RAM);
    });
}

#[test]
fn software_steps_leave_when_trapped() {
    // nop; nop
    Mac::run_guest(Profile::M1_13, &[0xd503_201f; 2], |_, vcpu, _| {
        vcpu.trap_debug(true, false);
        vcpu.set_saved(Saved::MdscrEl1, 1);
        vcpu.set(reg::CPSR, 0x3c5 | 1 << 21);
        assert_eq!(vcpu.syndrome() >> 26, 0x32);
        assert_eq!(vcpu.pc(), RAM + 4);
    });
}

#[test]
fn debug_registers_are_native_unless_trapped() {
    // mrs x1, dbgbvr0_el1; hvc #0
    Mac::run_guest(Profile::M1_13, &[0xd530_0081, HVC], |_, vcpu, _| {
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
        vcpu.trap_debug(false, true);
        vcpu.set(reg::PC, RAM);
        assert_eq!(vcpu.syndrome() >> 26, 0x18);
        assert_eq!(vcpu.pc(), RAM);
    });
}

#[test]
fn registers_are_forwarded_by_macos() {
    // mrs x1, mdccint_el1; hvc #0
    for (profile, ec) in [(Profile::M2_15, 0x16), (Profile::M4_26, 0x18)] {
        Mac::run_guest(profile, &[0xd530_0201, HVC], |_, vcpu, _| {
            assert_eq!(vcpu.syndrome() >> 26, ec);
        });
    }
}

#[test]
fn interrupts_are_delivered_and_cleared_on_every_return() {
    // hvc #0; b .
    Mac::run_guest(Profile::M1_13, &[HVC, 0x1400_0000], |_, vcpu, ram| {
        ram.write(PAGE_SIZE + 0x280, &[0xd400_0022]); // IRQ: hvc #1
        ram.write(PAGE_SIZE + 0x300, &[0xd400_0042]); // FIQ: hvc #2
        vcpu.set_saved(Saved::VbarEl1, RAM + PAGE_SIZE);
        for (kind, imm) in [(interrupt::IRQ, 1), (interrupt::FIQ, 2)] {
            vcpu.set(reg::PC, RAM);
            vcpu.set(reg::CPSR, 0x3c5);
            assert_eq!(vcpu.set_pending(kind, true), status::SUCCESS);
            assert_eq!(vcpu.pending(kind), Ok(true));
            assert_eq!(vcpu.syndrome() & 0xffff, 0, "masked");
            assert_eq!(vcpu.pending(kind), Ok(false), "cleared");
            vcpu.set(reg::CPSR, 0x305);
            assert_eq!(vcpu.set_pending(kind, true), status::SUCCESS);
            assert_eq!(vcpu.syndrome() & 0xffff, imm);
        }
        assert_eq!(vcpu.set_pending(2, true), status::BAD_ARGUMENT);
        assert_eq!(vcpu.pending(2), Err(status::BAD_ARGUMENT));
    });
}

#[test]
fn a_pending_interrupt_ends_a_wait() {
    // wfi; hvc #0
    Mac::run_guest(Profile::M1_13, &[0xd503_207f, HVC], |_, vcpu, _| {
        assert_eq!(vcpu.set_pending(interrupt::IRQ, true), status::SUCCESS);
        assert_eq!(vcpu.syndrome() >> 26, 0x16);
    });
}

#[test]
fn guests_see_the_frequency_of_the_profile() {
    // mrs x1, cntfrq_el0; mrs x2, cntvct_el0; hvc #0
    let code = [0xd53b_e001, 0xd53b_e042, HVC];
    for (profile, hertz) in [
        (Profile::M1_13, 24_000_000),
        (Profile::M4_26_WRONG_HZ, 1_000_000_000),
    ] {
        Mac::run_guest(profile, &code, |mac, vcpu, _| {
            vcpu.set_offset(crate::support::clocks(mac).0 - 1000);
            vcpu.syndrome();
            assert_eq!(vcpu.get(1), hertz);
            assert!((1000..100_000_000).contains(&vcpu.get(2)));
        });
    }
}

#[test]
fn scripts_replace_the_guest() {
    Mac::run_guest(Profile::M1_13, &[HVC], |mac, vcpu, _| {
        let exits = [
            Scripted::exception(0x9200_0007, 1, 2).with(reg::PC, 0x44),
            Scripted::bare(reason::UNKNOWN),
            Scripted::bare(77),
            Scripted::failure(status::ILLEGAL_GUEST_STATE),
        ];
        script(vcpu.id, exits);
        let exit = vcpu.run();
        assert_eq!((exit.virtual_address, exit.physical_address), (1, 2));
        assert_eq!(vcpu.pc(), 0x44);
        assert_eq!(vcpu.run().reason, reason::UNKNOWN);
        assert_eq!(vcpu.run().reason, 77);
        assert_eq!(vcpu.try_run(), status::ILLEGAL_GUEST_STATE);
        assert_eq!(vcpu.try_run(), status::ERROR);
        assert_eq!(mac.violations(), [Violation::ScriptEnded { vcpu: 0 }]);
    });
}

#[test]
fn the_record_holds_nothing_that_does_not_belong_to_the_exit() {
    Mac::run_guest(Profile::M1_13, &[HVC], |mac, vcpu, _| {
        let exit = vcpu.run();
        assert_ne!(exit.physical_address, 0, "poison, for a call");
        mac.kick(&[vcpu.id]);
        let exit = vcpu.run();
        assert_eq!(exit.reason, reason::CANCELED);
        assert_eq!(exit.syndrome >> 32, 0xdead_2bad);
        vcpu.set(reg::CPSR, 0x3c9);
        assert_eq!(vcpu.try_run(), status::ILLEGAL_GUEST_STATE);
        assert_eq!(vcpu.record().reason, 0xdead_2bad);
        vcpu.set(reg::CPSR, 0x3c5);
    });
}
