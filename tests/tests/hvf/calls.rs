//! Traps: where the PC stands, what an answer does, what never reaches the VMM.

use aarch64::{Saved, Size, SysReg};
use armlet_tests::bare::asm::{Extend, X};
use hv_backend::api::{Conduit, Exit, HostError, Resume};
use hvf_sim::{Fault, Profile, Scripted, inject, script};

use crate::mac::{DEV, DEVICE, mac};

fn call(conduit: Conduit) -> Exit {
    Exit::Call { conduit, imm: 7 }
}

#[test]
fn the_pc_stands_at_every_call_until_it_is_answered() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.hvc(7).smc(7).hvc(7);
    });
    assert_eq!(guest.go(), call(Conduit::Hvc));
    assert_eq!(guest.pc(), 0, "HVC leaves the PC past itself");
    assert_eq!(guest.run(Resume::Call([1, 2, 3, 4])), call(Conduit::Smc));
    assert_eq!(guest.pc(), 4, "SMC leaves the PC at itself");
    assert_eq!(guest.vcpu.core().unwrap().x[..4], [1, 2, 3, 4]);
    guest.vcpu.settle(Resume::Call([5, 6, 7, 8])).unwrap();
    assert_eq!((guest.pc(), guest.x(3)), (8, 8));
}

#[test]
fn register_31_is_zero_and_not_the_pc() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.load(Size::D, X(31), DEV, 0)
            .store(Size::W, X(31), DEV, 8);
        asm.mrs(X(31), SysReg::new(3, 0, 12, 12, 0)).hvc(7);
    });
    let read = Exit::MmioRead {
        gpa: DEVICE,
        size: Size::D,
    };
    assert_eq!(guest.go(), read);
    let Exit::MmioWrite { data: 0, .. } = guest.run(Resume::Data(0xdead_beef)) else {
        panic!("a store of zero, at {:#x}", guest.pc());
    };
    assert_eq!(guest.pc(), 4);
    assert!(matches!(guest.go(), Exit::SysRegRead { .. }));
    assert_eq!(guest.run(Resume::Data(0x40)), call(Conduit::Hvc));
}

#[test]
fn loads_extend_and_stores_are_cut() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.load_extended(Size::B, Extend::Sign64, X(2), DEV, 0);
        asm.load_extended(Size::H, Extend::Sign32, X(3), DEV, 0);
        asm.store(Size::B, X(2), DEV, 0).hvc(7);
    });
    assert!(matches!(guest.go(), Exit::MmioRead { size: Size::B, .. }));
    assert!(matches!(
        guest.run(Resume::Data(0x80)),
        Exit::MmioRead { size: Size::H, .. }
    ));
    let store = guest.run(Resume::Data(0x1_8000));
    assert!(
        matches!(store, Exit::MmioWrite { data: 0x80, .. }),
        "{store:?}"
    );
    assert_eq!(guest.x(2), 0xffff_ffff_ffff_ff80);
    assert_eq!(guest.x(3), 0xffff_8000);
}

#[test]
fn cache_maintenance_of_nothing_does_nothing() {
    let mac = mac(Profile::M1_13);
    // dc civac, x1
    let mut guest = mac.guest(|asm| {
        asm.word(0xd50b_7e21).hvc(7);
    });
    assert_eq!(guest.go(), call(Conduit::Hvc));
}

/// EC and IL of a data abort, as EL2 sees it and as EL1 does.
const DATA_ABORT: u64 = 0x24 << 26 | 1 << 25;
const DATA_ABORT_HERE: u64 = 0x25 << 26 | 1 << 25;
/// EC and IL of an HVC.
const HVC: u64 = 0x16 << 26 | 1 << 25;

/// The processor tells of these by a bit each, whatever the instruction is and whether it can be
/// fetched: nobody needs to look at it.
#[test]
fn maintenance_and_walks_are_told_by_their_bits() {
    const MAINTENANCE: u64 = 1 << 8 | 1 << 6 | 0x07;
    const WALK: u64 = 1 << 7 | 0x06;
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.nop();
    });
    let at = DEVICE.0;
    let exit = |iss| Scripted::exception(DATA_ABORT | iss, at, at);
    let call_next = Scripted::exception(HVC | 7, 0, 0);
    script(0, [exit(MAINTENANCE), call_next.clone()]);
    assert_eq!(guest.go(), call(Conduit::Hvc));
    assert_eq!(guest.pc(), 0, "past the one, before the other");
    let vectors = guest.vcpu.core().unwrap().pc + 0x800;
    let vbar = Saved::VbarEl1.sysreg();
    guest.vcpu.set_sysreg(vbar, vectors).unwrap();
    script(0, [exit(WALK), call_next]);
    assert_eq!(guest.run(Resume::Call([0; 4])), call(Conduit::Hvc));
    assert_eq!(guest.pc(), 0x800 + 0x200 - 4);
    let esr = guest.vcpu.sysreg(Saved::EsrEl1.sysreg()).unwrap();
    assert_eq!(esr, DATA_ABORT_HERE | 0x14, "external abort on a walk");
}

#[test]
fn a_fetch_from_nowhere_is_an_abort_of_the_guest() {
    let mac = mac(Profile::M4_26);
    let mut guest = mac.guest(|asm| {
        asm.br(DEV);
        while asm.len() < 0x800 + 0x200 {
            asm.nop();
        }
        asm.hvc(7);
    });
    let vectors = guest.vcpu.core().unwrap().pc + 0x800;
    let vbar = Saved::VbarEl1.sysreg();
    guest.vcpu.set_sysreg(vbar, vectors).unwrap();
    assert_eq!(guest.go(), call(Conduit::Hvc));
    let sysreg = |reg: Saved| guest.vcpu.sysreg(reg.sysreg()).unwrap();
    assert_eq!(sysreg(Saved::EsrEl1), 0x21 << 26 | 1 << 25 | 0x10);
    assert_eq!(sysreg(Saved::ElrEl1), DEVICE.0);
    assert_eq!(sysreg(Saved::FarEl1), DEVICE.0);
}

