//! A vCPU's state: whole from the beginning, and what was set is what is read.

use aarch64::state::{CoreRegs, SimdRegs};
use aarch64::{Saved, VcpuId, pstate};
use armlet_tests::bare::asm::X;
use hv_backend::api::{Exit, Resume};
use hvf_sim::Profile;

use crate::mac::mac;

const MACS: [Profile; 3] = [Profile::M1_13, Profile::M2_15, Profile::M4_26];

#[test]
fn a_new_vcpu_has_its_reset_state_and_none_of_the_frameworks() {
    for profile in MACS {
        let mac = mac(profile);
        let vm = mac.vm(1);
        let vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        assert_eq!(vcpu.core().unwrap(), CoreRegs::default());
        assert_eq!(vcpu.simd().unwrap(), SimdRegs::default());
        for reg in Saved::ALL {
            let value = vcpu.sysreg(reg.sysreg()).unwrap();
            assert_eq!(value, reg.reset_value(), "{reg:?} on {}", profile.name);
        }
    }
}

/// A value for each register that it can hold.
fn sample(reg: Saved) -> u64 {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most registers hold anything"
    )]
    match reg {
        Saved::ActlrEl1 => 0,
        Saved::SctlrEl1 => reg.reset_value() | 1 << 2,
        Saved::CntvCtlEl0 | Saved::CntpCtlEl0 => 2,
        Saved::OslsrEl1 => 8,
        Saved::SpsrEl1 => pstate::EL1H | pstate::DAIF,
        Saved::CpacrEl1 => 3 << 20,
        Saved::MdscrEl1 => 1 << 15,
        Saved::OsdlrEl1 | Saved::CsselrEl1 => 1,
        Saved::MdccintEl1 => 1 << 30,
        Saved::CntkctlEl1 => 3,
        Saved::Dbgbcr0El1
        | Saved::Dbgbcr1El1
        | Saved::Dbgbcr2El1
        | Saved::Dbgbcr3El1
        | Saved::Dbgbcr4El1
        | Saved::Dbgbcr5El1 => 0x1e6,
        Saved::Dbgwcr0El1 | Saved::Dbgwcr1El1 | Saved::Dbgwcr2El1 | Saved::Dbgwcr3El1 => 0x1ffe,
        _ => 0x1000 * (reg as u64 + 1),
    }
}

#[test]
fn what_is_set_is_what_is_read() {
    for profile in MACS {
        let mac = mac(profile);
        let vm = mac.vm(1);
        let mut vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        let mut simd = SimdRegs {
            fpcr: 1 << 24,
            fpsr: 1,
            ..SimdRegs::default()
        };
        for (v, n) in simd.v.iter_mut().zip(1..) {
            *v = n << 100 | n;
        }
        vcpu.set_simd(&simd).unwrap();
        for reg in Saved::ALL {
            vcpu.set_sysreg(reg.sysreg(), sample(*reg)).unwrap();
        }
        let core = CoreRegs {
            x: std::array::from_fn(|n| n as u64 + 1),
            pc: 0x1234_5678,
            pstate: pstate::EL1H | pstate::Z,
        };
        vcpu.set_core(&core).unwrap();
        assert_eq!(vcpu.core().unwrap(), core);
        assert_eq!(vcpu.simd().unwrap(), simd);
        for reg in Saved::ALL {
            let value = vcpu.sysreg(reg.sysreg()).unwrap();
            assert_eq!(value, sample(*reg), "{reg:?} on {}", profile.name);
        }
    }
}

#[test]
fn vectors_reach_the_guest_whole() {
    let mac = mac(Profile::M1_13);
    // mov x2, v5.d[0]; mov x3, v5.d[1]
    let mut guest = mac.guest(|asm| {
        asm.word(0x4e08_3ca2).word(0x4e18_3ca3).hvc(0);
    });
    let mut simd = SimdRegs::default();
    simd.v[5] = 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff00;
    guest.vcpu.set_simd(&simd).unwrap();
    guest
        .vcpu
        .set_sysreg(Saved::CpacrEl1.sysreg(), 3 << 20)
        .unwrap();
    assert!(matches!(guest.go(), Exit::Call { .. }));
    assert_eq!(guest.x(2), 0x99aa_bbcc_ddee_ff00);
    assert_eq!(guest.x(3), 0x1122_3344_5566_7788);
}

#[test]
fn states_that_no_guest_can_be_in_are_refused() {
    let mac = mac(Profile::M4_26);
    let mut guest = mac.guest(|asm| {
        asm.mov(X(0), 1).hvc(0);
    });
    let old = guest.vcpu.core().unwrap();
    for pstate in [0b1001, pstate::AARCH32, 1 << 32 | pstate::EL1H] {
        let core = CoreRegs { pstate, ..old };
        assert!(guest.vcpu.set_core(&core).is_err(), "{pstate:#x}");
    }
    assert_eq!(guest.vcpu.core().unwrap(), old);
    assert!(
        guest.vcpu.run(Resume::Data(1)).is_err(),
        "nobody asked for data"
    );
}
