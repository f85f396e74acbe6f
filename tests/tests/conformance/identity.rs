//! What a guest finds its processor to be. With the model `portable` that is the same everywhere;
//! an accelerator that cannot enforce it says why, and is not asked to.

use aarch64::cpu_model::{self, CpuModel};
use aarch64::id_contract::ID_CONTRACT;
use armlet_tests::bare::asm::X;
use armlet_tests::bare::{accelerator, guest, image, watched};
use armlet_tests::or_skip;
use hv_backend::api::Resume;
use hv_backend::id_policy::settled;

/// `ID_AA64MMFR0_EL1.PARange` of 36 bits.
const BITS_36: u64 = 1;

#[test]
fn a_guest_sees_the_model_portable() {
    watched(|| {
        or_skip!("portable", accelerator().offers_cpu(CpuModel::Portable));
        let mut cpu = guest(|a| {
            for row in ID_CONTRACT {
                a.mrs(X(0), row.reg).report(X(0));
            }
        });
        for row in ID_CONTRACT {
            let value = cpu.report();
            let mut differs = settled(row, value);
            // A VM with fewer address bits than the model says so; 36 reach all of this machine.
            differs.retain(|trouble| trouble.field.name != "PARange" || trouble.has < BITS_36);
            assert!(
                differs.is_empty(),
                "{} is {value:#x}: {differs:?}",
                row.name
            );
        }
    });
}

#[test]
fn identification_registers_cannot_be_written() {
    watched(|| {
        let known = |row: &&cpu_model::IdRegister| row.reg.fields().1 == 0;
        for row in cpu_model::PORTABLE.iter().filter(known) {
            let mut cpu = guest(|a| {
                a.mrs(X(0), row.reg).msr(row.reg, X(0));
            });
            let vector = cpu.exception(Resume::Done);
            assert_eq!(vector, image::SYNC, "{}", row.name);
        }
    });
}

#[test]
fn half_precision_computes() {
    watched(|| {
        or_skip!("half", accelerator().offers_cpu(CpuModel::Portable));
        let mut cpu = guest(|a| {
            // fmov h0, #1.5; fadd h0, h0, h0; fmov w0, h0
            a.word(0x1eef_1000).word(0x1ee0_2800).word(0x1ee6_0000);
            a.report(X(0));
        });
        assert_eq!(cpu.report(), 0x4200, "3.0");
    });
}
