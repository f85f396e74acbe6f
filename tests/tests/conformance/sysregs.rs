//! System registers: the guest's own, those nobody has, and identification.

use aarch64::cpu_model::{MPIDR_EL1, PORTABLE};
use aarch64::{Saved, SysReg, VcpuId};
use armlet_tests::bare::asm::X;
use armlet_tests::bare::{Cpu, Program, guest, image, watched};
use hv_backend::api::{Exit, Resume};

const CNTFRQ_EL0: SysReg = SysReg::new(3, 3, 14, 0, 0);
/// Implementation-defined, and defined by nobody.
const NOBODYS: SysReg = SysReg::new(3, 3, 15, 7, 7);

/// Registers that keep whatever a guest puts there.
const PLAIN: [Saved; 9] = [
    Saved::TpidrEl0,
    Saved::TpidrroEl0,
    Saved::TpidrEl1,
    Saved::ElrEl1,
    Saved::FarEl1,
    Saved::Ttbr1El1,
    Saved::CntvCvalEl0,
    Saved::SpEl0,
    Saved::MairEl1,
];
/// Valid in each of them: no reserved bits, no address that is not one.
const VALUE: u64 = 0x0000_04ff_bb44_0010;

#[test]
fn guest_and_vmm_see_the_same_registers() {
    watched(|| {
        let plain = || (0..).zip(PLAIN);
        let mut cpu = Cpu::alone(
            // The page table's attributes are among the registers.
            &Program::new(|a| {
                for (n, reg) in plain() {
                    a.mrs(X(0), reg.sysreg()).report(X(0));
                    a.mov(X(1), VALUE + (n << 8)).msr(reg.sysreg(), X(1));
                }
                a.isb().report(X(1));
            })
            .without_mmu(),
        );
        for (n, reg) in plain() {
            cpu.set_sysreg(reg, VALUE + (n << 16));
        }
        for (n, reg) in plain() {
            assert_eq!(cpu.report(), VALUE + (n << 16), "{reg:?}");
        }
        let _ = cpu.report();
        for (n, reg) in plain() {
            assert_eq!(cpu.sysreg(reg), VALUE + (n << 8), "{reg:?}");
        }
    });
}

#[test]
fn a_register_that_nobody_has_is_undefined() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mov(X(0), 3)
                .mrs(X(0), NOBODYS)
                .report(X(0))
                .msr(NOBODYS, X(0))
                .report(X(0));
        });
        for (at, leaves) in [
            (4, Exit::SysRegRead { reg: NOBODYS }),
            (
                12,
                Exit::SysRegWrite {
                    reg: NOBODYS,
                    data: 3,
                },
            ),
        ] {
            // Some accelerators ask, some know.
            let exit = cpu.go();
            let exit = if exit == leaves {
                assert_eq!(cpu.pc(), at);
                cpu.answer(Resume::Undefined)
            } else {
                exit
            };
            let Exit::MmioWrite { data, .. } = exit else {
                unreachable!("{exit:?} instead of an exception");
            };
            assert_eq!(data, image::SYNC);
            // An unknown reason, or a trapped access to a system register.
            let esr = cpu.sysreg(Saved::EsrEl1);
            assert_eq!(esr >> 26, 0, "{esr:#x}");
            assert_eq!(cpu.report(), 3, "the register kept its value");
        }
    });
}

#[test]
fn identification_registers_read_alike_for_guest_and_vmm() {
    watched(|| {
        let mut cpu = guest(|a| {
            for row in PORTABLE {
                a.mrs(X(0), row.reg).report(X(0));
            }
        });
        for row in PORTABLE {
            let seen = cpu.report();
            match cpu.vcpu.sysreg(row.reg) {
                Ok(value) => assert_eq!(seen, value, "{}", row.name),
                // Some accelerators keep the ones of the host's caches to themselves.
                Err(error) => eprintln!("{}: {error}", row.name),
            }
        }
    });
}

#[test]
fn each_vcpu_has_its_own_affinity() {
    watched(|| {
        let program = Program::new(|a| {
            a.mrs(X(0), MPIDR_EL1).report(X(0));
        });
        let machine = armlet_tests::bare::Machine::new(3, &program);
        for id in [2, 0, 1].map(VcpuId) {
            let mut cpu = Cpu::bind(&machine, id);
            let mpidr = cpu.report();
            assert_eq!(mpidr, 1 << 31 | id.affinity(), "{id}");
            assert_eq!(cpu.sysreg(MPIDR_EL1), mpidr);
        }
    });
}

#[test]
fn the_counters_frequency_is_the_accelerators() {
    watched(|| {
        let mut cpu = guest(|a| {
            a.mrs(X(0), CNTFRQ_EL0).report(X(0));
        });
        assert_eq!(cpu.report(), cpu.machine.caps().counter_frequency);
    });
}