#[test]
fn a_pair_of_loads_is_executed_here() {
    let mac = mac(Profile::M4_26);
    let mut guest = mac.guest(|asm| {
        asm.load_pair(Size::W, X(2), X(3), DEV, 8).hvc(7);
    });
    for offset in [8, 12] {
        let Exit::MmioRead { gpa, size: Size::W } = guest.run(match offset {
            8 => Resume::Done,
            _ => Resume::Data(11),
        }) else {
            panic!("two loads");
        };
        assert_eq!(gpa.0, DEVICE.0 + offset);
    }
    assert_eq!(guest.run(Resume::Data(22)), call(Conduit::Hvc));
    assert_eq!((guest.x(2), guest.x(3)), (11, 22));
}

#[test]
fn refused_accesses_and_unknown_registers_are_the_guests_to_handle() {
    let mac = mac(Profile::M1_13);
    let pmcr = SysReg::new(3, 3, 9, 12, 0);
    let mut guest = mac.guest(|asm| {
        asm.store(Size::D, X(0), DEV, 0).mrs(X(0), pmcr);
    });
    let vectors = guest.vcpu.core().unwrap().pc + 0x800;
    let vbar = Saved::VbarEl1.sysreg();
    guest.vcpu.set_sysreg(vbar, vectors).unwrap();
    let sysreg = |guest: &crate::mac::Guest, reg: Saved| guest.vcpu.sysreg(reg.sysreg()).unwrap();
    guest.go();
    guest.vcpu.settle(Resume::ExternalAbort).unwrap();
    assert_eq!(guest.pc(), 0x800 + 0x200);
    assert_eq!(sysreg(&guest, Saved::EsrEl1), 0x9600_0050);
    assert_eq!(sysreg(&guest, Saved::FarEl1), DEVICE.0);
    let mut core = guest.vcpu.core().unwrap();
    core.pc = sysreg(&guest, Saved::ElrEl1) + 4;
    guest.vcpu.set_core(&core).unwrap();
    assert_eq!(guest.go(), Exit::SysRegRead { reg: pmcr });
    guest.vcpu.settle(Resume::Undefined).unwrap();
    assert_eq!(guest.pc(), 0x800 + 0x200);
    assert_eq!(sysreg(&guest, Saved::EsrEl1), 0x0200_0000);
    assert_eq!(sysreg(&guest, Saved::ElrEl1), vectors - 0x800 + 4);
}

#[test]
fn registers_that_the_framework_leaves_to_us_are_answered() {
    for profile in [Profile::M1_13, Profile::M2_15, Profile::M4_26] {
        let mac = mac(profile);
        let (oslar, isar2) = (SysReg::new(2, 0, 1, 0, 4), SysReg::new(3, 0, 0, 6, 2));
        let mut guest = mac.guest(|asm| {
            asm.msr(oslar, X(31)).mrs(X(2), Saved::OslsrEl1.sysreg());
            asm.msr(Saved::OsdlrEl1.sysreg(), X(31));
            asm.mov(X(3), 1).mrs(X(3), isar2);
            asm.msr(Saved::MdccintEl1.sysreg(), X(31));
            asm.mov(X(4), 1)
                .mrs(X(4), Saved::MdccintEl1.sysreg())
                .hvc(7);
        });
        assert_eq!(guest.go(), call(Conduit::Hvc), "{}", profile.name);
        assert_eq!([2, 3, 4].map(|n| guest.x(n)), [8, 0, 0], "{}", profile.name);
    }
}

#[test]
fn wfe_yields_and_wfi_waits() {
    let mac = mac(Profile::M1_13);
    // wfe
    let mut guest = mac.guest(|asm| {
        asm.word(0xd503_205f).wfi().hvc(7);
    });
    assert_eq!(guest.go(), Exit::Wfi);
    assert_eq!(guest.pc(), 4);
    assert_eq!(guest.go(), call(Conduit::Hvc));
}

#[test]
fn unknown_exits_are_entered_again_but_not_for_ever() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.store(Size::B, X(0), DEV, 0)
            .store(Size::B, X(0), DEV, 1)
            .hvc(7);
    });
    inject(Fault::Unknown(2));
    assert!(matches!(guest.go(), Exit::MmioWrite { .. }));
    assert!(matches!(guest.go(), Exit::MmioWrite { .. }));
    assert_eq!(guest.go(), call(Conduit::Hvc));
    inject(Fault::Unknown(1));
    let error = guest.vcpu.run(Resume::Call([0; 4])).unwrap_err();
    assert!(error.to_string().contains("again and again"), "{error}");
}

#[test]
fn a_run_that_fails_says_why() {
    let mac = mac(Profile::M1_13);
    let mut guest = mac.guest(|asm| {
        asm.stay();
    });
    let illegal = Scripted::failure(hv_backend::hvf::abi::status::ILLEGAL_GUEST_STATE);
    script(0, [illegal]);
    let HostError::BadState(line) = guest.vcpu.run(Resume::Done).unwrap_err() else {
        panic!("a state that the processor does not take");
    };
    assert!(line.contains("PSTATE 0x3c5"), "{line}");
}
