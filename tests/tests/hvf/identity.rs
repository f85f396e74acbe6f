//! What the guest finds its processor to be.

use aarch64::cpu_model::{self, CpuModel};
use aarch64::{SysReg, VcpuId};
use armlet_tests::bare::asm::X;
use hv_backend::api::{Exit, VmConfig};
use hvf_sim::Profile;

use crate::mac::{CONFIG, mac};

const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
const PFR1: SysReg = SysReg::new(3, 0, 0, 4, 1);

#[test]
fn portable_guests_find_the_same_processor_on_every_mac() {
    for profile in [
        Profile::M1_13,
        Profile::M2_15,
        Profile::M2_15_2,
        Profile::M4_26,
    ] {
        let mac = mac(profile);
        let regs = (4..8).flat_map(|crm| (0..8).map(move |op2| SysReg::new(3, 0, 0, crm, op2)));
        for reg in regs {
            let mut guest = mac.guest(|asm| {
                asm.mov(X(0), 0x5555).mrs(X(0), reg).hvc(0);
            });
            assert!(
                matches!(guest.go(), Exit::Call { .. }),
                "{reg} leaves the guest"
            );
            let mut expected = cpu_model::id_register(reg).unwrap();
            if reg == MMFR0 {
                // The VM has 36 address bits.
                expected = expected & !0xf | 1;
            }
            assert_eq!(guest.x(0), expected, "{reg} on {}", profile.name);
            assert_eq!(
                guest.vcpu.sysreg(reg).unwrap(),
                expected,
                "{reg} on {}",
                profile.name
            );
        }
    }
}

#[test]
fn sme_is_hidden_in_every_model() {
    let mac = mac(Profile::M4_26);
    let hypervisor = mac.open().unwrap();
    for cpu in CpuModel::ALL {
        hypervisor.offers_cpu(cpu).unwrap();
        let vm = hypervisor.create_vm(&VmConfig { cpu, ..CONFIG }).unwrap();
        let vcpu = vm.bind_vcpu(VcpuId(0)).unwrap();
        assert_eq!(vcpu.sysreg(PFR1).unwrap() >> 24 & 0xf, 0);
    }
}

#[test]
fn each_vcpu_has_its_own_number() {
    let mac = mac(Profile::M1_13);
    let vm = mac.vm(18);
    for id in [0, 1, 17].map(VcpuId) {
        let vcpu = vm.bind_vcpu(id).unwrap();
        let mpidr = vcpu.sysreg(cpu_model::MPIDR_EL1).unwrap();
        assert_eq!(mpidr, cpu_model::mpidr(id));
    }
}
